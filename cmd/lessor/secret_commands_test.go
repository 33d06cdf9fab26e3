//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/messages"
)

// clearLine is what a terminal is sent before its line is written anew.
const clearLine = "\r\x1b[K"

func TestSecretPut(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	file := written(t, withKey(o.Principal("lessor", "")))
	o.says(cli.ExitOK, `secret    ci
revision  1
account   123456789012
arn       arn:aws:iam::123456789012:user/lessor
checked   `, "", "secret", "put", file, "--revision", "0")
	c := o.Reply(t, "secret", "check", "ci").Check
	o.says(cli.ExitOK, fmt.Sprintf("checked   %d calls at AWS, all allowed\n", len(c.Calls)), "", "secret", "put", file, "--revision", "1")
	o.says(cli.ExitOK, `{"kind":"secret","secret":{"name":"ci","revision":1,`, "", "secret", "put", file, "--json")

	o.Sim.ResetCalls()
	o.Stdin = plain + "hard_expiry: none\n"
	o.says(cli.ExitOK, "secret    ci\nrevision  2\nnote      hard_expiry: ", "", "secret", "put", "-", "--no-check")
	o.says(cli.ExitOK, "revision  2 (nothing has changed)\n", "", "secret", "put", "-", "--no-check")
	for _, c := range o.Sim.Calls() {
		if c.Action != "GetCallerIdentity" && c.Action != "ListUsers" { // the sweep, meanwhile
			t.Errorf("without a check AWS was asked for %s", c.Action)
		}
	}
	// What is known of a definition by itself, the check knows, too.
	if said := o.OK(t, "secret", "put", "-"); strings.Count(said, "note ") != 1 {
		t.Errorf("one note is said more than once:\n%s", said)
	}
}

func TestSecretPutRefused(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	file := written(t, withKey(o.Principal("lessor", allBut(`"iam:AddUserToGroup"`))))
	const missing = "denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers\n"
	o.says(cli.ExitFailed, missing, "lessor: check_failed: ci does not work at AWS, and was not stored; give the broker the rights", "secret", "put", file)
	o.says(cli.ExitFailed, `{"kind":"error","error":{"code":"check_failed",`, "check_failed", "secret", "put", file, "--json")
	o.says(cli.ExitFailed, `"action":"iam:AddUserToGroup","resource":"arn:aws:iam::123456789012:group/deployers"`, "", "secret", "put", file, "--json")
	o.says(cli.ExitFailed, "", "secret_not_found", "secret", "get", "ci")
	if users := o.Sim.Users(); len(users) != 0 {
		t.Errorf("the check has left %s", users[0].Name)
	}

	o.put(plain)
	o.putFile("name: filed\n")
	o.put("name: old\n")
	o.lease("old")
	o.Refuse("DeleteUser")
	o.OK(t, "secret", "delete", "old", "--no-wait")
	for _, refused := range []struct {
		code             messages.Code
		definition, next string
		args             []string
	}{
		{messages.CodeRevisionMismatch, plain, "lessor secret get", []string{"--revision", "7"}},
		{messages.CodeRevisionMismatch, plain, "lessor secret get", []string{"--revision", "0"}},
		{messages.CodeSecretFromFile, "name: filed\n", "--secrets folder", nil},
		{messages.CodeInvalidSecret, "name: short\ndefault_ttl: 30s\n", "mend the definition", nil},
		{messages.CodeSecretDeleting, "name: old\n", "until it is gone", nil},
	} {
		file := written(t, refused.definition)
		for _, check := range []string{"--no-check=false", "--no-check"} {
			args := append([]string{"secret", "put", file, check}, refused.args...)
			o.says(cli.ExitFailed, "", "lessor: "+string(refused.code)+": ", args...)
			o.says(cli.ExitFailed, "", refused.next, args...)
		}
	}
	// What can be told without the broker names the file.
	odd := written(t, "name: odd\naws: {path: nowhere}\n")
	o.says(cli.ExitUsage, "", odd+": aws.path: ", "secret", "put", odd)
	if list := o.Reply(t, "secret", "list").Secrets; len(list) != 3 {
		t.Errorf("there are %+v", list)
	}
}

