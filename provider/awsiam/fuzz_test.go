package awsiam

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/username"
)

// FuzzCheckInline: a policy that is taken can be put into effect, within IAM's
// limit, and says the same to everybody who reads it.
func FuzzCheckInline(f *testing.F) {
	f.Add([]byte(allow(`"s3:*"`)))
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
		policy, err := compose(json.RawMessage(document), time.Now())
		if err != nil || !json.Valid([]byte(policy)) || quotaSize(policy) > maxPolicy {
			t.Errorf("%s becomes %s, %v", document, policy, err)
		}
		if err := checkDocument([]byte(policy), "aws"); err != nil {
			t.Errorf("%s is taken, and with the expiry it is not: %v", document, err)
		}
		New(Options{}).Notes(s)
	})
}

// FuzzCheckUsername: what a template that is taken makes for any identity are
// names that IAM takes. Only a pattern can make one that is too long.
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
