package messages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

// fullPut returns a put with every field of the put and of its definition set.
func fullPut() messages.SecretPut {
	revision := uint64(7)
	return messages.SecretPut{
		Revision: &revision, NoCheck: true,
		Definition: messages.DynamicSecret{
			Name: "ci", DefaultTTL: 20 * minute, MaxTTL: hour, UsernameTemplate: "ci-{{random 12}}", Tags: map[string]string{"team": "<platform>"},
			MaxLeases: 500, MaxLeasesPerIdentity: 5, MaxRequestsPerMinute: 30, AllowFixedUsername: true, HardExpiry: messages.HardExpiryMaxTTL, RequireSealed: true, RequireConfirm: true,
			AWS: messages.AWS{
				CredentialType: messages.CredentialAssumeRole, Region: "eu-central-1", Path: "/lessor/ci/",
				PermissionsBoundary: "arn:aws:iam::123456789012:policy/boundary", Groups: messages.List{"deployers"},
				ManagedPolicies: messages.List{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, InlinePolicy: messages.Policy(`{"Version":"2012-10-17"}`),
				RoleARN: "arn:aws:iam::123456789012:role/leased", ExternalID: "lessor:7", DenyOnRevoke: true,
				Auth: messages.Auth{
					Method: messages.AuthAccessKey, RoleARN: "arn:aws:iam::123456789012:role/broker", AssumeRoleARN: "arn:aws:iam::123456789012:role/second",
					ExternalID: "mine", AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(theSecret),
				},
			},
		},
	}
}

// wantFull fails unless all fields of the struct are set, recursively.
func wantFull(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), path+"."+v.Type().Field(i).Name
		if f.IsZero() {
			t.Errorf("%s is not set, so the test does not cover it", name)
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[messages.Sensitive]() {
			wantFull(t, name, f)
		}
	}
}

func TestSecretPutRoundTripKeepsEveryField(t *testing.T) {
	full := fullPut()
	all := full
	all.Sealed = &messages.Sealed{} // which excludes a key in clear
	wantFull(t, "SecretPut", reflect.ValueOf(all))
	sealed := must(full.Seal(publicKey(seed(1))))
	zero := uint64(0)
	mustBeNew := fullPut()
	mustBeNew.Revision, mustBeNew.NoCheck = &zero, false
	whatever := fullPut()
	whatever.Revision = nil
	keyless := fullPut()
	keyless.Definition.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	bare := messages.SecretPut{Definition: messages.DynamicSecret{Name: "ci"}.WithDefaults()}
	quoted := fullPut()
	quoted.Definition.AWS.Auth.SecretAccessKey = messages.NewSensitive("a\"\\/+<&>\u2028é")
	for name, put := range map[string]messages.SecretPut{
		"full": full, "sealed": sealed, "must be new": mustBeNew, "whatever there is": whatever, "without a key": keyless, "bare": bare, "a key with quotes": quoted,
	} {
		t.Run(name, func(t *testing.T) {
			data := must(put.Encode())
			got, err := messages.DecodeSecretPut(data)
			if err != nil || !reflect.DeepEqual(got, put) {
				t.Errorf("got %+v, %v; want %+v", got, err, put)
			}
			if again := must(got.Encode()); !bytes.Equal(again, data) {
				t.Errorf("written as\n%s, was\n%s", again, data)
			}
		})
	}
}

func TestSecretPutFormat(t *testing.T) {
	put := messages.SecretPut{NoCheck: true, Definition: messages.DynamicSecret{
		Name: "ci", DefaultTTL: hour, MaxTTL: hour,
		AWS: messages.AWS{Auth: messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(theSecret)}},
	}}
	want := `{"no_check":true,"definition":{"name":"ci","default_ttl":"1h","max_ttl":"1h",` +
		`"aws":{"auth":{"method":"access_key","access_key_id":"AKIAX","secret_access_key":"` + theSecret + `"}}}}`
	if got := string(must(put.Encode())); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	put.Definition.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	if got := string(must(put.Encode())); strings.Contains(got, "secret_access_key") {
		t.Errorf("got a key without one in the definition: %s", got)
	}
}

