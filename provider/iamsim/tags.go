package iamsim

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const maxTags = 50

// tags returns the parameters Tags.member.N. They are optional for calls that create something.
func (r *request) tags(optional bool) ([]tag, error) {
	var tags []tag
	seen := map[string]bool{}
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("Tags.member.%d.", i)
		if !r.form.Has(prefix+"Key") && !r.form.Has(prefix+"Value") {
			break
		}
		t := tag{r.get(prefix + "Key"), r.get(prefix + "Value")}
		if err := t.check(i); err != nil {
			return nil, err
		}
		if folded := strings.ToLower(t.key); !seen[folded] {
			seen[folded] = true
		} else {
			return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		tags = append(tags, t)
	}
	if len(tags) == 0 && !optional {
		return nil, invalidParam("Tags", nil, "Member must not be null")
	}
	if len(tags) > maxTags {
		return nil, invalidParam("Tags", "[...]", "Member must have length less than or equal to %d", maxTags)
	}
	return tags, nil
}

func (t tag) check(i int) error {
	if err := checkTagKey(t.key, fmt.Sprintf("tags.%d.member.key", i)); err != nil {
		return err
	}
	param := fmt.Sprintf("tags.%d.member.value", i)
	if utf8.RuneCountInString(t.value) > 256 {
		return invalidParam(param, t.value, "Member must have length less than or equal to 256")
	}
	if !tagChars.MatchString(t.value) {
		return invalidParam(param, t.value, "Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*")
	}
	return nil
}

func checkTagKey(key, param string) error {
	switch n := utf8.RuneCountInString(key); {
	case n < 1:
		return invalidParam(param, key, "Member must have length greater than or equal to 1")
	case n > 128:
		return invalidParam(param, key, "Member must have length less than or equal to 128")
	case !tagChars.MatchString(key):
		return invalidParam(param, key, "Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+")
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return invalidInput("Tag keys that start with aws: are reserved for system use.")
	}
	return nil
}

// tagIndex returns the index of a tag. Tag keys ignore case.
func (u *user) tagIndex(key string) int {
	return slices.IndexFunc(u.tags, func(t tag) bool { return strings.EqualFold(t.key, key) })
}

func (a *account) tagUser(r *request) ([]node, error) {
	tags, err := r.tags(false)
	if err != nil {
		return nil, err
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	added := 0
	for _, t := range tags {
		if u.tagIndex(t.key) < 0 {
			added++
		}
	}
	if len(u.tags)+added > maxTags {
		return nil, limitExceeded("The number of tags has reached the maximum limit.")
	}
	for _, t := range tags {
		if i := u.tagIndex(t.key); i >= 0 {
			u.tags[i] = t
		} else {
			u.tags = append(u.tags, t)
		}
	}
	return nil, nil
}

func (a *account) untagUser(r *request) ([]node, error) {
	keys := r.members("TagKeys")
	if len(keys) == 0 {
		return nil, invalidParam("TagKeys", nil, "Member must not be null")
	}
	if len(keys) > maxTags {
		return nil, invalidParam("TagKeys", "[...]", "Member must have length less than or equal to %d", maxTags)
	}
	for i, k := range keys {
		if err := checkTagKey(k, fmt.Sprintf("tagKeys.%d.member", i+1)); err != nil {
			return nil, err
		}
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if i := u.tagIndex(k); i >= 0 {
			u.tags = slices.Delete(u.tags, i, i+1)
		}
	}
	return nil, nil
}

func (a *account) listUserTags(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "Tags", u.tags, func(t tag) string { return t.key }, func(t tag) node { return tagNodes([]tag{t})[0] })
}

func tagNodes(tags []tag) []node {
	nodes := make([]node, len(tags))
	for i, t := range tags {
		nodes[i] = member(text("Key", t.key), text("Value", t.value))
	}
	return nodes
}

// members returns a list parameter: name.member.1 and so on.
func (r *request) members(name string) []string {
	var values []string
	for i := 1; r.form.Has(fmt.Sprintf("%s.member.%d", name, i)); i++ {
		values = append(values, r.get(fmt.Sprintf("%s.member.%d", name, i)))
	}
	return values
}
