package definition

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/username"
)

// FuzzCheckInline checks that an accepted policy is within IAM's limit, and still accepted
// with the Deny of the expiry.
func FuzzCheckInline(f *testing.F) {
	f.Add([]byte(awstest.Allow(`"s3:*"`)))
	f.Add([]byte(denyOne))
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a:b"],"NotResource":["arn:aws:s3:::${aws:username}"],"Condition":{"ForAllValues:StringLikeIfExists":{"a:b":["c",1,true]}}}]}`))
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}],"\u0053tatement":[]}`))
	f.Add([]byte(`{"Version":"2012-10-17","Statement":{}}`))
	f.Add([]byte(strings.Repeat(`{"Statement":[`, 400)))
	f.Fuzz(func(t *testing.T, document []byte) {
		s := messages.DynamicSecret{Name: "ci", AWS: messages.AWS{InlinePolicy: document}}
		if err := checkInline(s, "aws"); err != nil {
			m := messages.AsError(err)
			if m.Code != messages.CodeInvalidSecret || !strings.HasPrefix(m.Message, inlineField) || len(m.Message) > 2000 {
				t.Errorf("%v", err)
			}
			return
		}
		if len(document) == 0 {
			return
		}
		policy, err := Compose(json.RawMessage(document), time.Now())
		if err != nil || !json.Valid([]byte(policy)) || quotaSize(policy) > maxPolicy {
			t.Errorf("%s becomes %s, %v", document, policy, err)
		}
		if err := checkDocument([]byte(policy), "aws"); err != nil {
			t.Errorf("%s is accepted, and not with the Deny: %v", document, err)
		}
		Notes(s)
	})
}

// FuzzCheckUsername checks that an accepted template makes names that IAM accepts, for any
// identity. Only a pattern may make a name that is too long.
func FuzzCheckUsername(f *testing.F) {
	for _, seed := range []string{
		messages.DefaultUsernameTemplate, `{{random 8}}`, `{{replace identity.name "(.)-" "${1}+"}}{{random 16}}`, `{{identity.name | truncate "x" }}`,
		`{{truncate (replace (uppercase identity.name) "[^A-Z]" "") 16}}@{{randomUsername}}`, "{{lowercase `\u00c4`}}{{random 20}}",
		`{{replace (random 9) "." "x"}}`, `{{replace "a/b" "/" "-"}}{{random 12}}`,
	} {
		f.Add(seed, "alice", uint64(1))
	}
	f.Fuzz(func(t *testing.T, template, identity string, seed uint64) {
		s := messages.DynamicSecret{Name: "ci", UsernameTemplate: template}
		if messages.CheckToken("identity", identity) != nil {
			return
		}
		begin := time.Now()
		err := checkUsername(s)
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%q takes %s", template, took)
		}
		if err != nil {
			if m := messages.AsError(err); m.Code != messages.CodeInvalidSecret || !strings.HasPrefix(m.Message, usernameField+": ") {
				t.Errorf("%v", err)
			}
			return
		}
		if template == "" {
			return
		}
		parsed, err := username.Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		name, err := parsed.Render(username.Data{
			Identity: identity, Secret: "ci", Type: "iam_user", Now: time.Now(), Rand: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7}),
		})
		replaces := strings.Count(template, "replace")
		if replaces == 0 && (err != nil || name == "" || len(name) > maxUserName) {
			t.Errorf("%q makes %q for %s, %v", template, name, identity, err)
		}
		if replaces <= 1 && !userNameCharacters.MatchString(name) {
			t.Errorf("%q makes %q for %s", template, name, identity)
		}
	})
}

// FuzzCheck checks that an error names the field and contains no secret key, and that an
// accepted definition is within IAM's limits.
func FuzzCheck(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	whole, err := json.Marshal(awstest.Definition())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, s := range []string{
		`{"name":"ci"}`, `{"name":"ci","aws":{"region":"cn-north-1","managed_policies":["arn:aws-cn:iam::aws:policy/ReadOnlyAccess"]}}`,
		`{"name":"ci","aws":{"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/a/b","external_id":"xx","auth":{"method":"irsa","assume_role_arn":"arn:aws:iam::123456789012:role/c"}}}`,
		`{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"AKIAIOSFODNN7EXAMPLE","secret_access_key":"` + key + `"}}}`,
		`{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"` + key + `","secret_access_key":"` + key + ` "}}}`,
		`{"name":"ci","aws":{"path":"/a//b/","groups":["a","A"],"permissions_boundary":"arn:aws:iam::aws:policy/*"},"tags":{"aws:x":"y","\u0000":"\u202e"}}`,
		`{"name":"ci","username_template":"{{replace identity.name \"a\" \"*\"}}","aws":{"inline_policy":{"Version":"2012-10-17","Statement":[]}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := messages.DecodeDynamicSecret(data)
		if err != nil {
			return
		}
		if err := Check(s); err != nil {
			m := messages.AsError(err)
			field, _, told := strings.Cut(m.Message, ": ")
			if m.Code != messages.CodeInvalidSecret || !told || field == "" || len(m.Message) > 2500 || strings.ContainsAny(m.Message, "\r\n\x1b") {
				t.Errorf("%q", m.Message)
			}
			if a := s.AWS.Auth; len(a.SecretAccessKey.Reveal()) > 8 && strings.Count(string(data), a.SecretAccessKey.Reveal()) == 1 && strings.Contains(m.Message, a.SecretAccessKey.Reveal()) {
				t.Errorf("the error contains the key: %v", err)
			}
			return
		}
		a := s.AWS
		if len(a.Groups) > maxGroups || len(a.ManagedPolicies) > maxManaged || len(s.Tags) > maxTags-ownTags || len(a.Path) > maxPath {
			t.Errorf("above a limit: %s", data)
		}
		for _, arn := range append([]string{a.PermissionsBoundary, a.RoleARN, a.Auth.RoleARN, a.Auth.AssumeRoleARN}, a.ManagedPolicies...) {
			if arn != "" && (!strings.HasPrefix(arn, "arn:"+PartitionOf(a.Region)+":iam::") || strings.ContainsAny(arn, "*? \r\n") && !strings.Contains(arn, "/") || len(arn) > maxARN) {
				t.Errorf("accepted: %q", arn)
			}
		}
		for _, text := range append([]string{a.Region, a.Path, a.Auth.ExternalID, a.ExternalID, a.Auth.AccessKeyID, a.Auth.SecretAccessKey.Reveal()}, a.Groups...) {
			if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("accepted: %q", text)
			}
		}
		Notes(s)
	})
}

