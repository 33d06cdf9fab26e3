package messages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// List is a list of strings. Its JSON is an array, or one string with commas; spaces
// around the entries are removed.
type List []string

// UnmarshalJSON decodes an array of strings or a comma-separated string. An empty entry
// is an error.
func (l *List) UnmarshalJSON(data []byte) error {
	var entries []string
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		if strings.TrimSpace(s) != "" {
			entries = strings.Split(s, ",")
		}
	} else {
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil {
			return errType
		}
		for i, raw := range list {
			var e string
			if json.Unmarshal(raw, &e) != nil {
				return &fieldError{fmt.Sprintf("[%d]", i), wrongType(raw, &e)}
			}
			entries = append(entries, e)
		}
	}
	*l = nil
	for i, e := range entries {
		if e = strings.TrimSpace(e); e == "" {
			return &fieldError{fmt.Sprintf("[%d]", i), " is empty"}
		}
		*l = append(*l, e)
	}
	return nil
}

// Policy is a JSON policy document without insignificant white space.
type Policy json.RawMessage

// UnmarshalJSON decodes an object, or a string that contains one.
func (p *Policy) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		data = []byte(s)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		*p = nil
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return fmt.Errorf("it is not JSON, and must be a policy document")
	}
	if b.Bytes()[0] != '{' {
		return errType
	}
	*p = b.Bytes()
	return nil
}

// MarshalJSON encodes the document as an object, and an empty one as null.
func (p Policy) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("null"), nil
	}
	return p, nil
}
