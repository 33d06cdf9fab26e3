package iamsim

// Allowed reports whether AWS would allow an action now with this key, such as s3:GetObject on the ARN of an object. It
// evaluates the policies of the key's user, or of the session if the key is temporary. It returns an error if the key
// is not accepted: unknown, deleted, inactive, expired or not visible yet.
func (s *Sim) Allowed(accessKeyID, action, resource string) (bool, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	cred, err := s.account.credentials(accessKeyID, now, s.faults)
	if err != nil {
		return false, err
	}
	ok, _ := s.account.evaluate(cred.caller, action, resource, s.account.factsAbout(cred.caller, now))
	return ok, nil
}
