package messages_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// decoders are the decoders of requesters' bodies, each with one of its fields.
var decoders = map[string]struct {
	decode func([]byte) (any, error)
	field  string // name of a field
	value  string // a value of the field, as JSON
	zero   any    // result for an empty body
}{
	"request": {func(b []byte) (any, error) { return messages.DecodeLeaseRequest(b) }, "ttl", `"1h"`, messages.LeaseRequest{}},
	"renew":   {func(b []byte) (any, error) { return messages.DecodeRenewRequest(b) }, "clamp", `true`, messages.RenewRequest{}},
	"revoke":  {func(b []byte) (any, error) { return messages.DecodeRevokeRequest(b) }, "reason", `"done"`, messages.RevokeRequest{}},
	"list":    {func(b []byte) (any, error) { return messages.DecodeListRequest(b) }, "limit", `10`, messages.ListRequest{Limit: 100}},
}

func TestEmptyBodyMeansDefaults(t *testing.T) {
	for name, d := range decoders {
		for _, body := range []string{"", " ", "\r\n\t ", "{}", " { } ", `{"` + d.field + `":null}`} {
			got, err := d.decode([]byte(body))
			if err != nil || !reflect.DeepEqual(got, d.zero) {
				t.Errorf("%s %q: got %+v, %v", name, body, got, err)
			}
		}
		if got, err := d.decode(nil); err != nil || !reflect.DeepEqual(got, d.zero) {
			t.Errorf("%s nil: got %+v, %v", name, got, err)
		}
	}
}

func TestBodiesAreDecodedStrictly(t *testing.T) {
	for name, d := range decoders {
		given := fmt.Sprintf(`"%s":%s`, d.field, d.value)
		if got, err := d.decode([]byte("{" + given + "}")); err != nil || reflect.DeepEqual(got, d.zero) {
			t.Fatalf("%s: %v", name, err)
		}
		escaped := fmt.Sprintf(`"\u%04x%s":%s`, d.field[0], d.field[1:], d.value)
		for _, c := range []struct {
			name, body string
			words      []string
		}{
			{"unknown field", `{` + given + `,"colour":"red"}`, []string{`"colour"`, d.field}},
			{"wrong case", `{"` + strings.ToUpper(d.field) + `":` + d.value + `}`, []string{strings.ToUpper(d.field)}},
			{"title case", `{"` + strings.ToUpper(d.field[:1]) + d.field[1:] + `":` + d.value + `}`, nil},
			{"blank in the name", `{"` + d.field + ` ":` + d.value + `}`, nil},
			{"empty name", `{"":1}`, []string{`""`}},
			{"given twice", `{` + given + `,` + given + `}`, []string{d.field, "twice"}},
			{"given twice, once escaped", `{` + given + `,` + escaped + `}`, []string{d.field, "twice"}},
			{"given twice, once null", `{` + given + `,"` + d.field + `":null}`, []string{d.field, "twice"}},
			{"wrong type", `{"` + d.field + `":{"a":[1]}}`, []string{d.field}},
			{"wrong type, an array", `{"` + d.field + `":[]}`, []string{d.field}},
			{"nothing behind the colon", `{"` + d.field + `":}`, nil},
			{"no colon", `{"` + d.field + `"}`, nil},
			{"a comma too many", `{` + given + `,}`, nil},
			{"a comma first", `{,` + given + `}`, nil},
			{"not closed", `{` + given, nil},
			{"closed otherwise", `{` + given + `]`, nil},
			{"two objects", `{}{}`, []string{"after"}},
			{"something behind", `{` + given + `} x`, []string{"after"}},
			{"closed twice", `{` + given + `}}`, []string{"after"}},
			{"null", `null`, []string{"object"}},
			{"a string", `"{}"`, []string{"object"}},
			{"an array", `[{}]`, []string{"object"}},
			{"a number", `1`, []string{"object"}},
			{"plain text", `1h`, nil},
			{"a name without quotes", `{` + d.field + `:` + d.value + `}`, nil},
			{"single quotes", `{'` + d.field + `':` + d.value + `}`, nil},
			{"a comment", `{` + given + `/* */}`, nil},
			{"a byte order mark", "\ufeff{" + given + "}", nil},
			{"a NUL byte", "{" + given + "}\x00", nil},
			{"deep nesting", `{"` + d.field + `":` + strings.Repeat("[", 8000), nil},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				got, err := d.decode([]byte(c.body))
				wantCode(t, err, messages.CodeInvalidRequest, c.words...)
				wantSafe(t, err)
				if !reflect.ValueOf(got).IsZero() {
					t.Errorf("got an error and a result: %+v", got)
				}
			})
		}
	}
}

func TestBodiesAreLimitedTo16KiB(t *testing.T) {
	for name, d := range decoders {
		body := func(n int) []byte {
			given := fmt.Sprintf(`{"%s":%s`, d.field, d.value)
			return []byte(given + strings.Repeat(" ", n-len(given)-1) + "}")
		}
		for _, n := range []int{messages.MaxBody - 1, messages.MaxBody} {
			if _, err := d.decode(body(n)); err != nil {
				t.Errorf("%s with %d bytes: %v", name, n, err)
			}
		}
		_, err := d.decode(body(messages.MaxBody + 1))
		wantCode(t, err, messages.CodeTooLarge, "16385", "16384")
		_, err = d.decode(make([]byte, 1<<20))
		wantCode(t, err, messages.CodeTooLarge)
	}
}

func TestErrorsEchoAtMostAPartOfTheBody(t *testing.T) {
	long := strings.Repeat("a", 10_000)
	for name, body := range map[string]string{
		"field":           `{"` + long + `":1}`,
		"field of quotes": `{"` + strings.Repeat(`\u2028`, 1500) + `":1}`,
		"number":          `{"limit":` + strings.Repeat("9", 10_000) + `,"ttl":` + strings.Repeat("9", 10_000) + `}`,
		"ttl":             `{"ttl":"` + long + `"}`,
		"xkey":            `{"xkey":"X` + long + `"}`,
		"deadline":        `{"deadline":"` + long + `"}`,
		"label key":       `{"labels":{"` + long + `":"x"}}`,
		"label value":     `{"labels":{"x":"` + long + `"}}`,
		"reason":          `{"reason":"` + long + `"}`,
		"state":           `{"state":"` + long + `"}`,
		"secret":          `{"secret":"` + long + `"}`,
		"after":           `{"after":"` + long + `.` + long[:3000] + `"}`,
		"float":           `{"limit":1.` + strings.Repeat("5", 10_000) + `}`,
	} {
		for verb, d := range decoders {
			_, err := d.decode([]byte(body))
			if err == nil {
				t.Errorf("%s, %s: accepted", verb, name)
				continue
			}
			wantSafe(t, err)
			if strings.Contains(err.Error(), long[:130]) || strings.Contains(err.Error(), strings.Repeat("9", 130)) || strings.Contains(err.Error(), strings.Repeat("5", 130)) {
				t.Errorf("%s, %s: echoed: %.200s…", verb, name, err)
			}
		}
	}
}

// Errors are printed to terminals and sent in NATS headers.
func TestErrorsAreOnOneLine(t *testing.T) {
	_, err := messages.DecodeLeaseRequest([]byte(`{"a\r\nNats-Service-Error-Code: 200\u001b[2J":1}`))
	wantCode(t, err, messages.CodeInvalidRequest)
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("control characters in %q", err)
	}
}
