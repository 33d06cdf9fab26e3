package iamsim

import (
	"slices"
	"strings"
)

// decision is the result of evaluating policies. A higher decision overrides a lower one.
type decision int

const (
	silent decision = iota // no statement applies
	allowed
	denied
)

// decide evaluates one policy.
func (p *policy) decide(action, resource string, f facts) decision {
	d := silent
	for _, s := range p.Statement {
		if !s.covers(action, resource, f) || !s.applies(f) {
			continue
		}
		if s.Effect == "Deny" {
			return denied
		}
		d = allowed
	}
	return d
}

// covers reports whether the statement is about the action and the resource.
func (s statement) covers(action, resource string, f facts) bool {
	hasAction := func(pattern string) bool { return glob(strings.ToLower(action), strings.ToLower(pattern)) }
	hasResource := func(pattern string) bool {
		pattern, ok := f.expand(pattern)
		return ok && glob(resource, pattern)
	}
	if len(s.Action) > 0 && !slices.ContainsFunc(s.Action, hasAction) || slices.ContainsFunc(s.NotAction, hasAction) {
		return false
	}
	return (len(s.Resource) == 0 || slices.ContainsFunc(s.Resource, hasResource)) && !slices.ContainsFunc(s.NotResource, hasResource)
}

// decideAll evaluates several policies. A malformed policy is ignored.
func (a *account) decideAll(documents []string, action, resource string, f facts) decision {
	d := silent
	for _, doc := range documents {
		if p, err := a.read(doc); err == nil {
			d = max(d, p.decide(action, resource, f))
		}
	}
	return d
}

// maxRead is the number of parsed policies in the cache.
const maxRead = 256

// read parses a policy. It caches the result, because the same few policies are evaluated with every call.
func (a *account) read(document string) (*policy, error) {
	if p, ok := a.policyRead[document]; ok {
		return p, nil
	}
	p, err := parseIdentityPolicy(document)
	if err != nil {
		return nil, err
	}
	if len(a.policyRead) >= maxRead {
		clear(a.policyRead)
	}
	a.policyRead[document] = p
	return p, nil
}

// evaluate reports whether a caller may do something and, if not, the reason in the words of AWS.
func (a *account) evaluate(c *caller, action, resource string, f facts) (bool, string) {
	identity := a.decideAll(a.identityPolicies(c), action, resource, f)
	if identity == denied {
		return false, "with an explicit deny in an identity-based policy"
	}
	if c.user != nil && c.user.boundary != "" {
		doc, _ := a.managedPolicy(c.user.boundary)
		switch a.decideAll([]string{doc}, action, resource, f) {
		case denied:
			return false, "with an explicit deny in a permissions boundary"
		case silent:
			return false, "because no permissions boundary allows the " + action + " action"
		}
	}
	if c.session != nil && c.session.policies != nil {
		switch a.decideAll(c.session.policies, action, resource, f) {
		case denied:
			return false, "with an explicit deny in a session policy"
		case silent:
			return false, "because no session policy allows the " + action + " action"
		}
	}
	if identity != allowed {
		return false, "because no identity-based policy allows the " + action + " action"
	}
	return true, ""
}

// identityPolicies returns the documents of the caller's identity policies.
func (a *account) identityPolicies(c *caller) []string {
	var from []grants
	if c.role != nil {
		from = append(from, c.role.grants)
	}
	if c.user != nil {
		from = append(from, c.user.grants)
		for _, g := range c.user.groups {
			from = append(from, g.grants)
		}
	}
	var documents []string
	for _, g := range from {
		for _, p := range g.inline {
			documents = append(documents, p.document)
		}
		for _, arn := range g.attached {
			if doc, ok := a.managedPolicy(arn); ok {
				documents = append(documents, doc)
			}
		}
	}
	return documents
}
