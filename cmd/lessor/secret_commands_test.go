//go:build unix

package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/messages"
)

// clearLine is what empties the line of a terminal.
const clearLine = "\r\x1b[K"

func TestSecretPutStoresAndReportsTheRevision(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	file := definitionFile(t, withKey(o.Principal("lessor", "")))
	o.expect(cli.ExitOK, `secret    ci
revision  1
account   123456789012
arn       arn:aws:iam::123456789012:user/lessor
checked   `, "", "secret", "put", file, "--revision", "0")
	c := o.Reply(t, "secret", "check", "ci").Check
	o.expect(cli.ExitOK, fmt.Sprintf("checked   %d calls at AWS, all allowed\n", len(c.Calls)), "", "secret", "put", file, "--revision", "1")
	o.expect(cli.ExitOK, `{"kind":"secret","secret":{"name":"ci","revision":1,`, "", "secret", "put", file, "--json")

	o.Sim.ResetCalls()
	o.Stdin = plain + "hard_expiry: none\n"
	o.expect(cli.ExitOK, "secret    ci\nrevision  2\nnote      hard_expiry: ", "", "secret", "put", "-", "--no-check")
	o.expect(cli.ExitOK, "revision  2 (nothing has changed)\n", "", "secret", "put", "-", "--no-check")
	for _, c := range o.Sim.Calls() {
		if c.Action != "GetCallerIdentity" && c.Action != "ListUsers" { // of the sweep
			t.Errorf("without a check AWS was called: %s", c.Action)
		}
	}
	// A note about the definition is also in its check, and is printed once.
	if printed := o.OK(t, "secret", "put", "-"); strings.Count(printed, "note ") != 1 {
		t.Errorf("a note is printed more than once:\n%s", printed)
	}
}

func TestSecretPutOfWrongDefinitionsIsRefused(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	file := definitionFile(t, withKey(o.Principal("lessor", allBut(`"iam:AddUserToGroup"`))))
	const missing = "denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers\n"
	o.expect(cli.ExitFailed, missing, "lessor: check_failed: ci does not work at AWS, and was not stored; give the broker the rights", "secret", "put", file)
	o.expect(cli.ExitFailed, `{"kind":"error","error":{"code":"check_failed",`, "check_failed", "secret", "put", file, "--json")
	o.expect(cli.ExitFailed, `"action":"iam:AddUserToGroup","resource":"arn:aws:iam::123456789012:group/deployers"`, "", "secret", "put", file, "--json")
	o.expect(cli.ExitFailed, "", "secret_not_found", "secret", "get", "ci")
	if users := o.Sim.Users(); len(users) != 0 {
		t.Errorf("the check has left %s", users[0].Name)
	}

	o.put(plain)
	o.putFile("name: filed\n")
	o.put("name: old\n")
	o.lease("old")
	o.Deny("DeleteUser")
	o.OK(t, "secret", "delete", "old", "--no-wait")
	for _, refused := range []struct {
		code             messages.Code
		definition, next string
		args             []string
	}{
		{messages.CodeRevisionMismatch, plain, "lessor secret get", []string{"--revision", "7"}},
		{messages.CodeRevisionMismatch, plain, "lessor secret get", []string{"--revision", "0"}},
		{messages.CodeSecretFromFile, "name: filed\n", "--secrets folder", nil},
		{messages.CodeInvalidSecret, "name: short\ndefault_ttl: 30s\n", "correct the definition", nil},
		{messages.CodeSecretDeleting, "name: old\n", "until it is deleted", nil},
	} {
		file := definitionFile(t, refused.definition)
		for _, check := range []string{"--no-check=false", "--no-check"} {
			args := append([]string{"secret", "put", file, check}, refused.args...)
			o.expect(cli.ExitFailed, "", "lessor: "+string(refused.code)+": ", args...)
			o.expect(cli.ExitFailed, "", refused.next, args...)
		}
	}
	// Errors that are found without the broker name the file.
	odd := definitionFile(t, "name: odd\naws: {path: nowhere}\n")
	o.expect(cli.ExitUsage, "", odd+": aws.path: ", "secret", "put", odd)
	if list := o.Reply(t, "secret", "list").Secrets; len(list) != 3 {
		t.Errorf("the secrets are %+v", list)
	}
}

