package awsiam

import (
	"bytes"
	"encoding/json"
)

// policyDocument is a policy that lessor prints for people to put into IAM.
type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Sid       string
	Effect    string
	Principal map[string]string `json:",omitempty"` // trust policies only
	Action    oneOrMore
	Resource  oneOrMore  `json:",omitempty"` // all others
	Condition conditions `json:",omitempty"`
}

// conditions are wanted values by operator and condition key.
type conditions map[string]map[string]oneOrMore

// set adds a condition; without values it adds none.
func (c conditions) set(operator, key string, values ...string) {
	if len(values) == 0 {
		return
	}
	if c[operator] == nil {
		c[operator] = map[string]oneOrMore{}
	}
	c[operator][key] = values
}

// oneOrMore is a list that is printed without brackets where it has one element.
type oneOrMore []string

// MarshalJSON writes the list.
func (l oneOrMore) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return plainJSON(l[0], "")
	}
	return plainJSON([]string(l), "")
}

// print writes the document as people read it. The same document is always
// printed in the same way.
func (d policyDocument) print() (json.RawMessage, error) { return plainJSON(d, "  ") }

// size is the document's size as IAM's quotas count it.
func (d policyDocument) size() (int, error) {
	b, err := plainJSON(d, "")
	return quotaSize(string(b)), err
}

// plainJSON writes < and > as they are: an escape would cost five characters.
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
