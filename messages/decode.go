package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// MaxBody is the largest body of a request or command, in bytes.
const MaxBody = 16 << 10

// field is the name of a field of a JSON object and a pointer to its value.
type field struct {
	name string
	into any
}

// decodeObject reads the body of a request or command, one JSON object of at most
// [MaxBody] bytes. An empty body is an empty object.
func decodeObject(data []byte, fields ...field) *Error {
	if len(data) > MaxBody {
		return Errorf(CodeTooLarge, "the body has %d bytes, the limit is %d", len(data), MaxBody)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return decodeFields(CodeInvalidRequest, data, fields...)
}

// decodeFields reads one JSON object, field by field, so that every error names its
// field with the path. Names are case-sensitive and must not repeat; encoding/json
// alone folds case and takes the last of two equal names. null equals an absent field.
func decodeFields(code Code, data []byte, fields ...field) *Error {
	if f := readFields(data, fields); f != nil {
		return Errorf(code, "%s", f)
	}
	return nil
}

// readInner is decodeFields for an object that is itself a field.
func readInner(data []byte, fields []field) error {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return errType
	}
	if f := readFields(data, fields); f != nil {
		return f
	}
	return nil
}

func readFields(data []byte, fields []field) *fieldError {
	return eachField(data, func(name string, raw json.RawMessage) *fieldError {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return &fieldError{text: ": unknown field " + quoteName(name) + "; known are " + names(fields)}
		}
		if string(raw) == "null" {
			return nil
		}
		return readField(name, raw, fields[i].into)
	})
}

func readField(name string, raw json.RawMessage, into any) *fieldError {
	if texts, ok := into.(*map[string]string); ok && raw[0] == '{' {
		return readTexts(raw, texts).in(name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return describeError(name, raw, into, err)
	}
	return nil
}

// readTexts reads an object with string values.
func readTexts(data []byte, into *map[string]string) *fieldError {
	texts := map[string]string{}
	f := eachField(data, func(name string, raw json.RawMessage) *fieldError {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return &fieldError{Printable(name), wrongType(raw, &text)}
		}
		texts[name] = text
		return nil
	})
	*into = texts
	return f
}

// eachField calls do for each field of one JSON object. It stops at the first error.
func eachField(data []byte, do func(name string, raw json.RawMessage) *fieldError) *fieldError {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil {
		return &fieldError{text: ": this is not JSON"}
	} else if t != json.Delim('{') {
		return &fieldError{text: ": this must be an object: names with their values"}
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return &fieldError{text: ": this is not JSON"}
		}
		name, _ := t.(string)
		if seen[name] {
			return &fieldError{Printable(name), " is given twice"}
		}
		seen[name] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return &fieldError{text: ": this is not JSON"}
		}
		if f := do(name, raw); f != nil {
			return f
		}
	}
	if _, err := d.Token(); err != nil {
		return &fieldError{text: ": this is not JSON"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &fieldError{text: ": there is data after the JSON object"}
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

// Printable returns text from outside in a form that is safe in logs and errors: on
// one line, with control characters replaced, and at most 120 characters long.
func Printable(s string) string {
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
