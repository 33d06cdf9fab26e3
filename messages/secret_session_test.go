package messages_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// sessionBody returns a definition of sessions with the given fields and authentication.
func sessionBody(fields, auth string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"name":"ci"` + fields + `,"aws":{"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/leased","auth":{` + auth + `}}}`
}

// authMethods are the methods, and whether the broker is a role session itself with
// them.
var authMethods = map[messages.AuthMethod]bool{
	messages.AuthDefault: false, messages.AuthAccessKey: false, "": false,
	messages.AuthAssumeRole: true, messages.AuthIRSA: true, messages.AuthPodIdentity: true,
}

func TestDecodeSessionSetsDefaults(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/leased"
	for method, chained := range authMethods {
		auth, most := "", 12*hour
		if method != "" {
			auth = `"method":"` + string(method) + `"`
		}
		if chained {
			most = hour
		}
		got, err := messages.DecodeDynamicSecret([]byte(sessionBody("", auth)))
		want := messages.DynamicSecret{
			Name: "ci", DefaultTTL: hour, MaxTTL: most, UsernameTemplate: messages.DefaultUsernameTemplate,
			AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole, Region: "us-east-1", RoleARN: role, Auth: messages.Auth{Method: method}},
		}
		if method == "" {
			want.AWS.Auth.Method = messages.AuthDefault
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v; want %+v", method, got, err, want)
		}
	}
}

func TestSessionTTLBounds(t *testing.T) {
	plain, chained := []messages.AuthMethod{messages.AuthDefault, messages.AuthAccessKey}, []messages.AuthMethod{messages.AuthAssumeRole, messages.AuthIRSA, messages.AuthPodIdentity}
	for _, c := range []struct {
		given              string
		methods            []messages.AuthMethod
		defaultTTL, maxTTL messages.Duration
		words              []string // of the error
	}{
		{`"default_ttl":"14m59s"`, slices.Concat(plain, chained), 0, 0, []string{"default_ttl", "14m59s", "15m"}},
		{`"default_ttl":"15m"`, plain, 15 * minute, 12 * hour, nil},
		{`"default_ttl":"15m"`, chained, 15 * minute, hour, nil},
		{`"default_ttl":"15m1s"`, plain, 15*minute + second, 12 * hour, nil},
		{`"max_ttl":"14m59s"`, slices.Concat(plain, chained), 0, 0, []string{"14m59s", "15m"}},
		{`"max_ttl":"15m"`, slices.Concat(plain, chained), 15 * minute, 15 * minute, nil},
		{`"max_ttl":"59m59s"`, slices.Concat(plain, chained), hour - second, hour - second, nil},
		{`"max_ttl":"1h"`, slices.Concat(plain, chained), hour, hour, nil},
		{`"max_ttl":"1h1s"`, plain, hour, hour + second, nil},
		{`"max_ttl":"1h1s"`, chained, 0, 0, []string{"1h1s", "1h", "aws.auth.method"}},
		{`"max_ttl":"11h59m59s"`, plain, hour, 12*hour - second, nil},
		{`"max_ttl":"12h"`, plain, hour, 12 * hour, nil},
		{`"max_ttl":"12h"`, chained, 0, 0, []string{"12h", "1h", "aws.auth.method"}},
		{`"max_ttl":"12h1s"`, slices.Concat(plain, chained), 0, 0, []string{"12h1s", "12h"}},
		{`"default_ttl":"1h"`, chained, hour, hour, nil},
		{`"default_ttl":"1h1s"`, chained, 0, 0, []string{"1h1s", "1h"}},
		{`"default_ttl":"12h"`, plain, 12 * hour, 12 * hour, nil},
		{`"default_ttl":"12h1s"`, plain, 0, 0, []string{"12h1s", "12h"}},
		{`"default_ttl":"1h","max_ttl":"59m59s"`, slices.Concat(plain, chained), 0, 0, []string{"default_ttl", "max_ttl"}},
	} {
		for _, method := range c.methods {
			t.Run(c.given+" "+string(method), func(t *testing.T) {
				s, err := messages.DecodeDynamicSecret([]byte(sessionBody(c.given, `"method":"`+string(method)+`"`)))
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
}

// The bounds are those of STS and do not apply to IAM users.
func TestSessionTTLBoundsDoNotApplyToUsers(t *testing.T) {
	for method := range authMethods {
		if method == "" {
			continue
		}
		s, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","default_ttl":"1s","max_ttl":"30d","aws":{"auth":{"method":"` + string(method) + `"}}}`))
		if err != nil || s.DefaultTTL != second || s.MaxTTL != 30*24*hour {
			t.Errorf("%s: got %s and %s, %v", method, s.DefaultTTL, s.MaxTTL, err)
		}
	}
}

