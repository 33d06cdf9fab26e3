package messages_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func TestDecodeDynamicSecretSetsDefaults(t *testing.T) {
	got, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`))
	want := messages.DynamicSecret{
		Name: "ci", DefaultTTL: hour, MaxTTL: 24 * hour,
		UsernameTemplate: "lessor-{{truncate identity.name 24}}-{{random 16}}", HardExpiry: messages.HardExpiryLease,
		AWS: messages.AWS{CredentialType: "iam_user", Region: "us-east-1", Path: "/lessor/", Auth: messages.Auth{Method: "default"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestDecodeDynamicSecret(t *testing.T) {
	got, err := messages.DecodeDynamicSecret([]byte(`{
		"name": "ci", "default_ttl": "30m", "max_ttl": "12h", "username_template": "ci-{{random 12}}", "tags": {"team": "platform"},
		"max_leases": 500, "max_leases_per_identity": 5, "max_requests_per_minute": 30, "hard_expiry": "max_ttl", "require_sealed": true, "require_confirm": true,
		"aws": {
			"credential_type": "iam_user", "region": "eu-central-1", "path": "/lessor/ci/",
			"permissions_boundary": "arn:aws:iam::123456789012:policy/boundary",
			"groups": ["deployers", " readers "], "managed_policies": " arn:aws:iam::aws:policy/ReadOnlyAccess , arn:aws:iam::aws:policy/X",
			"inline_policy": {"Version": "2012-10-17", "Statement": [ ]},
			"auth": {"method": "default"}
		}}`))
	want := messages.DynamicSecret{
		Name: "ci", DefaultTTL: 30 * minute, MaxTTL: 12 * hour, UsernameTemplate: "ci-{{random 12}}", Tags: map[string]string{"team": "platform"},
		MaxLeases: 500, MaxLeasesPerIdentity: 5, MaxRequestsPerMinute: 30, HardExpiry: messages.HardExpiryMaxTTL, RequireSealed: true, RequireConfirm: true,
		AWS: messages.AWS{
			CredentialType: "iam_user", Region: "eu-central-1", Path: "/lessor/ci/",
			PermissionsBoundary: "arn:aws:iam::123456789012:policy/boundary",
			Groups:              messages.List{"deployers", "readers"},
			ManagedPolicies:     messages.List{"arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::aws:policy/X"},
			InlinePolicy:        messages.Policy(`{"Version":"2012-10-17","Statement":[]}`),
			Auth:                messages.Auth{Method: "default"},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	// The stored form decodes to the same definition.
	again, err := messages.DecodeDynamicSecret(mustJSON(t, got))
	if err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("decoded again: %+v, %v", again, err)
	}
}

func TestDynamicSecretTTLBounds(t *testing.T) {
	for _, c := range []struct {
		given              string
		defaultTTL, maxTTL messages.Duration
		words              []string // of the error
	}{
		{`"default_ttl":"30m"`, 30 * minute, 24 * hour, nil},
		{`"default_ttl":"48h"`, 48 * hour, 48 * hour, nil},
		{`"max_ttl":"48h"`, hour, 48 * hour, nil},
		{`"max_ttl":"30m"`, 30 * minute, 30 * minute, nil},
		{`"default_ttl":"0s","max_ttl":"0s"`, hour, 24 * hour, nil},
		{`"default_ttl":null,"max_ttl":null`, hour, 24 * hour, nil},
		{`"default_ttl":"2h","max_ttl":"2h"`, 2 * hour, 2 * hour, nil},
		{`"default_ttl":"1s"`, messages.Duration(time.Second), 24 * hour, nil},
		{`"default_ttl":"3650d"`, 3650 * 24 * hour, 3650 * 24 * hour, nil},
		{`"default_ttl":"0s"`, hour, 24 * hour, nil},
		{`"default_ttl":"90s","max_ttl":"90s"`, 90 * minute / 60, 90 * minute / 60, nil},
		{`"default_ttl":"15m","max_ttl":"36h"`, 15 * minute, 36 * hour, nil},
		{`"default_ttl":"7d","max_ttl":"2w"`, 7 * 24 * hour, 14 * 24 * hour, nil},
		{`"default_ttl":"1h30m"`, 90 * minute, 24 * hour, nil},
		{`"default_ttl":"59m59s","max_ttl":"1h"`, hour - minute/60, hour, nil},
		{`"default_ttl":"1h","max_ttl":"1h"`, hour, hour, nil},
		{`"default_ttl":"1h1s","max_ttl":"1h"`, 0, 0, []string{"default_ttl 1h1s is above max_ttl 1h"}},
		{`"max_ttl":"3649d"`, hour, 3649 * 24 * hour, nil},
		{`"max_ttl":"3650d"`, hour, 3650 * 24 * hour, nil},
		{`"max_ttl":"521w"`, hour, 521 * 7 * 24 * hour, nil},
		{`"max_ttl":"522w"`, 0, 0, []string{"max_ttl: a duration may be at most 3650d"}},
		{`"max_ttl":"87600h1s"`, 0, 0, []string{"max_ttl: a duration may be at most 3650d"}},
		{`"default_ttl":"3651d"`, 0, 0, []string{"default_ttl: a duration may be at most 3650d"}},
		{`"max_ttl":"1y"`, 0, 0, []string{"max_ttl: a duration is a number and a unit (s, m, h, d, w)"}},
		{`"max_ttl":"500ms"`, 0, 0, []string{"max_ttl: a duration is a number and a unit (s, m, h, d, w)"}},
		{`"default_ttl":true`, 0, 0, []string{"default_ttl has", "it is true", "a duration such as 90s"}},
		{`"default_ttl":"2h","max_ttl":"1h59m59s"`, 0, 0, []string{"default_ttl", "2h", "max_ttl", "1h59m59s"}},
		{`"max_ttl":"3651d"`, 0, 0, []string{"max_ttl", "3650d"}},
		{`"default_ttl":"-1s"`, 0, 0, []string{"default_ttl"}},
		{`"default_ttl":3600`, 0, 0, []string{"default_ttl has the wrong type: it is a number, and must be a duration such as 90s"}},
	} {
		t.Run(c.given, func(t *testing.T) {
			s, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci",` + c.given + `}`))
			if c.words != nil {
				wantCode(t, err, messages.CodeInvalidSecret, c.words...)
				return
			}
			if err != nil || s.DefaultTTL != c.defaultTTL || s.MaxTTL != c.maxTTL {
				t.Errorf("got %s and %s, %v; want %s and %s", s.DefaultTTL, s.MaxTTL, err, c.defaultTTL, c.maxTTL)
			}
		})
	}
}