func TestOnlySecretPutEncodeShowsTheSecretKey(t *testing.T) {
	put := fullPut()
	encoded := must(put.Encode())
	if n := bytes.Count(encoded, []byte(theSecret)); n != 1 {
		t.Errorf("the encoding has the secret key %d times: %s", n, encoded)
	}
	info := messages.SecretInfo{Name: "ci", Definition: put.Definition}
	for name, v := range map[string]any{
		"put": put, "pointer to put": &put, "definition": put.Definition, "pointer to definition": &put.Definition,
		"aws": put.Definition.AWS, "auth": put.Definition.AWS.Auth, "pointer to auth": &put.Definition.AWS.Auth,
		"info": info, "reply": messages.Reply{Kind: messages.KindSecret, Secret: &info},
		"replies": messages.Reply{Kind: messages.KindSecrets, Secrets: []messages.SecretInfo{info}},
		"map":     map[string]messages.DynamicSecret{"ci": put.Definition}, "slice": []*messages.DynamicSecret{&put.Definition},
		"unexported": struct{ d messages.DynamicSecret }{put.Definition},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			wantHidden(t, name+" in "+format, fmt.Sprintf(format, v))
		}
		wantHidden(t, name+" in JSON", string(mustJSON(t, v)))
		wantHidden(t, name+" in YAML", string(must(yaml.Marshal(v))))
		var b bytes.Buffer
		z := zerolog.New(&b)
		z.Info().Interface("v", v).Any("w", v).Msgf("%+v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("hello", "v", v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("hello", "v", v)
		wantHidden(t, name+" in a log", b.String())
	}
	for name, r := range map[string]messages.Reply{
		"one":  {Kind: messages.KindSecret, Secret: &info},
		"many": {Kind: messages.KindSecrets, Secrets: []messages.SecretInfo{info}},
		"with credentials": {
			Kind: messages.KindSecret, Secret: &info,
			Credentials: &messages.Credentials{SecretAccessKey: messages.NewSensitive("another")},
		},
	} {
		wantHidden(t, "a reply with "+name, string(must(r.Encode())))
	}
}

