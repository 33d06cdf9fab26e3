package iamsim

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"time"
)

// caller is who signed a call.
type caller struct {
	arn, id string
	user    *user    // nil for a role
	role    *role    // nil for a user
	tags    []tag    // of a role's session
	passed  []tag    // those of them that go along when it assumes another role
	session *session // nil for a long-lived key
}

// session is a set of temporary keys, of a user or of a role.
type session struct {
	keyID, secret, token string
	expires              time.Time
	caller               caller
	policies             []string // session policies: all rights are limited to what one of them allows; nil means no limit
}

// sessions are the temporary keys that were handed out.
type sessions struct {
	byKey map[string]*session
	sweep int // forget the expired ones at this number
}

func (s *sessions) add(x *session, now time.Time) {
	if len(s.byKey) >= s.sweep {
		maps.DeleteFunc(s.byKey, func(_ string, x *session) bool { return x.expires.Add(time.Hour).Before(now) })
		s.sweep = max(1000, 2*len(s.byKey))
	}
	s.byKey[x.keyID] = x
}

// credentials are what a key is worth.
type credentials struct {
	secret string
	token  string // that must go with it; "" for a long-lived key
	caller *caller
}

// authenticate finds out who signed a request, and proves it.
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
		return nil, invalidToken() // GetSessionToken without MFA is no good for IAM
	}
	if k := a.keys[sig.keyID]; k != nil {
		k.used, k.usedRegion, k.usedService = r.now, sig.region, sig.service
	}
	return c, nil
}

// credentials finds a key that works at this moment.
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
		return credentials{}, &fault{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired"}
	}
	c := s.caller
	if c.user != nil && c.user.deleted {
		return credentials{}, invalidToken()
	}
	c.session = s
	return credentials{s.secret, s.token, &c}, nil
}
