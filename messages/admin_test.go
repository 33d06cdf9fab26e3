package messages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

var adminVerbs = []messages.AdminVerb{
	messages.AdminPut, messages.AdminGet, messages.AdminList, messages.AdminDelete, messages.AdminCheck, messages.AdminRotateKey,
}

func TestAdminSubjects(t *testing.T) {
	for prefix, want := range map[string][]string{
		"": {
			"lessor_admin", "lessor.admin.secret.put", "lessor.admin.secret.get", "lessor.admin.secret.list",
			"lessor.admin.secret.delete", "lessor.admin.secret.check", "lessor.admin.secret.rotate-key",
		},
		"my-co_1": {
			"my-co_1_admin", "my-co_1.admin.secret.put", "my-co_1.admin.secret.get", "my-co_1.admin.secret.list",
			"my-co_1.admin.secret.delete", "my-co_1.admin.secret.check", "my-co_1.admin.secret.rotate-key",
		},
	} {
		n := must(messages.NewNamespace(prefix))
		got := []string{n.AdminService()}
		for _, v := range adminVerbs {
			got = append(got, n.AdminSecret(v))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got\n%q, want\n%q", prefix, got, want)
		}
		// No stream may swallow an operator's request, nor a secret key with it.
		for _, subject := range got[1:] {
			for _, filter := range []string{
				n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke),
				n.VerbFilter(messages.VerbConfirm), n.EventFilter(),
			} {
				if matches(filter, subject) {
					t.Errorf("%s is caught by %s", subject, filter)
				}
			}
		}
	}
}

// What others send and switch on may not change.
func TestWordsOfTheContract(t *testing.T) {
	for _, c := range [][2]string{
		{messages.HeaderReason, "Lessor-Reason"}, {string(messages.ReasonOperator), "operator"},
		{string(messages.ReasonSecretDeleted), "secret_deleted"}, {string(messages.ReasonChecked), "checked"},
		{string(messages.CodeNotRenewable), "not_renewable"}, {string(messages.CodeRevisionMismatch), "revision_mismatch"},
		{string(messages.CodeSecretDeleting), "secret_deleting"}, {string(messages.CodeSecretFromFile), "secret_from_file"},
		{string(messages.CodeCheckFailed), "check_failed"}, {string(messages.SecretActive), "active"}, {string(messages.SecretDeleting), "deleting"},
		{string(messages.CredentialIAMUser), "iam_user"}, {string(messages.CredentialAssumeRole), "assume_role"},
		{string(messages.AuthDefault), "default"}, {string(messages.AuthAssumeRole), "assume_role"}, {string(messages.AuthIRSA), "irsa"},
		{string(messages.AuthPodIdentity), "pod_identity"}, {string(messages.AuthAccessKey), "access_key"},
		{messages.KindSecret, "secret"}, {messages.KindSecrets, "secrets"}, {messages.KindDeletion, "deletion"}, {messages.KindCheck, "check"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %s, want %s", c[0], c[1])
		}
	}
}

// fullPut is a request with every field of it, and of the definition, set.
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

// wantFull fails if a field of the struct is zero, or one of the structs in it.
func wantFull(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), path+"."+v.Type().Field(i).Name
		if f.IsZero() {
			t.Errorf("%s is not set: what happens to it is not seen", name)
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[messages.Sensitive]() {
			wantFull(t, name, f)
		}
	}
}

func TestSecretPutComesBackWithEveryField(t *testing.T) {
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

func TestSecretPutOnTheWire(t *testing.T) {
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
		t.Errorf("there is no key, and yet: %s", got)
	}
}

func TestASecretKeyIsShownByEncodeAndByNothingElse(t *testing.T) {
	put := fullPut()
	encoded := must(put.Encode())
	if n := bytes.Count(encoded, []byte(theSecret)); n != 1 {
		t.Errorf("encoded, it stands there %d times: %s", n, encoded)
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
		{`{"definition":{"name":"ci"}} {}`, messages.CodeInvalidRequest, []string{"behind"}},
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
				t.Errorf("an error, and a request: %+v", p)
			}
		})
	}
}

func TestSecretPutMayHave64Kilobytes(t *testing.T) {
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
		t.Errorf("an error, and a request: %+v", p)
	}
}

// Whoever mistypes a definition must not find its secret key in an error, which
// goes into logs and onto screens.
func TestErrorsNeverEchoASecretKey(t *testing.T) {
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
			"order": func() error {
				_, err := messages.DecodeSecretRequest(messages.AdminDelete, []byte(definition))
				return err
			},
			"unmarshal": func() error { var d messages.DynamicSecret; return json.Unmarshal([]byte(definition), &d) },
		} {
			err := decode()
			if err == nil {
				if how != "unmarshal" && how != "order" {
					t.Errorf("%s %s: taken", how, definition)
				}
				continue
			}
			for ; err != nil; err = unwrapped(err) {
				wantHidden(t, how+" "+definition, fmt.Sprintf("%v %+v", err, err))
			}
		}
	}
}

