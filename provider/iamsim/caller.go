package iamsim

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"time"
)

// caller is the principal that signed a call.
type caller struct {
	arn, id    string
	user       *user    // nil for a role
	role       *role    // nil for a user
	tags       []tag    // of a role's session
	transitive []tag    // of tags, those that a role assumed by this session has, too
	session    *session // nil for a long-lived key
}

// session is a session of a user or a role, with its temporary key.
type session struct {
	keyID, secret, token string
	expires              time.Time
	caller               caller
	policies             []string // session policies, which limit the session's permissions; nil means no limit
}

// sessions are the sessions by key id.
type sessions struct {
	byKey map[string]*session
	sweep int // size at which expired sessions are removed
}

func (s *sessions) add(x *session, now time.Time) {
	if len(s.byKey) >= s.sweep {
		maps.DeleteFunc(s.byKey, func(_ string, x *session) bool { return x.expires.Add(time.Hour).Before(now) })
		s.sweep = max(1000, 2*len(s.byKey))
	}
	s.byKey[x.keyID] = x
}

// credentials are the secrets of a key and its principal.
type credentials struct {
	secret string
	token  string // required session token; "" for a long-lived key
	caller *caller
}

// authenticate returns the caller of a request after verifying its signature.
func (a *account) authenticate(r *request, signingNow time.Time) (*caller, error) {
	sig, err := parseSignature(r.http.Header)
	if err != nil {
		return nil, err
	}
	cred, err := a.credentials(sig.keyID, r.now, r.faults)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(cred.token), []byte(sig.token)) != 1 {
		return nil, invalidToken()
	}
	if err := sig.verify(r, a.partition, cred.secret, signingNow); err != nil {
		return nil, err
	}
	c := cred.caller
	if c.session != nil && c.user != nil && r.svc == iam {
		return nil, invalidToken() // IAM refuses sessions of GetSessionToken without MFA
	}
	if k := a.keys[sig.keyID]; k != nil {
		k.used, k.usedRegion, k.usedService = r.now, sig.region, sig.service
	}
	return c, nil
}

// credentials returns the credentials of a key that works now.
func (a *account) credentials(keyID string, now time.Time, f Faults) (credentials, error) {
	if isTemporary(keyID) {
		return a.sessionCredentials(keyID, now)
	}
	k := a.keys[keyID]
	if k == nil || !k.works(now, f) {
		return credentials{}, invalidToken()
	}
	return credentials{k.secret, "", &caller{arn: a.userARN(k.user), id: k.user.id, user: k.user}}, nil
}

func (a *account) sessionCredentials(keyID string, now time.Time) (credentials, error) {
	s := a.sessions.byKey[keyID]
	if s == nil {
		return credentials{}, invalidToken()
	}
	if !now.Before(s.expires) {
		return credentials{}, &apiError{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired"}
	}
	c := s.caller
	if c.user != nil && c.user.deleted {
		return credentials{}, invalidToken()
	}
	c.session = s
	return credentials{s.secret, s.token, &c}, nil
}