func TestDynamicSecretErrorsNameTheField(t *testing.T) {
	aws := func(s string) string { return `{"name":"ci","aws":{` + s + `}}` }
	for _, c := range []struct {
		body  string
		words []string
	}{
		{``, []string{"JSON"}},
		{`null`, []string{"object"}},
		{`[]`, []string{"object"}},
		{`name: ci`, []string{"JSON"}},
		{`{}`, []string{"name is empty"}},
		{`{"name":"ci"} {}`, []string{"after"}},
		{`{"name":"CI"}`, []string{"name", "a-z"}},
		{`{"name":"a.b"}`, []string{"name", "a-z"}},
		{`{"name":"` + strings.Repeat("a", 65) + `"}`, []string{"name", "65", "64"}},
		{`{"Name":"ci"}`, []string{`"Name"`}},
		{`{"name":"ci","name":"cd"}`, []string{"name", "twice"}},
		{`{"name":1}`, []string{"name has the wrong type: it is a number, and must be text: put it in quotes"}},
		{`{"name":"ci","ttl":"1h"}`, []string{`"ttl"`, "default_ttl"}},
		{`{"name":"ci","tags":["a"]}`, []string{"tags has the wrong type", "a list", "an object"}},
		{`{"name":"ci","tags":{"a":1}}`, []string{"tags.a has", "a number", "text: put it in quotes"}},
		{`{"name":"ci","tags":{"a":"1","a":"2"}}`, []string{"tags.a is given twice"}},
		{`{"name":"ci","max_leases":-1}`, []string{"max_leases", "-1"}},
		{`{"name":"ci","max_leases":1.5}`, []string{"max_leases must be a whole number"}},
		{`{"name":"ci","max_leases":99999999999999999999}`, []string{"max_leases must be a whole number of at most 18 digits"}},
		{`{"name":"ci","max_leases":"5"}`, []string{"max_leases has", "text", "a whole number"}},
		{`{"name":"ci","max_leases_per_identity":-1}`, []string{"max_leases_per_identity"}},
		{`{"name":"ci","hard_expiry":"never"}`, []string{"hard_expiry: must be lease, max_ttl or none"}},
		{`{"name":"ci","hard_expiry":true}`, []string{"hard_expiry has", "it is true", "lease, max_ttl or none"}},
		{`{"name":"ci","hard_expiry":""}`, []string{"hard_expiry"}},
		{`{"name":"ci","require_sealed":"yes"}`, []string{"require_sealed has", "it is text", "must be true or false"}},
		{`{"name":"ci","require_confirm":1}`, []string{"require_confirm", "number"}},
		{`{"name":"ci","aws":[]}`, []string{"aws", "object"}},
		{aws(`"Region":"us-east-1"`), []string{"aws", `"Region"`}},
		{aws(`"policy":{}`), []string{"aws", `"policy"`, "inline_policy"}},
		{aws(`"region":"a","region":"b"`), []string{"aws.region is given twice"}},
		{aws(`"region":1`), []string{"aws.region has", "a number", "text: put it in quotes"}},
		{aws(`"path":{}`), []string{"aws.path has", "an object", "must be text"}},
		{aws(`"groups":["a",1]`), []string{"aws.groups[1] has", "a number", "text: put it in quotes"}},
		{aws(`"groups":{}`), []string{"aws.groups has", "an object", "a list of texts, or one text with commas"}},
		{aws(`"groups":"a,,b"`), []string{"aws.groups[1] is empty"}},
		{aws(`"groups":["a",""]`), []string{"aws.groups[1] is empty"}},
		{aws(`"managed_policies":7`), []string{"aws.managed_policies has", "a number", "commas"}},
		{aws(`"inline_policy":[]`), []string{"aws.inline_policy has", "a list", "a policy document: an object"}},
		{aws(`"inline_policy":7`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"{"`), []string{"aws.inline_policy: ", "not JSON"}},
		{aws(`"inline_policy":"null"`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"{}{}"`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"\"{}\""`), []string{"aws", "inline_policy"}},
		{aws(`"auth":"default"`), []string{"aws", "auth", "object"}},
		{aws(`"auth":{"Method":"default"}`), []string{"aws.auth: unknown field", `"Method"`, "secret_access_key"}},
		{aws(`"auth":{"method":1}`), []string{"aws.auth.method has", "a number"}},
		{aws(`"auth":{"method":"default","method":"default"}`), []string{"aws.auth.method is given twice"}},
	} {
		t.Run(c.body, func(t *testing.T) {
			s, err := messages.DecodeDynamicSecret([]byte(c.body))
			wantCode(t, err, messages.CodeInvalidSecret, c.words...)
			wantSafe(t, err)
			if !reflect.DeepEqual(s, messages.DynamicSecret{}) {
				t.Errorf("got an error and a definition: %+v", s)
			}
		})
	}
}

func TestNullFieldEqualsAbsent(t *testing.T) {
	want := must(messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`)))
	for _, field := range []string{
		"default_ttl", "max_ttl", "username_template", "tags", "max_leases", "max_leases_per_identity", "max_requests_per_minute", "hard_expiry",
		"require_sealed", "require_confirm", "aws",
	} {
		if got, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","` + field + `":null}`)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", field, got, err)
		}
	}
	for _, field := range []string{
		"credential_type", "region", "path", "permissions_boundary", "groups", "managed_policies", "inline_policy", "auth",
	} {
		if got, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","aws":{"` + field + `":null}}`)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("aws.%s: got %+v, %v", field, got, err)
		}
	}
	for _, field := range []string{"ttl", "xkey", "confirm", "ready_within", "deadline", "labels"} {
		if got, err := messages.DecodeLeaseRequest([]byte(`{"` + field + `":null}`)); err != nil || !reflect.DeepEqual(got, messages.LeaseRequest{}) {
			t.Errorf("request's %s: got %+v, %v", field, got, err)
		}
	}
}

