package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// MaxBody is the largest body of a message on a verb's subject, in bytes.
const MaxBody = 16 << 10

// field is a name in a JSON object and where its value goes.
type field struct {
	name string
	into any
}

// decodeObject reads one JSON object of a requester's. An empty body is an
// empty object.
func decodeObject(data []byte, fields ...field) *Error {
	if len(data) > MaxBody {
		return Errorf(CodeTooLarge, "the body has %d bytes, the limit is %d", len(data), MaxBody)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return decodeFields(CodeInvalidRequest, data, fields...)
}

// decodeFields reads one JSON object, field by field so that every error names
// the one it is about. Names must be spelled exactly and stand there once:
// encoding/json alone would fold case and let the last of two equal names win.
// null is the same as leaving the field out.
func decodeFields(code Code, data []byte, fields ...field) *Error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil {
		return Errorf(code, "this is not JSON")
	} else if t != json.Delim('{') {
		return Errorf(code, "this must be a JSON object")
	}
	var seen []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return Errorf(code, "this is not JSON")
		}
		name, _ := t.(string)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return Errorf(code, "unknown field %q; known are %s", clip(name), names(fields))
		}
		if slices.Contains(seen, name) {
			return Errorf(code, "%s is given twice", name)
		}
		seen = append(seen, name)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return Errorf(code, "%s is not JSON", name)
		}
		if string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, fields[i].into); err != nil {
			return fieldError(code, name, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return Errorf(code, "this is not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(code, "there is something behind the JSON object")
	}
	return nil
}

func names(fields []field) string {
	n := make([]string, len(fields))
	for i, f := range fields {
		n[i] = f.name
	}
	return strings.Join(n, ", ")
}

// fieldError says what is wrong with a field, and nothing of a stranger's input
// beyond its type.
func fieldError(code Code, name string, err error) *Error {
	var inner *Error
	if errors.As(err, &inner) {
		return Errorf(code, "%s: %s", name, inner.Message)
	}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return Errorf(code, "%s has the wrong type, a JSON %s", name, clip(t.Value))
	}
	var p *time.ParseError
	if errors.As(err, &p) {
		return Errorf(code, "%s must be a time in RFC 3339, such as 2026-11-22T22:00:30Z", name)
	}
	return Errorf(code, "%s: %s", name, clip(err.Error()))
}

// clip keeps a stranger's text short and on one line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}