// TestSecretPutErrorsNeverShowTheKey puts files with errors around a secret key.
func TestSecretPutErrorsNeverShowTheKey(t *testing.T) {
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

func TestSecretListShowsEachSecret(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	o.expect(cli.ExitOK, "", "lessor secret put", "secret", "list")
	o.expect(cli.ExitOK, `{"kind":"secrets","secrets":[]}`+"\n", "", "secret", "list", "--json")
	o.OK(t, "secret", "put", definitionFile(t, withKey(o.Principal("lessor", ""))))
	o.putFile(sandbox.DemoYAML())
	o.put("name: old\naws: {region: eu-central-1}\n")
	o.lease("old")
	o.Deny("DeleteUser")
	o.OK(t, "secret", "delete", "old", "--no-wait")
	o.OK(t, "sweep") // makes each account known
	o.expect(cli.ExitOK, `NAME  STATE     SOURCE    TYPE      AUTH        ACCOUNT       REVISION
ci    active    operator  iam_user  access_key  123456789012  1
demo  active    file      iam_user  default     123456789012  2
old   deleting  operator  iam_user  default     123456789012  4
`, "", "secret", "list")
}

func TestSecretCheckNamesMissingPermissions(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	o.put(withKey(o.Principal("lessor", allBut(`"iam:AddUserToGroup","iam:TagUser"`))))
	o.expect(cli.ExitFailed, "denied: iam:TagUser on arn:aws:iam::123456789012:user/lessor/ci/", "1 of 2 calls failed; lessor policy ci prints the permissions that it needs\n", "secret", "check", "ci")
	o.put(withKey(o.Principal("other", allBut(`"iam:AddUserToGroup"`))))
	o.expect(cli.ExitFailed, "denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers\n", "calls failed; lessor policy ci prints the permissions that it needs\n", "secret", "check", "ci")
	o.expect(cli.ExitFailed, `{"kind":"check","check":{"name":"ci","ok":false,`, " calls failed", "secret", "check", "ci", "--json")

	o.put(strings.Replace(plain, "deployers", "missing", 1))
	o.expect(cli.ExitFailed, "failed: ", "calls failed; correct the definition, or what it names at AWS\n", "secret", "check", "ci")
	id, secret := o.Principal("leaver", "")
	o.put(withKey(id, secret))
	o.Sim.RevokeKey(id)
	o.expect(cli.ExitFailed, "error  ", "lessor: the check of ci failed: ", "secret", "check", "ci")

	o.put(plain)
	o.expect(cli.ExitOK, "account  123456789012\narn      arn:aws:iam::123456789012:user/broker\n", "", "secret", "check", "ci")
	table := o.OK(t, "secret", "check", "ci")
	for _, line := range []string{`CALL +ON +RESULT`, `CreateUser +- +ok`, `AddUserToGroup +deployers +ok`} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(table) {
			t.Errorf("no line is %s:\n%s", line, table)
		}
	}
	o.Interactive = true
	o.expect(cli.ExitOK, "CreateUser", clearLine+"checking ci at AWS …"+clearLine, "secret", "check", "ci")
	if users := o.Sim.Users(); len(users) != 0 {
		t.Errorf("the checks have left %s", users[0].Name)
	}
}

