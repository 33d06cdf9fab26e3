package messages

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// fieldError is an error about a field of a JSON object. An empty path stands for the
// object itself. The text follows the path: " is empty".
type fieldError struct{ path, text string }

func (f *fieldError) Error() string {
	if f.path == "" {
		return strings.TrimPrefix(f.text, ": ")
	}
	return f.path + f.text
}

// in returns f with the name of the field that contains it before its path. It returns
// nil for nil.
func (f *fieldError) in(name string) *fieldError {
	switch {
	case f == nil:
		return nil
	case f.path == "" || strings.HasPrefix(f.path, "["):
		return &fieldError{name + f.path, f.text}
	default:
		return &fieldError{name + "." + f.path, f.text}
	}
}

// errType is returned by the UnmarshalJSON methods of this package for a value of the
// wrong JSON type.
var errType = errors.New("has the wrong type")

// describeError describes an error of encoding/json without echoing more of the input
// than its type.
func describeError(name string, raw json.RawMessage, into any, err error) *fieldError {
	var inner *fieldError
	if errors.As(err, &inner) {
		return inner.in(name)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) || errors.Is(err, errType) {
		return &fieldError{name, wrongType(raw, into)}
	}
	if _, ok := into.(*time.Time); ok {
		return &fieldError{name, " must be a time in RFC 3339, such as 2026-11-22T22:00:30Z"}
	}
	return &fieldError{name, ": " + Printable(err.Error())}
}

// wrongType states the type of a value and the type that the field takes, in words
// that also fit YAML.
func wrongType(raw json.RawMessage, into any) string {
	is, wanted := typeOf(raw), wants(into)
	switch {
	case is == "a number" && strings.HasPrefix(wanted, "a whole number"):
		return " must be " + wanted
	case wanted == "text" && (is == "a number" || is == "true" || is == "false"):
		wanted += ": put it in quotes"
	}
	return " has the wrong type: it is " + is + ", and must be " + wanted
}

func typeOf(raw json.RawMessage) string {
	switch raw[0] {
	case '"':
		return "text"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f', 'n':
		return string(raw)
	default:
		return "a number"
	}
}

// wants names the type that a field takes.
func wants(into any) string {
	switch into.(type) {
	case *Duration, *nonZeroDuration:
		return "a duration such as 90s"
	case *List:
		return "a list of texts, or one text with commas"
	case *Policy:
		return "a policy document: an object, or text that holds one"
	case *HardExpiry:
		return "lease, max_ttl or none"
	case *Sensitive:
		return "text"
	case *map[string]string:
		return "an object: names with their texts"
	}
	t := reflect.TypeOf(into).Elem()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number of at most 18 digits"
	case reflect.Uint64:
		return "a whole number of at most 18 digits, not negative"
	default:
		return "an object: names with their values"
	}
}

// quoteName quotes the name of an unknown field. It hides text that does not look like
// a name and may be a secret: to YAML, "secret_access_key:wJalr…" without a space
// after the colon is a name.
func quoteName(name string) string {
	for i := range len(name) {
		c := name[i] | 0x20
		if (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') && !strings.ContainsRune("_-. ", rune(name[i])) || i == 32 {
			return "(which does not look like a name, so it is not shown)"
		}
	}
	return strconv.Quote(name)
}