// FuzzTrust checks that a trust policy trusts the principal of the options, and contains
// neither wildcards nor variables.
func FuzzTrust(f *testing.F) {
	for _, kind := range []TrustKind{TrustAssumeRole, TrustIRSA, TrustPodIdentity, TrustLeasedRole, "x"} {
		f.Add(string(kind), "arn:aws:iam::123456789012:user/lessor", "my-project", "123456789012", "eu-central-1", clusterIssuer, "lessor/lessor")
		f.Add(string(kind), "arn:aws:iam::123456789012:root", "", "123456789012", "cn-north-1", "https://a/b/", "a/*")
		f.Add(string(kind), "arn:aws:iam::123456789012:role/${aws:x}", "x", "*", "", "*", "")
		f.Add(string(kind), "arn:aws:sts::123456789012:assumed-role/x/y", "xx", "1", "x", `"`, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, kind, principal, externalID, account, region, issuer, serviceAccount string) {
		policy, err := Trust(TrustKind(kind), TrustOptions{
			Principal: principal, ExternalID: externalID, Account: account, Region: region, OIDCProvider: issuer, ServiceAccount: serviceAccount,
		})
		if err != nil {
			if m := messages.AsError(err); len(m.Message) > 1500 || strings.ContainsAny(m.Message, "\r\n\x1b") {
				t.Errorf("%q", m.Message)
			}
			return
		}
		if strings.ContainsAny(string(policy), "*?$") || !json.Valid(policy) {
			t.Errorf("there is a wildcard or a variable in\n%s", policy)
		}
		var d struct {
			Statement []struct {
				Principal map[string]string
				Condition map[string]map[string]any
			}
		}
		if err := json.Unmarshal(policy, &d); err != nil || len(d.Statement) == 0 {
			t.Fatalf("%v:\n%s", err, policy)
		}
		first := d.Statement[0]
		switch TrustKind(kind) {
		case TrustAssumeRole, TrustLeasedRole:
			if first.Principal["AWS"] != principal || externalID != "" && first.Condition["StringEquals"]["sts:ExternalId"] != externalID {
				t.Errorf("it trusts\n%s", policy)
			}
		case TrustIRSA:
			if len(first.Condition["StringEquals"]) != 2 || !strings.Contains(first.Principal["Federated"], ":iam::"+account+":oidc-provider/") {
				t.Errorf("it trusts\n%s", policy)
			}
		case TrustPodIdentity:
			if serviceAccount != "" && len(first.Condition["StringEquals"]) != 2 {
				t.Errorf("it trusts\n%s", policy)
			}
		}
	})
}
