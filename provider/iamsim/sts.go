package iamsim

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	sessionNameChars = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]*$`)
	externalIDChars  = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]*$`)
	anyChars         = regexp.MustCompile(`(?s)^.*$`)
)

// callerIdentity needs no permission and works despite an explicit deny.
func (a *account) callerIdentity(r *request) ([]node, error) {
	return []node{text("Arn", r.caller.arn), text("UserId", r.caller.id), text("Account", a.id)}, nil
}

func (a *account) getSessionToken(r *request) ([]node, error) {
	if r.caller.session != nil {
		return nil, accessDenied("Cannot call GetSessionToken with session credentials")
	}
	d, err := r.duration(12*time.Hour, 36*time.Hour)
	if err != nil {
		return nil, err
	}
	return []node{a.openSession(*r.caller, d, nil, r.now)}, nil
}

func (a *account) assumeRole(r *request) ([]node, error) {
	arn, name, err := r.roleAndSession()
	if err != nil {
		return nil, err
	}
	if r.form.Has("ExternalId") {
		if _, err := r.matching("ExternalId", 2, 1224, externalIDChars); err != nil {
			return nil, err
		}
	}
	tags, err := r.sessionTags()
	if err != nil {
		return nil, err
	}
	if tags, err = r.withTransitiveTags(tags); err != nil {
		return nil, err
	}
	f := a.factsAbout(r.caller, r.now)
	f.setTags(tags)
	f.set("sts:RoleSessionName", name)
	if r.form.Has("ExternalId") {
		f.set("sts:ExternalId", r.get("ExternalId"))
	}
	actions := []string{"sts:AssumeRole"}
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	x := a.roleByARN(arn)
	for _, action := range actions {
		if x == nil || !a.mayAssume(r.caller, x, action, f) {
			return nil, accessDenied("User: %s is not authorized to perform: %s on resource: %s", r.caller.arn, action, arn)
		}
	}
	d, err := r.roleDuration(x)
	if err != nil {
		return nil, err
	}
	return a.assume(r, x, name, d, tags)
}

// mayAssume reports whether a caller may assume a role. If the trust policy names the caller, that is sufficient. If it
// names the account, the caller's policies must allow it, too. An explicit deny on either side wins.
func (a *account) mayAssume(c *caller, x *role, action string, f facts) bool {
	trusted := x.trusts(action, f, func(p principal) trust { return a.trustsCaller(p, c) })
	ok, why := a.evaluate(c, action, a.roleARN(x), f)
	switch trusted {
	case trustsAccount:
		return ok
	case trustsDirectly:
		return ok || !strings.Contains(why, "explicit deny")
	default:
		return false
	}
}

func (a *account) assumeRoleWithWebIdentity(r *request) ([]node, error) {
	arn, name, err := r.roleAndSession()
	if err != nil {
		return nil, err
	}
	token, err := r.matching("WebIdentityToken", 4, 20000, anyChars)
	if err != nil {
		return nil, err
	}
	claims, host, err := a.verifyToken(token, r.now)
	if err != nil {
		return nil, err
	}
	f := facts{}
	f.set(host+":sub", claims.Subject)
	f.set(host+":aud", claims.Audience)
	f.set("sts:RoleSessionName", name)
	f.set("aws:CurrentTime", r.now.UTC().Format(time.RFC3339Nano))
	x := a.roleByARN(arn)
	if x == nil || x.trusts("sts:AssumeRoleWithWebIdentity", f, func(p principal) trust {
		return trustIf(p.has("Federated", a.arn("iam", "oidc-provider/"+host)))
	}) == trustsNone {
		return nil, accessDenied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	d, err := r.roleDuration(x)
	if err != nil {
		return nil, err
	}
	nodes, err := a.assume(r, x, name, d, nil)
	return append(nodes, text("SubjectFromWebIdentityToken", claims.Subject), text("Audience", claims.Audience),
		text("Provider", a.arn("iam", "oidc-provider/"+host))), err
}

// assume opens a session of a role that the caller may assume.
func (a *account) assume(r *request, x *role, name string, d time.Duration, tags []tag) ([]node, error) {
	policies, err := a.sessionPolicies(r)
	if err != nil {
		return nil, err
	}
	percent := r.packed(tags)
	if percent > 100 {
		return nil, packedTooLarge(percent)
	}
	c := caller{arn: a.arn("sts", "assumed-role/"+x.name+"/"+name), id: x.id + ":" + name, role: x, tags: tags}
	if r.caller != nil {
		c.transitive = r.caller.transitive
	}
	return []node{
		a.openSession(c, d, policies, r.now),
		element("AssumedRoleUser", text("Arn", c.arn), text("AssumedRoleId", c.id)),
		text("PackedPolicySize", strconv.Itoa(percent)),
	}, nil
}

// newSession opens a session and returns it with its temporary key.
func (a *account) newSession(c caller, d time.Duration, policies []string, now time.Time) *session {
	s := &session{
		keyID: a.random.id("ASIA", 16), secret: a.random.secret(), token: a.random.sessionToken(),
		expires: now.Add(d), caller: c, policies: policies,
	}
	a.sessions.add(s, now)
	a.issued = append(a.issued, s.secret, s.token)
	return s
}

// openSession opens a session and returns its credentials for the response.
func (a *account) openSession(c caller, d time.Duration, policies []string, now time.Time) node {
	s := a.newSession(c, d, policies, now)
	return element("Credentials", text("AccessKeyId", s.keyID), text("SecretAccessKey", s.secret),
		text("SessionToken", s.token), date("Expiration", s.expires))
}

func (r *request) roleAndSession() (arn, session string, err error) {
	if arn, err = r.sized("RoleArn", 20, 2048); err != nil {
		return "", "", err
	}
	if !roleARN.MatchString(arn) {
		return "", "", validation("%s is invalid", arn)
	}
	session, err = r.matching("RoleSessionName", 2, 64, sessionNameChars)
	return arn, session, err
}

// duration returns DurationSeconds, or otherwise if it is absent.
func (r *request) duration(otherwise, most time.Duration) (time.Duration, error) {
	if !r.form.Has("DurationSeconds") {
		return otherwise, nil
	}
	v := r.get("DurationSeconds")
	n, err := strconv.Atoi(v)
	switch limit := int(most / time.Second); {
	case err != nil:
		return 0, &apiError{http.StatusBadRequest, "MalformedInput", "Invalid value for DurationSeconds"}
	case n < 900:
		return 0, invalidParam("DurationSeconds", v, "Member must have value greater than or equal to 900")
	case n > limit:
		return 0, invalidParam("DurationSeconds", v, "Member must have value less than or equal to %d", limit)
	}
	return time.Duration(n) * time.Second, nil
}

// roleDuration returns DurationSeconds. It must be at most the role's maximum, and at most an hour if the caller is a
// role.
func (r *request) roleDuration(x *role) (time.Duration, error) {
	d, err := r.duration(time.Hour, 12*time.Hour)
	if err != nil {
		return 0, err
	}
	if d > x.maxSession {
		return 0, validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	if d > time.Hour && r.caller != nil && r.caller.role != nil {
		return 0, validation("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	return d, nil
}