func TestCheckTableHasOneLinePerCall(t *testing.T) {
	var out clitest.Buffer
	err := printCheck(&out, messages.SecretCheck{
		Name: "ci", Connection: messages.Connection{Account: "123456789012"}, Error: "a user\nis left", Notes: []string{"the group deployers\nis empty"},
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
DeleteUser       -          failed: no reason is known
account  123456789012
error    a user; is left
note     the group deployers; is empty
`; err != nil || out.String() != want {
		t.Errorf("%v:\n%s", err, &out)
	}
	if err := failure(messages.SecretCheck{Name: "ci"}); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("a check that failed for no known reason: %v", err)
	}
}

func TestSecretRotateKeyReplacesTheKey(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	id, secret := o.Principal("lessor", "")
	o.put(withKey(id, secret))
	lease := o.lease("ci")
	o.expect(cli.ExitOK, "\nrotated        just now\n", "", "secret", "rotate-key", "ci")
	in := o.Reply(t, "secret", "get", "ci").Secret.Connection
	if u, _ := o.Sim.User("lessor"); len(u.AccessKeys) != 1 || u.AccessKeys[0].ID != in.AccessKeyID || in.AccessKeyID == id {
		t.Errorf("AWS has the keys %+v, in use is %+v", u.AccessKeys, in)
	}
	o.expect(cli.ExitOK, `{"kind":"secret",`, "", "secret", "rotate-key", "ci", "--json")
	next := o.Reply(t, "secret", "get", "ci").Secret.Connection.AccessKeyID
	o.expect(cli.ExitOK, "access key id in use: "+next+"\n", "", "secret", "get", "ci")
	if next == in.AccessKeyID {
		t.Error("the second rotation has not changed the key")
	}
	o.OK(t, "revoke", lease.Lease.Name)

	o.put("name: plain\n")
	o.expect(cli.ExitFailed, "", "access_key", "secret", "rotate-key", "plain")
	o.Interactive = true
	o.expect(cli.ExitOK, "access key id", clearLine+"waiting for AWS to accept the new key …"+clearLine, "secret", "rotate-key", "ci")
}

func TestSecretDeleteRevokesLeasesAndAsksFirst(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
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
	o.expect(cli.ExitFailed, "", "secret_not_found", "secret", "delete", "ci")

	leases := leased(1)
	o.Deny("DeleteUser")
	o.expect(cli.ExitOK, "ci is being deleted, 1 lease left\n", "", "secret", "delete", "ci", "--no-wait")
	o.expect(cli.ExitOK, `{"kind":"deletion","deletion":{"name":"ci","done":false,"leases":1`, "", "secret", "delete", "ci", "--no-wait", "--json")
	o.expect(cli.ExitOK, "ci is deleted; 1 lease left", "", "secret", "delete", "ci", "--force")
	o.expect(cli.ExitFailed, "", "secret_not_found", "secret", "get", "ci")
	o.allowAll(leases...)
	if n := o.Sim.UserCount(); n != 0 {
		t.Errorf("a lease was not revoked without its definition: AWS has %d users", n)
	}

	// At a terminal the command asks first, and shows its progress.
	leased(2)
	o.Interactive = true
	for _, answer := range []string{"", "\n", "n\n", "nonsense\n"} {
		o.Stdin = answer
		o.expect(cli.ExitFailed, "", "nothing was deleted\n", "secret", "delete", "ci")
	}
	if s := o.Reply(t, "secret", "get", "ci").Secret; s.State != messages.SecretActive || o.Sim.UserCount() != 2 {
		t.Error("it was deleted without a confirmation")
	}
	o.Stdin = "Y\n"
	o.expect(cli.ExitOK, "ci is deleted\n", "[y/N] "+clearLine+"ci: 2 leases left"+clearLine, "secret", "delete", "ci")
	leased(0)
	o.Stdin = ""
	o.expect(cli.ExitOK, "ci is deleted\n", "", "secret", "delete", "ci", "--yes")
}

// TestInterruptedSecretDeleteContinuesInTheBroker: the command shows what prevents the
// deletion, and that the broker continues after an interrupt.
func TestInterruptedSecretDeleteContinuesInTheBroker(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	o.put(plain)
	lease := o.lease("ci")
	o.Deny("DeleteUser")
	// deletes runs the command at a terminal and calls then when these words are shown.
	deletes := func(words string, then func(cancel func())) (stdout, stderr string, code int) {
		ctx, cancel := context.WithTimeout(t.Context(), clitest.Patience)
		defer cancel()
		shown := &trigger{words: words, then: func() { then(cancel) }}
		x := o.Terminal
		x.Stderr, x.Interactive = shown, true
		stdout, _, code = x.Run(ctx, "secret", "delete", "ci", "--yes")
		return stdout, shown.String(), code
	}
	_, shown, code := deletes("1 lease left", func(cancel func()) { cancel() }) // Ctrl-C
	if code != cli.ExitFailed || !strings.Contains(shown, `stopped waiting; the broker continues to delete ci; "lessor secret delete ci" shows how far it is`) {
		t.Errorf("exit code %d, %s", code, shown)
	}
	out, shown, code := deletes("the broker keeps trying", func(func()) { o.allowAll(lease) })
	if code != cli.ExitOK || out != "ci is deleted\n" || strings.Count(shown, "the broker keeps trying\n") != 1 ||
		!strings.Contains(shown, "lessor: ci: 1 lease left, 1 of them can't be revoked yet: ") || !strings.Contains(shown, "DeleteUser") {
		t.Errorf("exit code %d, %s%s", code, out, shown)
	}
	if n := o.Sim.UserCount(); n != 0 {
		t.Errorf("AWS has %d users", n)
	}
}

// trigger is a terminal's output that calls then once, when these words are written.
type trigger struct {
	clitest.Buffer
	words string
	then  func()
}

func (a *trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), a.words) && !strings.Contains(a.String(), a.words) {
		a.then()
	}
	return a.Buffer.Write(p)
}
