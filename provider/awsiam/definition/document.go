package definition

import (
	"bytes"
	"encoding/json"
)

// policyDocument is a generated policy.
type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Sid       string
	Effect    string
	Principal map[string]string `json:",omitempty"` // in trust policies only
	Action    oneOrMore
	Resource  oneOrMore  `json:",omitempty"` // in all other policies
	Condition conditions `json:",omitempty"`
}

// conditions are the required values by operator and condition key.
type conditions map[string]map[string]oneOrMore

// set adds a condition. Without values it does nothing.
func (c conditions) set(operator, key string, values ...string) {
	if len(values) == 0 {
		return
	}
	if c[operator] == nil {
		c[operator] = map[string]oneOrMore{}
	}
	c[operator][key] = values
}

// oneOrMore is a list that is written without brackets if it has one element.
type oneOrMore []string

// MarshalJSON writes the list.
func (l oneOrMore) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return plainJSON(l[0], "")
	}
	return plainJSON([]string(l), "")
}

// print returns the document, indented. The output is the same for the same document.
func (d policyDocument) print() (json.RawMessage, error) { return plainJSON(d, "  ") }

// size returns the document's size as IAM's quotas count it.
func (d policyDocument) size() (int, error) {
	b, err := plainJSON(d, "")
	return quotaSize(string(b)), err
}

// plainJSON encodes v without escapes for <, > and &, which would count as six
// characters each.
func plainJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
