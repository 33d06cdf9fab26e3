package iamsim

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxAttached = 10
	maxInline   = 2048 // characters of all inline policies of a user, without white space
)

var policyChars = regexp.MustCompile(`^[\t\n\r\x{20}-\x{ff}]+$`)

func (a *account) putUserPolicy(r *request) ([]node, error) {
	return a.putInline(r, maxInline, func() (*grants, string, error) {
		u, err := a.mustUser(r)
		if err != nil {
			return nil, "", err
		}
		return &u.grants, "user " + u.name, nil
	})
}

// putInline adds an inline policy to an entity, whose inline policies may have room characters together.
func (a *account) putInline(r *request, room int, find func() (*grants, string, error)) ([]node, error) {
	name, err := r.name("PolicyName", 128)
	if err != nil {
		return nil, err
	}
	doc, err := r.matching("PolicyDocument", 1, 131072, policyChars)
	if err != nil {
		return nil, err
	}
	g, entity, err := find()
	if err != nil {
		return nil, err
	}
	if _, err := parseIdentityPolicy(doc); err != nil {
		return nil, err
	}
	total := countedSize(doc)
	for _, p := range g.inline {
		if p.name != name {
			total += countedSize(p.document)
		}
	}
	if total > room {
		return nil, limitExceeded("Maximum policy size of %d bytes exceeded for %s", room, entity)
	}
	g.setInline(name, doc)
	return nil, nil
}

// countedSize returns the size of a policy as the quota counts it, without white space.
func countedSize(doc string) int {
	n := utf8.RuneCountInString(doc)
	for _, space := range []string{" ", "\t", "\n", "\r"} {
		n -= strings.Count(doc, space)
	}
	return n
}

func (g *grants) inlineIndex(name string) int {
	return slices.IndexFunc(g.inline, func(p inlinePolicy) bool { return p.name == name })
}

func (g *grants) setInline(name, doc string) {
	if i := g.inlineIndex(name); i >= 0 {
		g.inline[i].document = doc
	} else {
		g.inline = append(g.inline, inlinePolicy{name, doc})
	}
}

// inlineNamed returns the index of the inline policy in PolicyName.
func (g *grants) inlineNamed(r *request, kind string) (int, error) {
	name, err := r.name("PolicyName", 128)
	if err != nil {
		return 0, err
	}
	i := g.inlineIndex(name)
	if i < 0 {
		return 0, noSuchEntity("The %s policy with name %s cannot be found.", kind, name)
	}
	return i, nil
}

func (a *account) getUserPolicy(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	i, err := u.inlineNamed(r, "user")
	if err != nil {
		return nil, err
	}
	return []node{text("UserName", u.name), text("PolicyName", u.inline[i].name), document("PolicyDocument", u.inline[i].document)}, nil
}

func (a *account) deleteUserPolicy(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	i, err := u.inlineNamed(r, "user")
	if err != nil {
		return nil, err
	}
	u.inline = slices.Delete(u.inline, i, i+1)
	return nil, nil
}

func (a *account) listUserPolicies(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "PolicyNames", u.inline, func(p inlinePolicy) string { return p.name },
		func(p inlinePolicy) node { return text("member", p.name) })
}

func (a *account) attachUserPolicy(r *request) ([]node, error) {
	arn, err := r.policyARN("PolicyArn")
	if err != nil {
		return nil, err
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	if _, ok := a.managedPolicy(arn); !ok {
		return nil, noSuchEntity("Policy %s does not exist or is not attachable.", arn)
	}
	if slices.Contains(u.attached, arn) {
		return nil, nil
	}
	if len(u.attached) >= maxAttached {
		return nil, quotaExceeded("PoliciesPerUser", maxAttached)
	}
	u.attached = append(u.attached, arn)
	return nil, nil
}

func (a *account) detachUserPolicy(r *request) ([]node, error) {
	arn, err := r.policyARN("PolicyArn")
	if err != nil {
		return nil, err
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	i := slices.Index(u.attached, arn)
	if i < 0 {
		return nil, noSuchEntity("Policy %s was not found.", arn)
	}
	u.attached = slices.Delete(u.attached, i, i+1)
	return nil, nil
}

func (a *account) listAttachedUserPolicies(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "AttachedPolicies", u.attached, func(arn string) string { return arn }, func(arn string) node {
		return member(text("PolicyName", path.Base(arn)), text("PolicyArn", arn))
	})
}

// managedPolicy returns the document of a managed policy of the account or of AWS, and reports whether it exists.
func (a *account) managedPolicy(arn string) (string, bool) {
	if doc, ok := a.policies[arn]; ok {
		return doc, true
	}
	if !strings.HasPrefix(arn, "arn:"+a.partition+":iam::aws:policy/") {
		return "", false
	}
	doc, ok := awsPolicies[path.Base(arn)]
	return doc, ok
}