func TestResolveTTLOfASession(t *testing.T) {
	session := func(defaultTTL, maxTTL messages.Duration) messages.DynamicSecret {
		return messages.DynamicSecret{DefaultTTL: defaultTTL, MaxTTL: maxTTL, AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole}}
	}
	s := session(hour, 12*hour)
	for _, c := range []struct {
		name                 string
		secret               messages.DynamicSecret
		requested, min, want messages.Duration
		code                 messages.Code
		words                []string
	}{
		{"the default", s, 0, minute, hour, "", nil},
		{"below what AWS gives", s, 15*minute - second, minute, 0, messages.CodeTTLBelowMin, []string{"14m59s", "15m"}},
		{"the least that AWS gives", s, 15 * minute, minute, 15 * minute, "", nil},
		{"a second more", s, 15*minute + second, minute, 15*minute + second, "", nil},
		{"without a minimum of the broker's", s, 15*minute - second, 0, 0, messages.CodeTTLBelowMin, []string{"15m"}},
		{"below the broker's higher minimum", s, 20*minute - second, 20 * minute, 0, messages.CodeTTLBelowMin, []string{"19m59s", "20m"}},
		{"the broker's higher minimum", s, 20 * minute, 20 * minute, 20 * minute, "", nil},
		{"the default, raised to the broker's minimum", s, 0, 2 * hour, 2 * hour, "", nil},
		{"the shortest default", session(15*minute, hour), 0, minute, 15 * minute, "", nil},
		{"a second less than the maximum", s, 12*hour - second, minute, 12*hour - second, "", nil},
		{"the maximum", s, 12 * hour, minute, 12 * hour, "", nil},
		{"above it", s, 12*hour + second, minute, 0, messages.CodeTTLExceedsMax, []string{"12h1s", "12h"}},
		{"a user's may be less", messages.DynamicSecret{DefaultTTL: hour, MaxTTL: hour, AWS: messages.AWS{CredentialType: messages.CredentialIAMUser}}, minute, minute, minute, "", nil},
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

func TestDecodeSession(t *testing.T) {
	got, err := messages.DecodeDynamicSecret([]byte(`{
		"name": "ci", "default_ttl": "20m", "max_ttl": "50m", "allow_fixed_username": true,
		"aws": {
			"credential_type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/leased", "external_id": "lessor:7", "deny_on_revoke": true,
			"managed_policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"], "inline_policy": {"Version": "2012-10-17"},
			"auth": {
				"method": "irsa", "role_arn": "arn:aws:iam::123456789012:role/pod", "assume_role_arn": "arn:aws:iam::123456789012:role/second",
				"external_id": "mine", "access_key_id": "AKIAX", "secret_access_key": "` + theSecret + `"
			}
		}}`))
	want := messages.DynamicSecret{
		Name: "ci", DefaultTTL: 20 * minute, MaxTTL: 50 * minute, UsernameTemplate: messages.DefaultUsernameTemplate, AllowFixedUsername: true,
		AWS: messages.AWS{
			CredentialType: messages.CredentialAssumeRole, Region: "us-east-1",
			RoleARN: "arn:aws:iam::123456789012:role/leased", ExternalID: "lessor:7", DenyOnRevoke: true,
			ManagedPolicies: messages.List{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, InlinePolicy: messages.Policy(`{"Version":"2012-10-17"}`),
			Auth: messages.Auth{
				Method: messages.AuthIRSA, RoleARN: "arn:aws:iam::123456789012:role/pod", AssumeRoleARN: "arn:aws:iam::123456789012:role/second",
				ExternalID: "mine", AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(theSecret),
			},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestNullSessionFieldEqualsAbsent(t *testing.T) {
	for _, format := range []string{`{"name":"ci","%s":null}`, `{"name":"ci","aws":{"%s":null}}`, `{"name":"ci","aws":{"auth":{"%s":null}}}`} {
		fields := map[string][]string{
			`{"name":"ci","%s":null}`:                  {"allow_fixed_username"},
			`{"name":"ci","aws":{"%s":null}}`:          {"role_arn", "external_id", "deny_on_revoke"},
			`{"name":"ci","aws":{"auth":{"%s":null}}}`: {"method", "role_arn", "assume_role_arn", "external_id", "access_key_id", "secret_access_key"},
		}[format]
		want := must(messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`)))
		for _, field := range fields {
			body := fmt.Sprintf(format, field)
			if got, err := messages.DecodeDynamicSecret([]byte(body)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, %v", body, got, err)
			}
		}
	}
}

func TestSessionErrorsNameTheField(t *testing.T) {
	for body, words := range map[string][]string{
		`{"name":"ci","allow_fixed_username":"yes"}`:                                 {"allow_fixed_username"},
		`{"name":"ci","aws":{"deny_on_revoke":1}}`:                                   {"deny_on_revoke"},
		`{"name":"ci","aws":{"role_arn":["a"]}}`:                                     {"role_arn"},
		`{"name":"ci","aws":{"external_id":7}}`:                                      {"external_id"},
		`{"name":"ci","aws":{"credential_type":{}}}`:                                 {"credential_type"},
		`{"name":"ci","aws":{"auth":{"role_arn":7}}}`:                                {"auth", "role_arn"},
		`{"name":"ci","aws":{"auth":{"assume_role_arn":7}}}`:                         {"auth", "assume_role_arn"},
		`{"name":"ci","aws":{"auth":{"external_id":[]}}}`:                            {"auth", "external_id"},
		`{"name":"ci","aws":{"auth":{"access_key_id":{}}}}`:                          {"auth", "access_key_id"},
		`{"name":"ci","aws":{"auth":{"secret_access_key":7}}}`:                       {"auth", "secret_access_key"},
		`{"name":"ci","aws":{"auth":{"role_arn":"a","role_arn":"a"}}}`:               {"auth", "role_arn"},
		`{"name":"ci","aws":{"auth":{"external_id":"a","External_ID":"b"}}}`:         {"auth", "External_ID"},
		`{"name":"ci","aws":{"role_arn":"a","deny_on_revoke":true,"role_arn":"b"}}}`: {"role_arn"},
	} {
		s, err := messages.DecodeDynamicSecret([]byte(body))
		wantCode(t, err, messages.CodeInvalidSecret, words...)
		wantSafe(t, err)
		if !reflect.DeepEqual(s, messages.DynamicSecret{}) {
			t.Errorf("%s: got an error and a definition: %+v", body, s)
		}
	}
}
