package iamsim

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxRoleInline is the limit of characters of all inline policies of a role, without white space.
const maxRoleInline = 10240

var roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role(/[!-~]*)?/[A-Za-z0-9_+=,.@-]{1,64}$`)

type role struct {
	id, name, path string
	trust          *policy
	maxSession     time.Duration
	grants
}

// AddRole creates a role and returns its ARN. The trust policy says which principals may assume it and under which
// conditions, such as an external id or the subject of an OIDC provider. The role has no permissions until
// AddRolePolicy is called.
func (s *Sim) AddRole(name, trustPolicy string) (arn string) {
	return s.AddRoleAt("/", name, trustPolicy)
}

// AddRoleAt is AddRole with a path, such as /service/.
func (s *Sim) AddRoleAt(path, name, trustPolicy string) (arn string) {
	s.change(func(a *account) {
		p, err := parseTrustPolicy(trustPolicy)
		must(err)
		if a.roles[strings.ToLower(name)] != nil || !nameChars.MatchString(name) || len(name) > 64 || !pathChars.MatchString(path) {
			panic("iamsim: cannot add role " + path + name)
		}
		x := &role{id: a.random.id("AROA", 17), name: name, path: path, trust: p, maxSession: time.Hour}
		a.roles[strings.ToLower(name)] = x
		arn = a.roleARN(x)
	})
	return arn
}

// AddRolePolicy adds or replaces an inline policy of a role.
func (s *Sim) AddRolePolicy(roleName, policyName, document string) {
	s.changeRole(roleName, func(x *role) {
		must(checkPolicy(document))
		x.setInline(policyName, document)
	})
}

// SetTrust replaces the trust policy of a role.
func (s *Sim) SetTrust(roleName, trustPolicy string) {
	p, err := parseTrustPolicy(trustPolicy)
	must(err)
	s.changeRole(roleName, func(x *role) { x.trust = p })
}

// SetMaxSessionDuration sets the longest duration of sessions of a role. The default is one hour.
func (s *Sim) SetMaxSessionDuration(roleName string, d time.Duration) {
	s.changeRole(roleName, func(x *role) { x.maxSession = d })
}

func (s *Sim) changeRole(name string, f func(*role)) {
	s.change(func(a *account) {
		x := a.roles[strings.ToLower(name)]
		if x == nil {
			panic("iamsim: no role " + name)
		}
		f(x)
	})
}

func (a *account) roleARN(x *role) string { return a.arn("iam", "role"+x.path+x.name) }

func (a *account) roleByARN(arn string) *role {
	x := a.roles[strings.ToLower(path.Base(arn))]
	if x == nil || a.roleARN(x) != arn {
		return nil
	}
	return x
}

func (a *account) roleNamed(r *request) (*role, error) {
	name, err := r.name("RoleName", 64)
	if err != nil {
		return nil, err
	}
	x := a.roles[strings.ToLower(name)]
	if x == nil {
		return nil, noSuchEntity("The role with name %s cannot be found.", name)
	}
	return x, nil
}

func (a *account) putRolePolicy(r *request) ([]node, error) {
	return a.putInline(r, maxRoleInline, func() (*grants, string, error) {
		x, err := a.roleNamed(r)
		if err != nil {
			return nil, "", err
		}
		return &x.grants, "role " + x.name, nil
	})
}

func (a *account) getRolePolicy(r *request) ([]node, error) {
	x, err := a.roleNamed(r)
	if err != nil {
		return nil, err
	}
	i, err := x.inlineNamed(r, "role")
	if err != nil {
		return nil, err
	}
	return []node{text("RoleName", x.name), text("PolicyName", x.inline[i].name), document("PolicyDocument", x.inline[i].document)}, nil
}

func (a *account) deleteRolePolicy(r *request) ([]node, error) {
	x, err := a.roleNamed(r)
	if err != nil {
		return nil, err
	}
	i, err := x.inlineNamed(r, "role")
	if err != nil {
		return nil, err
	}
	x.inline = slices.Delete(x.inline, i, i+1)
	return nil, nil
}

// trust is how a role's trust policy names a principal.
type trust int

const (
	trustsNone trust = iota
	trustsAccount
	trustsDirectly
)

func trustIf(ok bool) trust {
	if ok {
		return trustsDirectly
	}
	return trustsNone
}

// trusts evaluates the trust policy. who says how a statement's Principal names the caller.
func (x *role) trusts(action string, f facts, who func(principal) trust) trust {
	found := trustsNone
	for _, s := range x.trust.Statement {
		t := who(*s.Principal)
		if t == trustsNone || !s.covers(action, "", f) || !s.applies(f) {
			continue
		}
		if s.Effect == "Deny" {
			return trustsNone
		}
		found = max(found, t)
	}
	return found
}

func (p principal) has(kind, name string) bool { return slices.Contains(p[kind], name) }

func (a *account) trustsCaller(p principal, c *caller) trust {
	names := []string{"*", c.arn}
	if c.role != nil {
		names = append(names, a.roleARN(c.role))
	}
	for _, name := range names {
		if p.has("AWS", name) {
			return trustsDirectly
		}
	}
	if p.has("AWS", a.id) || p.has("AWS", a.arn("iam", "root")) {
		return trustsAccount
	}
	return trustsNone
}
