package messages_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

const hour = 60 * minute

func TestDecodeDynamicSecretFillsInTheDefaults(t *testing.T) {
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
		"max_leases": 500, "max_leases_per_identity": 5, "hard_expiry": "max_ttl", "require_sealed": true, "require_confirm": true,
		"aws": {
			"credential_type": "iam_user", "region": "eu-central-1", "path": "/lessor/ci/",
			"permissions_boundary": "arn:aws:iam::123456789012:policy/boundary",
			"groups": ["deployers", " readers "], "managed_policies": " arn:aws:iam::aws:policy/ReadOnlyAccess , arn:aws:iam::aws:policy/X",
			"inline_policy": {"Version": "2012-10-17", "Statement": [ ]},
			"auth": {"method": "default"}
		}}`))
	want := messages.DynamicSecret{
		Name: "ci", DefaultTTL: 30 * minute, MaxTTL: 12 * hour, UsernameTemplate: "ci-{{random 12}}", Tags: map[string]string{"team": "platform"},
		MaxLeases: 500, MaxLeasesPerIdentity: 5, HardExpiry: messages.HardExpiryMaxTTL, RequireSealed: true, RequireConfirm: true,
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
	// It is stored as it was decoded.
	again, err := messages.DecodeDynamicSecret(mustJSON(t, got))
	if err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("came back as %+v, %v", again, err)
	}
}

func TestDynamicSecretTimes(t *testing.T) {
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
		{`"default_ttl":"2h","max_ttl":"1h59m59s"`, 0, 0, []string{"default_ttl", "2h", "max_ttl", "1h59m59s"}},
		{`"max_ttl":"3651d"`, 0, 0, []string{"max_ttl", "3650d"}},
		{`"default_ttl":"-1s"`, 0, 0, []string{"default_ttl"}},
		{`"default_ttl":3600`, 0, 0, []string{"default_ttl"}},
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
		{`{"name":"ci"} {}`, []string{"behind"}},
		{`{"name":"CI"}`, []string{"name", "a-z"}},
		{`{"name":"a.b"}`, []string{"name", "a-z"}},
		{`{"name":"` + strings.Repeat("a", 65) + `"}`, []string{"name", "65", "64"}},
		{`{"Name":"ci"}`, []string{`"Name"`}},
		{`{"name":"ci","name":"cd"}`, []string{"name", "twice"}},
		{`{"name":1}`, []string{"name", "number"}},
		{`{"name":"ci","ttl":"1h"}`, []string{`"ttl"`, "default_ttl"}},
		{`{"name":"ci","tags":["a"]}`, []string{"tags", "array"}},
		{`{"name":"ci","tags":{"a":1}}`, []string{"tags", "number"}},
		{`{"name":"ci","max_leases":-1}`, []string{"max_leases", "-1"}},
		{`{"name":"ci","max_leases":1.5}`, []string{"max_leases", "number"}},
		{`{"name":"ci","max_leases":"5"}`, []string{"max_leases", "string"}},
		{`{"name":"ci","max_leases_per_identity":-1}`, []string{"max_leases_per_identity"}},
		{`{"name":"ci","hard_expiry":"never"}`, []string{"hard_expiry", "max_ttl"}},
		{`{"name":"ci","hard_expiry":true}`, []string{"hard_expiry", "max_ttl"}},
		{`{"name":"ci","hard_expiry":""}`, []string{"hard_expiry"}},
		{`{"name":"ci","require_sealed":"yes"}`, []string{"require_sealed", "string"}},
		{`{"name":"ci","require_confirm":1}`, []string{"require_confirm", "number"}},
		{`{"name":"ci","aws":[]}`, []string{"aws", "object"}},
		{aws(`"Region":"us-east-1"`), []string{"aws", `"Region"`}},
		{aws(`"policy":{}`), []string{"aws", `"policy"`, "inline_policy"}},
		{aws(`"region":"a","region":"b"`), []string{"aws", "region", "twice"}},
		{aws(`"region":1`), []string{"aws", "region", "number"}},
		{aws(`"path":{}`), []string{"aws", "path", "object"}},
		{aws(`"groups":[1]`), []string{"aws", "groups"}},
		{aws(`"groups":{}`), []string{"aws", "groups", "commas"}},
		{aws(`"groups":"a,,b"`), []string{"aws", "groups", "empty"}},
		{aws(`"groups":["a",""]`), []string{"aws", "groups", "empty"}},
		{aws(`"managed_policies":7`), []string{"aws", "managed_policies", "commas"}},
		{aws(`"inline_policy":[]`), []string{"aws", "inline_policy", "object"}},
		{aws(`"inline_policy":7`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"{"`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"null"`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"{}{}"`), []string{"aws", "inline_policy"}},
		{aws(`"inline_policy":"\"{}\""`), []string{"aws", "inline_policy"}},
		{aws(`"auth":"default"`), []string{"aws", "auth", "object"}},
		{aws(`"auth":{"Method":"default"}`), []string{"aws", "auth", `"Method"`}},
		{aws(`"auth":{"method":1}`), []string{"aws", "auth", "method", "number"}},
		{aws(`"auth":{"method":"default","method":"default"}`), []string{"aws", "auth", "method", "twice"}},
	} {
		t.Run(c.body, func(t *testing.T) {
			s, err := messages.DecodeDynamicSecret([]byte(c.body))
			wantCode(t, err, messages.CodeInvalidSecret, c.words...)
			wantSafe(t, err)
			if !reflect.DeepEqual(s, messages.DynamicSecret{}) {
				t.Errorf("an error, and a definition: %+v", s)
			}
		})
	}
}