func TestDynamicSecretIsLimitedTo64KiB(t *testing.T) {
	body := func(n int) []byte {
		const head, tail = `{"name":"ci","username_template":"`, `"}`
		return []byte(head + strings.Repeat("a", n-len(head)-len(tail)) + tail)
	}
	for _, n := range []int{messages.MaxSecretBody - 1, messages.MaxSecretBody} {
		if _, err := messages.DecodeDynamicSecret(body(n)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	_, err := messages.DecodeDynamicSecret(body(messages.MaxSecretBody + 1))
	wantCode(t, err, messages.CodeInvalidSecret, "65537", "65536")
}

func TestHardExpiryJSON(t *testing.T) {
	for data, want := range map[string]messages.HardExpiry{
		`"lease"`: "lease", `"max_ttl"`: "max_ttl", `"none"`: "none", `"off"`: "none", `false`: "none", `null`: "lease",
	} {
		s, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","hard_expiry":` + data + `}`))
		if err != nil || s.HardExpiry != want {
			t.Errorf("%s: got %q, %v; want %q", data, s.HardExpiry, err, want)
		}
	}
}

func TestResolveTTL(t *testing.T) {
	s := messages.DynamicSecret{DefaultTTL: hour, MaxTTL: 24 * hour}
	short := messages.DynamicSecret{DefaultTTL: 30 * minute / 60, MaxTTL: 45 * minute / 60}
	for _, c := range []struct {
		name           string
		secret         messages.DynamicSecret
		requested, min messages.Duration
		want           messages.Duration
		code           messages.Code
		words          []string
	}{
		{"the default", s, 0, minute, hour, "", nil},
		{"the requested ttl", s, 2 * hour, minute, 2 * hour, "", nil},
		{"the minimum", s, minute, minute, minute, "", nil},
		{"below it", s, minute - messages.Duration(time.Second), minute, 0, messages.CodeTTLBelowMin, []string{"59s", "1m"}},
		{"the maximum", s, 24 * hour, minute, 24 * hour, "", nil},
		{"above it", s, 24*hour + messages.Duration(time.Second), minute, 0, messages.CodeTTLExceedsMax, []string{"1d1s", "1d"}},
		{"a default below the minimum is raised", s, 0, 2 * hour, 2 * hour, "", nil},
		{"but not above the maximum", short, 0, minute, 0, messages.CodeTTLBelowMin, []string{"45s", "1m"}},
		{"no minimum", short, 0, 0, 30 * minute / 60, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.ResolveTTL(c.requested, c.min)
			if c.code != "" {
				wantCode(t, err, c.code, c.words...)
			} else if err != nil {
				t.Error(err)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestDynamicSecretErrorsEchoAtMostAPart(t *testing.T) {
	long := strings.Repeat("9", 10_000)
	for _, format := range []string{`{%q:1}`, `{"max_leases":%s}`, `{"name":%q}`, `{"aws":{%q:1}}`, `{"aws":{"auth":{%q:1}}}`, `{"hard_expiry":%q}`, `{"aws":{"groups":%s}}`} {
		_, err := messages.DecodeDynamicSecret(fmt.Appendf(nil, format, long))
		wantCode(t, err, messages.CodeInvalidSecret)
		if strings.Contains(err.Error(), long[:130]) {
			t.Errorf("%s: echoed in %.200s…", format, err)
		}
	}
}

// A definition may contain the secret key of the method access_key. No error about a
// definition shows it, even if it is in the wrong field.
func TestMisplacedSecretKeyIsNotInTheError(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, auth := range []string{
		`"secret_access_key":["` + secret + `"]`,
		`"secret_access_key":{"` + secret + `":1}`,
		`"secret_access_key":"` + secret + `","secret_access_key":"` + secret + `"`,
		`"secret_access_key":"` + secret + `\ud800","x":1`,
		`"secret_access_key":"` + secret,
		`"secret_access_key":` + secret,
		`"secret_access_key:` + secret + `":null`,
		`"` + secret + `":null`,
		`"secretAccessKey":"` + secret + `"`,
		`"method":["` + secret + `"]`,
		`"access_key_id":{"a":"` + secret + `"}`,
	} {
		for _, body := range []string{`{"name":"ci","aws":{"auth":{` + auth + `}}}`, `{"name":"ci","aws":{` + auth + `}}`, `{` + auth + `}`} {
			for _, decode := range []func([]byte) error{
				func(b []byte) error { _, err := messages.DecodeDynamicSecret(b); return err },
				func(b []byte) error {
					_, err := messages.DecodeSecretPut(fmt.Appendf(nil, `{"definition":%s}`, b))
					return err
				},
			} {
				err := decode([]byte(body))
				if err == nil {
					t.Fatalf("%s is accepted", body)
				}
				for text := err.Error(); ; {
					if strings.Contains(text, secret[:8]) {
						t.Errorf("%s: %v", body, text)
					}
					if err = errors.Unwrap(err); err == nil {
						break
					}
					text = err.Error()
				}
			}
		}
	}
}

// An unknown field may be a typing error, so its name is shown.
func TestUnknownFieldIsShownIfItLooksLikeAName(t *testing.T) {
	for name, shown := range map[string]bool{
		"colour": true, "Default TTL": true, "aws.region": true, "": true, strings.Repeat("a", 32): true,
		strings.Repeat("a", 33): false, "a:b": false, "a/b": false, "é": false, "a\\n": false,
	} {
		_, err := messages.DecodeDynamicSecret([]byte(`{"` + name + `":1}`))
		wantCode(t, err, messages.CodeInvalidSecret, "unknown field", "default_ttl")
		if strings.Contains(err.Error(), "field \""+name+"\"") != shown {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Definitions are written in YAML, so errors do not use JSON terms.
func TestTypeErrorsDoNotUseJSONTerms(t *testing.T) {
	fields := map[string]string{
		"name": "text", "default_ttl": "a duration such as 90s", "max_ttl": "a duration such as 90s", "username_template": "text",
		"tags": "an object", "max_leases": "a whole number", "max_leases_per_identity": "a whole number", "max_requests_per_minute": "a whole number", "allow_fixed_username": "true or false",
		"hard_expiry": "lease, max_ttl or none", "require_sealed": "true or false", "require_confirm": "true or false", "aws": "an object",
		"aws.credential_type": "text", "aws.region": "text", "aws.path": "text", "aws.permissions_boundary": "text", "aws.groups": "a list of texts",
		"aws.managed_policies": "a list of texts", "aws.inline_policy": "a policy document", "aws.role_arn": "text", "aws.external_id": "text",
		"aws.deny_on_revoke": "true or false", "aws.auth": "an object", "aws.auth.method": "text", "aws.auth.role_arn": "text",
		"aws.auth.assume_role_arn": "text", "aws.auth.external_id": "text", "aws.auth.access_key_id": "text", "aws.auth.secret_access_key": "text",
	}
	values := map[string]string{`7`: "a number", `true`: "true", `"x"`: "text", `{"x":[]}`: "an object", `[7]`: "a list"}
	for field, wanted := range fields {
		refused := 0
		for value, is := range values {
			body, depth := value, strings.Split(field, ".")
			for i := len(depth) - 1; i >= 0; i-- {
				body = `{"` + depth[i] + `":` + body + `}`
			}
			_, err := messages.DecodeDynamicSecret([]byte(body))
			if err == nil || !strings.Contains(err.Error(), field+" has the wrong type: it is "+is+", and must be "+wanted) {
				continue
			}
			refused++
			if strings.Contains(err.Error(), "JSON") || strings.Contains(err.Error(), "string") {
				t.Errorf("%v", err)
			}
		}
		if refused < 2 {
			t.Errorf("%s: %d values are of the wrong type, as the error has it", field, refused)
		}
	}
}