// TestSecretPutKeepsTheKeyToItself has mistakes all around a secret key.
func TestSecretPutKeepsTheKeyToItself(t *testing.T) {
	x := shell(map[string]string{"NATS_URL": "nats://127.0.0.1:1"})
	for _, text := range []string{
		"name: ci\naws: {auth: {method: access_key, secret_access_key: [geheim]}}\n",
		"name: ci\naws: {auth: {method: access_key, secret_access_key: geheim, secret_access_key: geheim}}\n",
		"name: ci\naws:\n  auth:\n    secret_access_key: geheim: geheim\n",
		"name: ci\naws:\n  auth:\n    secret_access_key: 'geheim\n",
		`{"name":"ci","aws":{"auth":{"secret_access_key":{"geheim":1}}}}`,
		`{"name":"ci","aws":{"auth":{"secret_access_key":"geheim`,
	} {
		x.Stdin = text
		stdout, stderr, code := x.Run(t.Context(), "secret", "put", "-")
		if code != cli.ExitUsage || strings.Count(stderr, "\n") != 1 || strings.Contains(stdout+stderr, "geheim") {
			t.Errorf("%q: exit code %d, %s%s", text, code, stdout, stderr)
		}
	}
}

func TestSecretGet(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	id, secret := o.Principal("lessor", "")
	o.OK(t, "secret", "put", written(t, withKey(id, secret)))
	rotated := o.Reply(t, "secret", "rotate-key", "ci").Secret.Connection
	o.says(cli.ExitOK, strings.NewReplacer("ID-BEFORE", id, "ID-NOW", rotated.AccessKeyID, "CONNECTION", rotated.Name).Replace(`# revision: 1
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
	o.says(cli.ExitOK, `{"kind":"secret","secret":{"name":"ci","revision":1,"state":"active","definition":{"name":"ci",`, "", "secret", "get", "ci", "--json")

	o.putFile("name: filed\nhard_expiry: none\n")
	o.says(cli.ExitOK, "# source: file, and is changed there\n", "", "secret", "get", "filed")
	o.says(cli.ExitOK, "# note: hard_expiry: ", "", "secret", "get", "filed")
	o.says(cli.ExitFailed, "", "secret_not_found: there is no dynamic secret \"gone\"; lessor secret list shows those there are\n", "secret", "get", "gone")
}

// TestShownSecretIsNoMoreThanItself: nothing that is said about a definition, and
// nothing that should not be there, becomes a part of it.
func TestShownSecretIsNoMoreThanItself(t *testing.T) {
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

// FuzzShownSecret: what get prints can be put again, and is the same.
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

func inJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSecretList(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	o.says(cli.ExitOK, "", "lessor secret put", "secret", "list")
	o.says(cli.ExitOK, `{"kind":"secrets","secrets":[]}`+"\n", "", "secret", "list", "--json")
	o.OK(t, "secret", "put", written(t, withKey(o.Principal("lessor", ""))))
	o.putFile(sandbox.DemoYAML())
	o.put("name: old\naws: {region: eu-central-1}\n")
	o.lease("old")
	o.Refuse("DeleteUser")
	o.OK(t, "secret", "delete", "old", "--no-wait")
	o.OK(t, "sweep") // asks who the broker is, for each
	o.says(cli.ExitOK, `NAME  STATE     SOURCE    TYPE      AUTH        ACCOUNT       REVISION
ci    active    operator  iam_user  access_key  123456789012  1
demo  active    file      iam_user  default     123456789012  2
old   deleting  operator  iam_user  default     123456789012  4
`, "", "secret", "list")
}

func TestSecretCheck(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	o.put(withKey(o.Principal("lessor", allBut(`"iam:AddUserToGroup","iam:TagUser"`))))
	o.says(cli.ExitFailed, "denied: iam:TagUser on arn:aws:iam::123456789012:user/lessor/ci/", "1 of 2 calls failed; lessor policy ci prints the rights that it needs\n", "secret", "check", "ci")
	o.put(withKey(o.Principal("other", allBut(`"iam:AddUserToGroup"`))))
	o.says(cli.ExitFailed, "denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers\n", "calls failed; lessor policy ci prints the rights that it needs\n", "secret", "check", "ci")
	o.says(cli.ExitFailed, `{"kind":"check","check":{"name":"ci","ok":false,`, " calls failed", "secret", "check", "ci", "--json")

	o.put(strings.Replace(plain, "deployers", "nobody", 1))
	o.says(cli.ExitFailed, "failed: ", "calls failed; mend the definition, or what it names at AWS\n", "secret", "check", "ci")
	id, secret := o.Principal("leaver", "")
	o.put(withKey(id, secret))
	o.Sim.RevokeKey(id)
	o.says(cli.ExitFailed, "error  ", "lessor: the check of ci failed: ", "secret", "check", "ci")

	o.put(plain)
	o.says(cli.ExitOK, "account  123456789012\narn      arn:aws:iam::123456789012:user/lessor-broker\n", "", "secret", "check", "ci")
	table := o.OK(t, "secret", "check", "ci")
	for _, line := range []string{`CALL +ON +RESULT`, `CreateUser +- +ok`, `AddUserToGroup +deployers +ok`} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(table) {
			t.Errorf("no line is %s:\n%s", line, table)
		}
	}
	o.Interactive = true
	o.says(cli.ExitOK, "CreateUser", clearLine+"trying ci out at AWS …"+clearLine, "secret", "check", "ci")
	if users := o.Sim.Users(); len(users) != 0 {
		t.Errorf("the checks have left %s", users[0].Name)
	}
}

func TestCheckTable(t *testing.T) {
	var out clitest.Buffer
	err := printCheck(&out, messages.SecretCheck{
		Name: "ci", Connection: messages.Connection{Account: "123456789012"}, Error: "what was made\nis left", Notes: []string{"the group deployers\nis empty"},
		Calls: []messages.CheckedCall{
			{Call: "CreateUser", OK: true},
			{Call: "AddUserToGroup", On: "deployers", Error: "AccessDenied", Action: "iam:AddUserToGroup", Resource: "arn:aws:iam::123456789012:group/deployers"},
			{Call: "TagUser", Error: "AccessDenied", Action: "iam:TagUser"},
			{Call: "CreateAccessKey", Error: "AWS is\naway"},
			{Call: "DeleteUser"},
		},
	})
	if want := `CALL             ON         RESULT
CreateUser       -          ok
AddUserToGroup   deployers  denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers
TagUser          -          denied: iam:TagUser
CreateAccessKey  -          failed: AWS is; away
DeleteUser       -          failed: it is not known why
account  123456789012
error    what was made; is left
note     the group deployers; is empty
`; err != nil || out.String() != want {
		t.Errorf("%v:\n%s", err, &out)
	}
	if err := failure(messages.SecretCheck{Name: "ci"}); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("a check that failed for no reason: %v", err)
	}
}

func TestSecretRotateKey(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	id, secret := o.Principal("lessor", "")
	o.put(withKey(id, secret))
	lease := o.lease("ci")
	o.says(cli.ExitOK, "\nrotated        just now\n", "", "secret", "rotate-key", "ci")
	in := o.Reply(t, "secret", "get", "ci").Secret.Connection
	if u, _ := o.Sim.User("lessor"); len(u.AccessKeys) != 1 || u.AccessKeys[0].ID != in.AccessKeyID || in.AccessKeyID == id {
		t.Errorf("AWS has the keys %+v, in use is %+v", u.AccessKeys, in)
	}
	o.says(cli.ExitOK, `{"kind":"secret",`, "", "secret", "rotate-key", "ci", "--json")
	next := o.Reply(t, "secret", "get", "ci").Secret.Connection.AccessKeyID
	o.says(cli.ExitOK, "access key id in use: "+next+"\n", "", "secret", "get", "ci")
	if next == in.AccessKeyID {
		t.Error("the second rotation has changed nothing")
	}
	o.OK(t, "revoke", lease.Lease.Name)

	o.put("name: plain\n")
	o.says(cli.ExitFailed, "", "access_key", "secret", "rotate-key", "plain")
	o.Interactive = true
	o.says(cli.ExitOK, "access key id", clearLine+"waiting for AWS to accept the new key …"+clearLine, "secret", "rotate-key", "ci")
}

func TestSecretDelete(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	leased := func(n int) (leases []messages.Reply) {
		t.Helper()
		o.put(plain)
		for range n {
			leases = append(leases, o.lease("ci"))
		}
		return leases
	}
	leased(3)
	stdout, stderr, code := o.Run(t.Context(), "secret", "delete", "ci")
	if code != cli.ExitOK || stdout != "ci is deleted\n" || stderr != "" || o.Sim.UserCount() != 0 {
		t.Errorf("in a pipe: %d, %q, %q; AWS has %d users", code, stdout, stderr, o.Sim.UserCount())
	}
	o.says(cli.ExitFailed, "", "secret_not_found", "secret", "delete", "ci")

	leases := leased(1)
	o.Refuse("DeleteUser")
	o.says(cli.ExitOK, "ci is being deleted, 1 lease left\n", "", "secret", "delete", "ci", "--no-wait")
	o.says(cli.ExitOK, `{"kind":"deletion","deletion":{"name":"ci","done":false,"leases":1`, "", "secret", "delete", "ci", "--no-wait", "--json")
	o.says(cli.ExitOK, "ci is deleted; 1 lease left", "", "secret", "delete", "ci", "--force")
	o.says(cli.ExitFailed, "", "secret_not_found", "secret", "get", "ci")
	o.relent(leases...)
	if n := o.Sim.UserCount(); n != 0 {
		t.Errorf("what is known of a lease does not do without its definition: AWS has %d users", n)
	}

	// A person is asked, and sees how far it is.
	leased(2)
	o.Interactive = true
	for _, answer := range []string{"", "\n", "n\n", "nonsense\n"} {
		o.Stdin = answer
		o.says(cli.ExitFailed, "", "nothing was deleted\n", "secret", "delete", "ci")
	}
	if s := o.Reply(t, "secret", "get", "ci").Secret; s.State != messages.SecretActive || o.Sim.UserCount() != 2 {
		t.Error("it was deleted without a yes")
	}
	o.Stdin = "Y\n"
	o.says(cli.ExitOK, "ci is deleted\n", "[y/N] "+clearLine+"ci: 2 leases left"+clearLine, "secret", "delete", "ci")
	leased(0)
	o.Stdin = ""
	o.says(cli.ExitOK, "ci is deleted\n", "", "secret", "delete", "ci", "--yes")
}

// TestSecretDeleteInterrupted: what AWS holds up is said, what is begun goes on
// when nobody waits any more, and that is said, too.
func TestSecretDeleteInterrupted(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	o.put(plain)
	lease := o.lease("ci")
	o.Refuse("DeleteUser")
	// deletes runs the command at a terminal until these words are shown, and does
	// something then.
	deletes := func(words string, then func(cancel func())) (stdout, stderr string, code int) {
		ctx, cancel := context.WithTimeout(t.Context(), clitest.Patience)
		defer cancel()
		var out clitest.Buffer
		seen := &attentive{words: words, then: func() { then(cancel) }}
		env := &cli.Environment{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: seen, Now: time.Now,
			Getenv: func(name string) string { return o.Variables[name] }, Terminal: func(any) bool { return true },
		}
		code = run(ctx, env, []string{"secret", "delete", "ci", "--yes"})
		return out.String(), seen.String(), code
	}
	_, said, code := deletes("1 lease left", func(cancel func()) { cancel() }) // Ctrl-C
	if code != cli.ExitFailed || !strings.Contains(said, `stopped waiting; the broker goes on deleting ci; "lessor secret delete ci" tells how far it is`) {
		t.Errorf("exit code %d, %s", code, said)
	}
	out, said, code := deletes("the broker goes on trying", func(func()) { o.relent(lease) })
	if code != cli.ExitOK || out != "ci is deleted\n" || strings.Count(said, "the broker goes on trying\n") != 1 ||
		!strings.Contains(said, "lessor: ci: 1 lease left, 1 of them can't be revoked yet: ") || !strings.Contains(said, "DeleteUser") {
		t.Errorf("exit code %d, %s%s", code, out, said)
	}
	if n := o.Sim.UserCount(); n != 0 {
		t.Errorf("AWS has %d users", n)
	}
}

// attentive is a terminal at which somebody does something, once, when these words
// are shown.
type attentive struct {
	clitest.Buffer
	words string
	then  func()
}

func (a *attentive) Write(p []byte) (int, error) {
	if strings.Contains(string(p), a.words) && !strings.Contains(a.String(), a.words) {
		a.then()
	}
	return a.Buffer.Write(p)
}
