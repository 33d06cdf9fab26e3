package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
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
// the one it is about, with its path. Names must be spelled exactly and stand
// there once: encoding/json alone would fold case and let the last of two equal
// names win. null is the same as leaving the field out.
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

func readFields(data []byte, fields []field) *fault {
	return eachField(data, func(name string, raw json.RawMessage) *fault {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return &fault{says: ": unknown field " + showName(name) + "; known are " + names(fields)}
		}
		if string(raw) == "null" {
			return nil
		}
		return readField(name, raw, fields[i].into)
	})
}

func readField(name string, raw json.RawMessage, into any) *fault {
	if texts, ok := into.(*map[string]string); ok && raw[0] == '{' {
		return readTexts(raw, texts).in(name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fieldFault(name, raw, into, err)
	}
	return nil
}

// readTexts reads an object of texts.
func readTexts(data []byte, into *map[string]string) *fault {
	texts := map[string]string{}
	f := eachField(data, func(name string, raw json.RawMessage) *fault {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return &fault{Printable(name), wrongType(raw, &text)}
		}
		texts[name] = text
		return nil
	})
	*into = texts
	return f
}

// eachField hands on the fields of one JSON object, until there is a fault.
func eachField(data []byte, do func(name string, raw json.RawMessage) *fault) *fault {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil {
		return &fault{says: ": this is not JSON"}
	} else if t != json.Delim('{') {
		return &fault{says: ": this must be an object: names with their values"}
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return &fault{says: ": this is not JSON"}
		}
		name, _ := t.(string)
		if seen[name] {
			return &fault{Printable(name), " is given twice"}
		}
		seen[name] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return &fault{says: ": this is not JSON"}
		}
		if f := do(name, raw); f != nil {
			return f
		}
	}
	if _, err := d.Token(); err != nil {
		return &fault{says: ": this is not JSON"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &fault{says: ": there is something behind the JSON object"}
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
