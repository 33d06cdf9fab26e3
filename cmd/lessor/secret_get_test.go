//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/messages"
)

// TestSecretGetShowsTheDefinitionWithoutKey shows a secret with a rotated key, one of a file,
// and one that does not exist.
func TestSecretGetShowsTheDefinitionWithoutKey(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	id, secret := o.Principal("lessor", "")
	o.OK(t, "secret", "put", definitionFile(t, withKey(id, secret)))
	rotated := o.Reply(t, "secret", "rotate-key", "ci").Secret.Connection
	o.expect(cli.ExitOK, strings.NewReplacer("ID-BEFORE", id, "ID-NOW", rotated.AccessKeyID, "CONNECTION", rotated.Name).Replace(`# revision: 1
# state: active
# source: operator
# connection: CONNECTION
# account: 123456789012
# arn: arn:aws:iam::123456789012:user/lessor
# access key id in use: ID-NOW
# rotated: just now
# the secret access key is set and never shown
name: ci
default_ttl: 1h
max_ttl: 1d
username_template: lessor-{{truncate identity.name 24}}-{{random 16}}
tags:
  team: "12"
hard_expiry: lease
aws:
  credential_type: iam_user
  region: eu-central-1
  path: /lessor/ci/
  groups:
  - deployers
  inline_policy:
    Statement:
    - Action: s3:*
      Effect: Allow
      Resource: '*'
    Version: "2012-10-17"
  auth:
    method: access_key
    access_key_id: ID-BEFORE
`), "", "secret", "get", "ci")
	o.expect(cli.ExitOK, `{"kind":"secret","secret":{"name":"ci","revision":1,"state":"active","definition":{"name":"ci",`, "", "secret", "get", "ci", "--json")

	o.putFile("name: filed\nhard_expiry: none\n")
	o.expect(cli.ExitOK, "# source: file, and is changed there\n", "", "secret", "get", "filed")
	o.expect(cli.ExitOK, "# note: hard_expiry: ", "", "secret", "get", "filed")
	o.expect(cli.ExitFailed, "", "secret_not_found: there is no dynamic secret \"gone\"; lessor secret list shows the dynamic secrets\n", "secret", "get", "gone")
}

// TestDetailsAreNotPartOfTheShownDefinition shows a secret with a secret key and a note that
// has a line break. Neither may become part of the YAML.
func TestDetailsAreNotPartOfTheShownDefinition(t *testing.T) {
	d, err := secretfile.Parse([]byte(ownKey))
	if err != nil {
		t.Fatal(err)
	}
	var out clitest.Buffer
	env := &cli.Environment{Stdout: &out, Now: func() time.Time { return clitest.Now }}
	if err := (&operator{}).printSecret(env, messages.SecretInfo{Name: "ci", Definition: d, Notes: []string{"one\nname: two"}}); err != nil {
		t.Fatal(err)
	}
	again, err := secretfile.Parse([]byte(out.String()))
	if err != nil || again.Name != "ci" || !again.AWS.Auth.SecretAccessKey.IsZero() || !strings.Contains(out.String(), "# note: one; name: two\n") {
		t.Errorf("%v:\n%s", err, &out)
	}
}

// FuzzShownSecret checks that the output of get can be put again and defines the same
// secret.
func FuzzShownSecret(f *testing.F) {
	f.Add([]byte(sandbox.DemoYAML()))
	f.Add([]byte(ownKey))
	f.Add([]byte("name: x\ntags: {'a: b': \"- c\\n  \\n d\", '': 'null', \"<&>\": '#', 'on': \"\\u2028\\t\"}\naws: {inline_policy: {a: {}, b: [], c: {d: [{e: 1.50, f: 100000000000000000000}]}, 'g:': null}}\n"))
	f.Add([]byte("name: x\ntags: {a: \"  leading\\n\\n   \\nblanks  \\n\\n\", b: \"\\n\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := secretfile.Parse(data)
		if err != nil {
			return
		}
		d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
		var out clitest.Buffer
		env := &cli.Environment{Stdout: &out, Now: func() time.Time { return clitest.Now }}
		if err := (&operator{}).printSecret(env, messages.SecretInfo{Name: d.Name, Definition: d}); err != nil {
			t.Fatal(err)
		}
		again, err := secretfile.Parse([]byte(out.String()))
		if err != nil {
			t.Fatalf("%v:\n%s", err, &out)
		}
		if was, is := inJSON(t, d), inJSON(t, again); was != is {
			t.Fatalf("%s became\n%s through\n%s", was, is, &out)
		}
	})
}

// inJSON returns a value as JSON.
func inJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