func TestNullIsTheSameAsLeavingAFieldOut(t *testing.T) {
	want := must(messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`)))
	for _, field := range []string{
		"default_ttl", "max_ttl", "username_template", "tags", "max_leases", "max_leases_per_identity", "hard_expiry",
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

func TestDynamicSecretMayHave64Kilobytes(t *testing.T) {
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

func TestHardExpiry(t *testing.T) {
	for data, want := range map[string]messages.HardExpiry{
		`"lease"`: "lease", `"max_ttl"`: "max_ttl", `"none"`: "none", `"off"`: "none", `false`: "none", `null`: "lease",
	} {
		s, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","hard_expiry":` + data + `}`))
		if err != nil || s.HardExpiry != want {
			t.Errorf("%s: got %q, %v; want %q", data, s.HardExpiry, err, want)
		}
	}
}

func TestList(t *testing.T) {
	for data, want := range map[string]messages.List{
		`[]`: nil, `""`: nil, `" "`: nil, `null`: nil, `["a"]`: {"a"}, `"a"`: {"a"}, `"a,b"`: {"a", "b"}, `" a ,\tb "`: {"a", "b"},
		`["a,b"]`: {"a,b"}, ` [" a "]`: {"a"},
	} {
		got := messages.List{"before"}
		if err := json.Unmarshal([]byte(data), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v; want %q", data, got, err, want)
		}
	}
	for _, data := range []string{`","`, `"a,"`, `",a"`, `[""]`, `[" "]`, `1`, `{}`, `[1]`, `[["a"]]`, `true`} {
		var got messages.List
		if err := json.Unmarshal([]byte(data), &got); err == nil {
			t.Errorf("%s: got %q", data, got)
		}
	}
}

func TestPolicy(t *testing.T) {
	const compact = `{"a":"b c"}`
	for data, want := range map[string]string{
		compact: compact, ` { "a" : "b c" } `: compact, `"{\"a\":\n\"b c\"}"`: compact, `""`: "", `"  "`: "", `{}`: "{}", `"{}"`: "{}",
	} {
		var got messages.Policy
		if err := json.Unmarshal([]byte(data), &got); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", data, got, err, want)
		}
		back := string(mustJSON(t, got))
		if want == "" {
			want = "null"
		}
		if back != want {
			t.Errorf("%s: written as %s, want %s", data, back, want)
		}
	}
}

// The document must not lie in a buffer that the decoder uses again.
func TestPolicyIsItsOwnCopy(t *testing.T) {
	data := []byte(`{"a":"b"}`)
	var p messages.Policy
	if err := p.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	copy(data, "xxxxxxxxx")
	if string(p) != `{"a":"b"}` {
		t.Errorf("got %s", p)
	}
}

func TestResolveTTL(t *testing.T) {
	s := messages.DynamicSecret{DefaultTTL: hour, MaxTTL: 24 * hour}
	short := messages.DynamicSecret{DefaultTTL: 30 * minute / 60, MaxTTL: 45 * minute / 60}
	for _, c := range []struct {
		name       string
		secret     messages.DynamicSecret
		asked, min messages.Duration
		want       messages.Duration
		code       messages.Code
		words      []string
	}{
		{"the default", s, 0, minute, hour, "", nil},
		{"what was asked for", s, 2 * hour, minute, 2 * hour, "", nil},
		{"the minimum", s, minute, minute, minute, "", nil},
		{"below it", s, minute - messages.Duration(time.Second), minute, 0, messages.CodeTTLBelowMin, []string{"59s", "1m"}},
		{"the maximum", s, 24 * hour, minute, 24 * hour, "", nil},
		{"above it", s, 24*hour + messages.Duration(time.Second), minute, 0, messages.CodeTTLExceedsMax, []string{"1d1s", "1d"}},
		{"a default below the minimum is raised", s, 0, 2 * hour, 2 * hour, "", nil},
		{"but not above the maximum", short, 0, minute, 0, messages.CodeTTLBelowMin, []string{"45s", "1m"}},
		{"no minimum", short, 0, 0, 30 * minute / 60, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.ResolveTTL(c.asked, c.min)
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

func TestDynamicSecretErrorsEchoNoMoreThanAPiece(t *testing.T) {
	long := strings.Repeat("9", 10_000)
	for _, format := range []string{`{%q:1}`, `{"max_leases":%s}`, `{"name":%q}`, `{"aws":{%q:1}}`, `{"aws":{"auth":{%q:1}}}`, `{"hard_expiry":%q}`, `{"aws":{"groups":%s}}`} {
		_, err := messages.DecodeDynamicSecret(fmt.Appendf(nil, format, long))
		wantCode(t, err, messages.CodeInvalidSecret)
		if strings.Contains(err.Error(), long[:130]) {
			t.Errorf("%s: echoed in %.200s…", format, err)
		}
	}
}