// unwrapped is the error's cause, which goes into logs.
func unwrapped(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

func TestDecodeSecretOrder(t *testing.T) {
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
					t.Errorf("%s: an error, and an order: %+v", v, got)
				}
			} else if want := (messages.SecretRequest{Name: "ci", Force: force == "true"}); err != nil || got != want {
				t.Errorf("%s with %s: got %+v, %v", v, force, got, err)
			}
		}
	}
}

func TestDecodeSecretOrderErrors(t *testing.T) {
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
		{`{"name":"ci"} {}`, messages.CodeInvalidRequest, []string{"behind"}},
		{`null`, messages.CodeInvalidRequest, []string{"object"}},
		{`"ci"`, messages.CodeInvalidRequest, []string{"object"}},
		{`{"name":"ci"}` + strings.Repeat(" ", messages.MaxBody), messages.CodeTooLarge, nil},
	} {
		o, err := messages.DecodeSecretRequest(messages.AdminDelete, []byte(c.body))
		wantCode(t, err, c.code, c.words...)
		wantSafe(t, err)
		if o != (messages.SecretRequest{}) {
			t.Errorf("%.60s: an error, and an order: %+v", c.body, o)
		}
	}
}

func TestSecretOrderMayHave16Kilobytes(t *testing.T) {
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

func TestAdminReplySubjectsThatAreAllowed(t *testing.T) {
	for _, prefix := range []string{"", "other"} {
		n := must(messages.NewNamespace(prefix))
		for _, subject := range []string{
			"_INBOX.x", "_INBOX.2pWb5X3iY.JxU0", "_R_.4Xf.b", "_INBOX_ops.x", "_INBOX_OPS.x.y", "_INBOX_Ops-1.x", "_INBOX__.x", "_INBOX_0.x",
			"_INBOX_" + strings.Repeat("a", 64) + ".x", "_INBOX." + strings.Repeat("a", 505), "_INBOX.$JS.API",
		} {
			if err := n.CheckAdminReply(subject); err != nil {
				t.Errorf("%.60s: %v", subject, err)
			}
		}
	}
}

func TestAdminReplySubjectsThatAreAttacks(t *testing.T) {
	for _, prefix := range []string{"", "other"} {
		n := must(messages.NewNamespace(prefix))
		for _, subject := range []string{
			"", ".", "x", "$KV.lessor_secret.ci", "$JS.API.STREAM.DELETE.LESSOR_REQUEST", "$SYS.REQ.SERVER.PING", "$SRV.PING",
			"lessor.request.alice.ci", "lessor.admin.secret.delete", "lessor.deliver.alice.x", "lessor.deliver..x", "lessor", "lessor.x",
			"other.deliver.alice.x", "other.revoke.alice.ci.1", "other.deliver..x",
			"_INBOX", "_INBOX.", "_INBOXx.y", "_R_", "_R_.", "_R_x.y", "x._INBOX.y", "_inbox.x", "_r_.x",
			"_INBOX_", "_INBOX_.x", "_INBOX_..x", "_INBOX_ops", "_INBOX_ops.", "_INBOX_<name>.x", "_INBOX_a$b.x", "_INBOX_*.x", "_INBOX_>.x", "_INBOX_ä.x",
			"_INBOX_\u212A.x", "_INBOX_o ps.x", "_INBOX_ops\x00.x", "_INBOX_" + strings.Repeat("a", 65) + ".x",
			"_INBOX_ops.>", "_INBOX_ops.*", "_INBOX_ops..x", "_INBOX_ops.x.", "_INBOX.>", "_INBOX.*", "_INBOX.a b", "_INBOX.a\r\nPUB $KV.x 0", "_INBOX..x",
			"_INBOX." + strings.Repeat("a", 506), "_INBOX_ops." + strings.Repeat("a.", 5_000) + "a", strings.Repeat("\n", 10_000),
		} {
			err := n.CheckAdminReply(subject)
			if err == nil {
				t.Errorf("%.60q: taken", subject)
				continue
			}
			wantCode(t, err, messages.CodeInvalidReply)
			wantSafe(t, err)
			if len(err.Error()) > 300 {
				t.Errorf("%.60q: the error has %d bytes", subject, len(err.Error()))
			}
		}
	}
	wantCode(t, messages.Namespace{}.CheckAdminReply("x.y"), messages.CodeInvalidReply, "_INBOX., _INBOX_<name>. or _R_.")
}

// An order whose reason no revocation may say would be answered as if its leases ended,
// and each of its messages be refused.
func TestAnOrdersReasonIsOneThatARevocationMaySay(t *testing.T) {
	for _, reason := range []string{`a\nb`, `\u0000`, `\u001b[31m`, strings.Repeat("é", messages.MaxReason+1)} {
		_, err := messages.DecodeLeaseCommand(messages.AdminLeaseRevoke, []byte(`{"secret":"ci","reason":"`+reason+`"}`))
		wantCode(t, err, messages.CodeInvalidRequest, "reason")
		_, err = messages.DecodeRevokeRequest([]byte(`{"reason":"` + reason + `"}`))
		wantCode(t, err, messages.CodeInvalidRequest, "reason")
	}
}
