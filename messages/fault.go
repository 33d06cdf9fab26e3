package messages

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// fault is what is wrong with a field of an object that is being read. An empty
// path stands for the object itself.
type fault struct{ path, says string }

func (f *fault) Error() string {
	if f.path == "" {
		return strings.TrimPrefix(f.says, ": ")
	}
	return f.path + f.says
}

// in is the fault as the object sees it that has this one in a field.
func (f *fault) in(name string) *fault {
	switch {
	case f == nil:
		return nil
	case f.path == "" || strings.HasPrefix(f.path, "["):
		return &fault{name + f.path, f.says}
	default:
		return &fault{name + "." + f.path, f.says}
	}
}

// errType is what an UnmarshalJSON of ours says of a value of the wrong type.
var errType = errors.New("has the wrong type")

// fieldFault says what is wrong with a field, and nothing of a stranger's input
// beyond its type.
func fieldFault(name string, raw json.RawMessage, into any, err error) *fault {
	var inner *fault
	if errors.As(err, &inner) {
		return inner.in(name)
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) || errors.Is(err, errType) {
		return &fault{name, wrongType(raw, into)}
	}
	if _, ok := into.(*time.Time); ok {
		return &fault{name, " must be a time in RFC 3339, such as 2026-11-22T22:00:30Z"}
	}
	return &fault{name, ": " + Printable(err.Error())}
}

// wrongType says what a value is and what it must be, in words that also fit
// what was written in YAML.
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

// wants names what a field takes.
func wants(into any) string {
	switch into.(type) {
	case *Duration, *someTime:
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

// showName quotes the name of a field that is not known. What does not look like
// a name is not shown: "secret_access_key:wJalr…" without a blank behind the
// colon is a name to YAML.
func showName(name string) string {
	for i := range len(name) {
		c := name[i] | 0x20
		if (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') && !strings.ContainsRune("_-. ", rune(name[i])) || i == 32 {
			return "(which does not look like a name, so it is not shown)"
		}
	}
	return strconv.Quote(name)
}