func TestDecodeSecretPut(t *testing.T) {
	seven, none := uint64(7), uint64(0)
	ci := must(messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`)))
	for body, want := range map[string]messages.SecretPut{
		`{"definition":{"name":"ci"}}`:                                       {Definition: ci},
		`{"definition":{"name":"ci"},"revision":7}`:                          {Definition: ci, Revision: &seven},
		`{"definition":{"name":"ci"},"revision":0}`:                          {Definition: ci, Revision: &none},
		`{"definition":{"name":"ci"},"revision":null,"no_check":null}`:       {Definition: ci},
		`{"no_check":true,"definition":{"name":"ci"}}`:                       {Definition: ci, NoCheck: true},
		` { "no_check" : false , "definition" : { "name" : "ci" } } ` + "\n": {Definition: ci},
	} {
		got, err := messages.DecodeSecretPut([]byte(body))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", body, got, err, want)
		}
	}
}

func TestDecodeSecretPutErrors(t *testing.T) {
	for _, c := range []struct {
		body  string
		code  messages.Code
		words []string
	}{
		{``, messages.CodeInvalidRequest, nil},
		{`null`, messages.CodeInvalidRequest, []string{"object"}},
		{`[]`, messages.CodeInvalidRequest, []string{"object"}},
		{`definition: {name: ci}`, messages.CodeInvalidRequest, []string{"JSON"}},
		{`{}`, messages.CodeInvalidRequest, []string{"definition", "missing"}},
		{`{"definition":null}`, messages.CodeInvalidRequest, []string{"definition", "missing"}},
		{`{"name":"ci"}`, messages.CodeInvalidRequest, []string{`"name"`, "definition"}},
		{`{"revision":7,"no_check":true}`, messages.CodeInvalidRequest, []string{"definition", "missing"}},
		{`{"definition":{"name":"ci"},"revision":-1}`, messages.CodeInvalidRequest, []string{"revision"}},
		{`{"definition":{"name":"ci"},"revision":1.5}`, messages.CodeInvalidRequest, []string{"revision"}},
		{`{"definition":{"name":"ci"},"revision":"7"}`, messages.CodeInvalidRequest, []string{"revision"}},
		{`{"definition":{"name":"ci"},"revision":18446744073709551616}`, messages.CodeInvalidRequest, []string{"revision"}},
		{`{"definition":{"name":"ci"},"no_check":"true"}`, messages.CodeInvalidRequest, []string{"no_check"}},
		{`{"definition":{"name":"ci"},"definition":{"name":"ci"}}`, messages.CodeInvalidRequest, []string{"definition", "twice"}},
		{`{"definition":{"name":"ci"},"Revision":7}`, messages.CodeInvalidRequest, []string{`"Revision"`}},
		{`{"definition":{"name":"ci"}} {}`, messages.CodeInvalidRequest, []string{"after"}},
		{`{"definition":{"name":"ci"}`, messages.CodeInvalidRequest, []string{"JSON"}},
		{`{"revision":7,"no_check":true,"definition":[]}`, messages.CodeInvalidSecret, []string{"object"}},
		{`{"revision":7,"no_check":true,"definition":"ci"}`, messages.CodeInvalidSecret, []string{"object"}},
		{`{"revision":7,"no_check":true,"definition":{}}`, messages.CodeInvalidSecret, []string{"name"}},
		{`{"revision":7,"no_check":true,"definition":{"name":"CI"}}`, messages.CodeInvalidSecret, []string{"name"}},
		{`{"definition":{"name":"ci","ttl":"1h"}}`, messages.CodeInvalidSecret, []string{`"ttl"`}},
		{`{"definition":{"name":"ci","aws":{"auth":{"secret":"x"}}}}`, messages.CodeInvalidSecret, []string{"aws", "auth", `"secret"`}},
	} {
		t.Run(c.body, func(t *testing.T) {
			p, err := messages.DecodeSecretPut([]byte(c.body))
			wantCode(t, err, c.code, c.words...)
			wantSafe(t, err)
			if !reflect.DeepEqual(p, messages.SecretPut{}) {
				t.Errorf("got an error and a request: %+v", p)
			}
		})
	}
}

func TestSecretPutDefinitionIsLimitedTo64KiB(t *testing.T) {
	body := func(n int) []byte { // of a definition of n bytes
		const head, tail = `{"name":"ci","username_template":"`, `"}`
		return []byte(`{"definition":` + head + strings.Repeat("a", n-len(head)-len(tail)) + tail + `,"revision":18446744073709551615,"no_check":false}`)
	}
	for _, n := range []int{messages.MaxSecretBody - 1, messages.MaxSecretBody} {
		if _, err := messages.DecodeSecretPut(body(n)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	p, err := messages.DecodeSecretPut(body(messages.MaxSecretBody + 1))
	wantCode(t, err, messages.CodeInvalidSecret, "65537", "65536")
	if !reflect.DeepEqual(p, messages.SecretPut{}) {
		t.Errorf("got an error and a request: %+v", p)
	}
}

// Errors are logged and printed, so a mistake in a definition must not show its
// secret key.
func TestErrorsOfDefinitionsNeverEchoTheSecretKey(t *testing.T) {
	const key = `"secret_access_key":"` + theSecret + `"`
	auth := func(s string) string { return `{"name":"ci","aws":{"auth":{` + s + `}}}` }
	for _, definition := range []string{
		auth(key + `,` + key),
		auth(key + `,"method":7`),
		auth(key + `,"colour":"red"`),
		auth(`"method":7,` + key),
		auth(`"colour":"red",` + key),
		auth(key + `,`),
		auth(key + ` "method":"access_key"`),
		auth(`"secret_access_key":["` + theSecret + `"]`),
		auth(`"secret_access_key":{"value":"` + theSecret + `"}`),
		auth(`"secret_access_key":{"` + theSecret + `":1}`),
		auth(`"secret_access_key":"` + theSecret),
		auth(`"secret_access_key":` + theSecret),
		auth(`"secret_access_key":'` + theSecret + `'`),
		auth(`"secret_access_key":"` + theSecret + `\q"`),
		auth(`"secret_access_key":"` + theSecret + "\n\""),
		auth(`"secretAccessKey":"` + theSecret + `"`),
		auth(`"SECRET_ACCESS_KEY":"` + theSecret + `"`),
		auth(`"method":{` + key + `}`),
		auth(`"access_key_id":{` + key + `}`),
		`{"name":"ci","aws":{"auth":"` + theSecret + `"}}`,
		`{"name":"ci","aws":{"auth":["` + theSecret + `"]}}`,
		`{"name":"ci","aws":{` + key + `}}`,
		`{"name":"ci","aws":"` + theSecret + `"}`,
		`{"name":"ci",` + key + `}`,
		`{"name":"` + theSecret + `"}`,
		`{"name":{` + key + `}}`,
		`{"name":"ci","default_ttl":"` + theSecret + `"}`,
		`{"name":"ci","default_ttl":"2h","max_ttl":"1h","aws":{"auth":{` + key + `}}}`,
		`{"name":"ci","hard_expiry":"` + theSecret + `","aws":{"auth":{` + key + `}}}`,
		`{"name":"CI","aws":{"auth":{` + key + `}}}`,
		`{"name":"ci","aws":{"groups":{` + key + `}}}`,
		`{"name":"ci","aws":{"inline_policy":"` + theSecret + `"}}`,
		`{"name":"ci","max_leases":"` + theSecret + `"}`,
		`{"name":"ci","tags":{"a":{` + key + `}}}`,
		sessionBody(`"max_ttl":"13h"`, key),
		`"` + theSecret + `"`, theSecret, `["` + theSecret + `"]`,
	} {
		for how, decode := range map[string]func() error{
			"definition": func() error { _, err := messages.DecodeDynamicSecret([]byte(definition)); return err },
			"put": func() error {
				_, err := messages.DecodeSecretPut([]byte(`{"definition":` + definition + `}`))
				return err
			},
			"put itself": func() error { _, err := messages.DecodeSecretPut([]byte(definition)); return err },
			"request": func() error {
				_, err := messages.DecodeSecretRequest(messages.AdminDelete, []byte(definition))
				return err
			},
			"unmarshal": func() error { var d messages.DynamicSecret; return json.Unmarshal([]byte(definition), &d) },
		} {
			err := decode()
			if err == nil {
				if how != "unmarshal" && how != "request" {
					t.Errorf("%s %s: accepted", how, definition)
				}
				continue
			}
			for ; err != nil; err = unwrapped(err) {
				wantHidden(t, how+" "+definition, fmt.Sprintf("%v %+v", err, err))
			}
		}
	}
}

// unwrapped returns the cause of the error, which is logged.
func unwrapped(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func TestDecodeSecretRequest(t *testing.T) {
	for _, v := range adminVerbs {
		got, err := messages.DecodeSecretRequest(v, []byte(`{"name":"ci"}`))
		if want := (messages.SecretRequest{Name: "ci"}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", v, got, err)
		}
		long := strings.Repeat("a", 64)
		if got, err := messages.DecodeSecretRequest(v, []byte(`{"name":"`+long+`"}`)); err != nil || got.Name != long {
			t.Errorf("%s: got %+v, %v", v, got, err)
		}
		for _, force := range []string{"true", "false", "null"} {
			got, err := messages.DecodeSecretRequest(v, []byte(`{"name":"ci","force":`+force+`}`))
			if v != messages.AdminDelete {
				wantCode(t, err, messages.CodeInvalidRequest, `"force"`)
				if got != (messages.SecretRequest{}) {
					t.Errorf("%s: got an error and a request: %+v", v, got)
				}
			} else if want := (messages.SecretRequest{Name: "ci", Force: force == "true"}); err != nil || got != want {
				t.Errorf("%s with %s: got %+v, %v", v, force, got, err)
			}
		}
	}
}

func TestDecodeSecretRequestErrors(t *testing.T) {
	for _, c := range []struct {
		body  string
		code  messages.Code
		words []string
	}{
		{``, messages.CodeInvalidSubject, []string{"name"}},
		{`{}`, messages.CodeInvalidSubject, []string{"name"}},
		{`{"name":null}`, messages.CodeInvalidSubject, []string{"name"}},
		{`{"name":""}`, messages.CodeInvalidSubject, []string{"name"}},
		{`{"force":true}`, messages.CodeInvalidSubject, []string{"name"}},
		{`{"name":"CI","force":true}`, messages.CodeInvalidSubject, []string{"name", "a-z"}},
		{`{"name":"a.b"}`, messages.CodeInvalidSubject, []string{"name", "a-z"}},
		{`{"name":"*"}`, messages.CodeInvalidSubject, []string{"name", "a-z"}},
		{`{"name":"` + strings.Repeat("a", 65) + `"}`, messages.CodeInvalidSubject, []string{"65", "64"}},
		{`{"name":1}`, messages.CodeInvalidRequest, []string{"name", "number"}},
		{`{"name":"ci","force":"true"}`, messages.CodeInvalidRequest, []string{"force"}},
		{`{"name":"ci","Force":true}`, messages.CodeInvalidRequest, []string{`"Force"`}},
		{`{"name":"ci","name":"cd"}`, messages.CodeInvalidRequest, []string{"name", "twice"}},
		{`{"name":"ci","revision":7}`, messages.CodeInvalidRequest, []string{`"revision"`}},
		{`{"name":"ci"} {}`, messages.CodeInvalidRequest, []string{"after"}},
		{`null`, messages.CodeInvalidRequest, []string{"object"}},
		{`"ci"`, messages.CodeInvalidRequest, []string{"object"}},
		{`{"name":"ci"}` + strings.Repeat(" ", messages.MaxBody), messages.CodeTooLarge, nil},
	} {
		o, err := messages.DecodeSecretRequest(messages.AdminDelete, []byte(c.body))
		wantCode(t, err, c.code, c.words...)
		wantSafe(t, err)
		if o != (messages.SecretRequest{}) {
			t.Errorf("%.60s: got an error and a request: %+v", c.body, o)
		}
	}
}

func TestSecretRequestIsLimitedTo16KiB(t *testing.T) {
	body := func(n int) []byte {
		const whole = `{"name":"ci"}`
		return []byte(whole + strings.Repeat(" ", n-len(whole)))
	}
	for _, n := range []int{messages.MaxBody - 1, messages.MaxBody} {
		if _, err := messages.DecodeSecretRequest(messages.AdminGet, body(n)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	_, err := messages.DecodeSecretRequest(messages.AdminGet, body(messages.MaxBody+1))
	wantCode(t, err, messages.CodeTooLarge, "16385", "16384")
}
