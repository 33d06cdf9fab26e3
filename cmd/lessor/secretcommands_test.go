package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
)

// ownKey is a definition with a secret key, and what the broker makes of it.
const ownKey = `name: ci
default_ttl: 1h
max_ttl: 24h
tags: {team: "12"}
aws:
  region: eu-central-1
  path: /lessor/ci/
  groups: [deployers]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
  auth: {method: access_key, access_key_id: AKIAEXAMPLE, secret_access_key: geheim/geheim}
`

// cannedAdmin answers the admin service's verbs, each with the replies that a test
// gives, one after the other and the last for good, and keeps what it was asked.
type cannedAdmin struct {
	terminal
	t *testing.T

	mu      sync.Mutex
	asked   []*nats.Msg
	replies map[messages.AdminVerb][][]byte
}

func newCannedAdmin(t *testing.T) *cannedAdmin {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c := &cannedAdmin{terminal: terminal{variables: map[string]string{"NATS_URL": s.URL()}}, t: t, replies: map[messages.AdminVerb][][]byte{}}
	_, err = nc.Subscribe(messages.Namespace{}.AdminSecret("*"), func(m *nats.Msg) {
		if err := nc.Publish(m.Reply, c.next(m)); err != nil {
			t.Error(err)
		}
	})
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cannedAdmin) next(m *nats.Msg) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, m)
	verb := messages.AdminVerb(strings.TrimPrefix(m.Subject, "lessor.admin.secret."))
	list := c.replies[verb]
	if len(list) > 1 {
		c.replies[verb] = list[1:]
	}
	return list[0]
}

func (c *cannedAdmin) answer(v messages.AdminVerb, replies ...messages.Reply) {
	c.t.Helper()
	var list [][]byte
	for _, r := range replies {
		data, err := r.Encode()
		if err != nil {
			c.t.Fatal(err)
		}
		list = append(list, data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies[v] = list
}

// noSecret is the answer about one that is not there.
var noSecret = messages.ErrorReply(messages.Errorf(messages.CodeSecretNotFound, "there is no such dynamic secret"), nil)

// count is how often something was asked.
func (c *cannedAdmin) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

// last is the body of the last message.
func (c *cannedAdmin) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.asked[len(c.asked)-1].Data)
}

// says runs a command and checks what it prints, and that no secret key is in it.
func (c *cannedAdmin) says(code int, stdout, stderr string, args ...string) {
	c.t.Helper()
	out, errs, got := c.run(c.t.Context(), args...)
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
		c.t.Errorf("lessor %s: exit code %d\n%s%s\nwant %d\n%s%s", strings.Join(args, " "), got, out, errs, code, stdout, stderr)
	}
	if strings.Contains(out+errs, "geheim") {
		c.t.Errorf("lessor %s shows the secret key", args)
	}
}

// stored is what the broker keeps of a definition.
func stored(t *testing.T, text string) *messages.SecretInfo {
	t.Helper()
	d, err := parseSecret([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	return &messages.SecretInfo{
		Name: d.Name, Revision: 7, State: messages.SecretActive, Definition: d,
		Connection: messages.Connection{Name: "access_key-1", Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/lessor", AccessKeyID: "AKIANEW", RotatedAt: now},
	}
}

var denied = &messages.SecretCheck{
	Name: "ci", Connection: messages.Connection{Account: "123456789012"}, Notes: []string{"the group deployers\nis empty"},
	Calls: []messages.CheckedCall{
		{Call: "CreateUser", OK: true},
		{Call: "AddUserToGroup", On: "deployers", Error: "AccessDenied", Action: "iam:AddUserToGroup", Resource: "arn:aws:iam::123456789012:group/deployers"},
		{Call: "CreateAccessKey", Error: "AWS is away"},
	},
}

const deniedTable = `CALL             ON         RESULT
CreateUser       -          ok
AddUserToGroup   deployers  denied: iam:AddUserToGroup on arn:aws:iam::123456789012:group/deployers
CreateAccessKey  -          failed: AWS is away
account  123456789012
note     the group deployers; is empty
`

func TestSecretPut(t *testing.T) {
	c := newCannedAdmin(t)
	file := filepath.Join(t.TempDir(), "ci.yaml")
	if err := os.WriteFile(file, []byte(ownKey), 0o600); err != nil {
		t.Fatal(err)
	}
	info := stored(t, ownKey)
	info.Changed, info.Notes = true, []string{"it gives every right on S3"}
	c.answer(messages.AdminPut, messages.Reply{Kind: messages.KindSecret, Secret: info, Check: &messages.SecretCheck{OK: true, Calls: denied.Calls}})
	c.says(exitOK, `secret    ci
revision  7
account   123456789012
arn       arn:aws:iam::123456789012:user/lessor
checked   3 calls at AWS, all allowed
note      it gives every right on S3
`, "", "secret", "put", file, "--revision", "0")
	p, err := messages.DecodeSecretPut([]byte(c.last()))
	if err != nil || p.Revision == nil || *p.Revision != 0 || p.NoCheck || p.Definition.AWS.Auth.SecretAccessKey.Reveal() != "geheim/geheim" {
		t.Errorf("sent %+v, %v", p, err)
	}

	info.Changed = false
	c.answer(messages.AdminPut, messages.Reply{Kind: messages.KindSecret, Secret: info})
	c.stdin = ownKey
	c.says(exitOK, "revision  7 (nothing has changed)\n", "", "secret", "put", "-", "--no-check")
	if p, err := messages.DecodeSecretPut([]byte(c.last())); err != nil || p.Revision != nil || !p.NoCheck {
		t.Errorf("sent %+v, %v", p, err)
	}
	c.says(exitOK, `{"kind":"secret","secret":{"name":"ci","revision":7,`, "", "secret", "put", file, "--json")

	refusal := messages.ErrorReply(messages.Errorf(messages.CodeCheckFailed, "the definition does not work at AWS"), nil)
	refusal.Check = denied
	c.answer(messages.AdminPut, refusal)
	c.says(exitFailed, deniedTable, "lessor: check_failed: the definition does not work at AWS; give the broker the rights", "secret", "put", file)
	c.says(exitFailed, `{"kind":"error","error":{"code":"check_failed",`, "check_failed", "secret", "put", file, "--json")

	for code, says := range map[messages.Code]string{
		messages.CodeRevisionMismatch: "lessor secret get", messages.CodeSecretFromFile: "--secrets folder",
		messages.CodeInvalidSecret: "mend the definition", messages.CodeSecretDeleting: "until it is gone",
	} {
		c.answer(messages.AdminPut, messages.ErrorReply(messages.Errorf(code, "no"), nil))
		c.says(exitFailed, "", string(code)+": no; ", "secret", "put", file)
		c.says(exitFailed, "", says, "secret", "put", file)
	}
}

// TestSecretPutKeepsTheKeyToItself has mistakes all around a secret key.
func TestSecretPutKeepsTheKeyToItself(t *testing.T) {
	x := terminal{variables: map[string]string{"NATS_URL": "nats://127.0.0.1:1"}}
	for _, text := range []string{
		"name: ci\naws: {auth: {method: access_key, secret_access_key: [geheim]}}\n",
		"name: ci\naws: {auth: {method: access_key, secret_access_key: geheim, secret_access_key: geheim}}\n",
		"name: ci\naws:\n  auth:\n    secret_access_key: geheim: geheim\n",
		"name: ci\naws:\n  auth:\n    secret_access_key: 'geheim\n",
		`{"name":"ci","aws":{"auth":{"secret_access_key":{"geheim":1}}}}`,
		`{"name":"ci","aws":{"auth":{"secret_access_key":"geheim`,
	} {
		x.stdin = text
		stdout, stderr, code := x.run(t.Context(), "secret", "put", "-")
		if code != exitUsage || strings.Count(stderr, "\n") != 1 || strings.Contains(stdout+stderr, "geheim") {
			t.Errorf("%q: exit code %d, %s%s", text, code, stdout, stderr)
		}
	}
}

func TestSecretGet(t *testing.T) {
	c := newCannedAdmin(t)
	info := stored(t, ownKey)
	c.answer(messages.AdminGet, messages.Reply{Kind: messages.KindSecret, Secret: info})
	c.says(exitOK, `# revision: 7
# state: active
# source: operator
# connection: access_key-1
# account: 123456789012
# arn: arn:aws:iam::123456789012:user/lessor
# access key id in use: AKIANEW
# rotated: 2026-11-22T22:00:00Z (now)
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
    access_key_id: AKIAEXAMPLE
`, "", "secret", "get", "ci")
	c.says(exitOK, `{"kind":"secret","secret":{"name":"ci","revision":7,"state":"active","definition":{"name":"ci",`, "", "secret", "get", "ci", "--json")

	info.Source, info.Notes = "file", []string{"one\nname: two"}
	c.answer(messages.AdminGet, messages.Reply{Kind: messages.KindSecret, Secret: info})
	c.says(exitOK, "# source: file, and is changed there\n", "", "secret", "get", "ci")
	c.says(exitOK, "# note: one; name: two\n", "", "secret", "get", "ci")
	c.answer(messages.AdminGet, noSecret)
	c.says(exitFailed, "", "secret_not_found: there is no such dynamic secret; lessor secret list shows those there are\n", "secret", "get", "ci")
}

// FuzzShownSecret: what get prints can be put again, and is the same.
func FuzzShownSecret(f *testing.F) {
	f.Add(demoSecret)
	f.Add([]byte(ownKey))
	f.Add([]byte("name: x\ntags: {'a: b': \"- c\\n  \\n d\", '': 'null', \"<&>\": '#', 'on': \"\\u2028\\t\"}\naws: {inline_policy: {a: {}, b: [], c: {d: [{e: 1.50, f: 100000000000000000000}]}, 'g:': null}}\n"))
	f.Add([]byte("name: x\ntags: {a: \"  leading\\n\\n   \\nblanks  \\n\\n\", b: \"\\n\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseSecret(data)
		if err != nil {
			return
		}
		d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
		var out buffer
		env := &environment{Stdout: &out, Now: func() time.Time { return now }}
		if err := (&operator{}).printSecret(env, messages.SecretInfo{Name: d.Name, Definition: d}); err != nil {
			t.Fatal(err)
		}
		again, err := parseSecret([]byte(out.String()))
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
	c := newCannedAdmin(t)
	one, two := stored(t, ownKey), stored(t, string(demoSecret))
	two.Source, two.State, two.Connection = "file", messages.SecretDeleting, messages.Connection{}
	c.answer(messages.AdminList, messages.Reply{Kind: messages.KindSecrets, Secrets: []messages.SecretInfo{*one, *two}})
	c.says(exitOK, `NAME  STATE     SOURCE    TYPE      AUTH        ACCOUNT       REVISION
ci    active    operator  iam_user  access_key  123456789012  7
demo  deleting  file      iam_user  default     -             7
`, "", "secret", "list")
	c.answer(messages.AdminList, messages.Reply{Kind: messages.KindSecrets})
	c.says(exitOK, "", "lessor secret put", "secret", "list")
	c.says(exitOK, `{"kind":"secrets","secrets":[]}`+"\n", "", "secret", "list", "--json")
}

func TestSecretCheck(t *testing.T) {
	c := newCannedAdmin(t)
	c.answer(messages.AdminCheck, messages.Reply{Kind: messages.KindCheck, Check: denied})
	c.says(exitFailed, deniedTable, "ci does not work at AWS: 2 of 3 calls failed; lessor policy ci prints the rights that it needs\n", "secret", "check", "ci")
	c.says(exitFailed, `{"kind":"check","check":{"name":"ci","ok":false,`, "2 of 3", "secret", "check", "ci", "--json")
	c.answer(messages.AdminCheck, messages.Reply{Kind: messages.KindCheck, Check: &messages.SecretCheck{Name: "ci", Error: "AWS can't be reached"}})
	c.says(exitFailed, "error  AWS can't be reached\n", "the check of ci failed: AWS can't be reached\n", "secret", "check", "ci")
	c.answer(messages.AdminCheck, messages.Reply{Kind: messages.KindCheck, Check: &messages.SecretCheck{Name: "ci", OK: true, Calls: denied.Calls[:1]}})
	c.says(exitOK, "CreateUser  -   ok\n", "", "secret", "check", "ci")
	c.person = true
	c.says(exitOK, "CreateUser  -   ok\n", clearLine+"trying ci out at AWS …"+clearLine, "secret", "check", "ci")
}

func TestSecretRotateKey(t *testing.T) {
	c := newCannedAdmin(t)
	c.answer(messages.AdminRotateKey, messages.Reply{Kind: messages.KindSecret, Secret: stored(t, ownKey)})
	c.says(exitOK, "access key id  AKIANEW\nrotated        2026-11-22T22:00:00Z (now)\n", "", "secret", "rotate-key", "ci")
	c.says(exitOK, `{"kind":"secret",`, "", "secret", "rotate-key", "ci", "--json")
}

func TestSecretDelete(t *testing.T) {
	c := newCannedAdmin(t)
	progress := func(d messages.SecretDeletion) messages.Reply {
		d.Name = "ci"
		return messages.Reply{Kind: messages.KindDeletion, Deletion: &d}
	}
	going, done := progress(messages.SecretDeletion{Leases: 12}), progress(messages.SecretDeletion{Done: true})
	stuck := progress(messages.SecretDeletion{Leases: 1, Failing: 1, Error: "AWS is away"})

	c.answer(messages.AdminDelete, going, done)
	stdout, stderr, code := c.run(t.Context(), "secret", "delete", "ci")
	if code != exitOK || stdout != "ci is deleted\n" || stderr != "" {
		t.Errorf("in a pipe: %d, %q, %q", code, stdout, stderr)
	}
	c.answer(messages.AdminDelete, stuck, noSecret) // it went between two questions
	c.says(exitOK, "ci is deleted\n", "lessor: ci: 1 lease left, 1 of them can't be revoked yet: AWS is away; the broker goes on trying\n", "secret", "delete", "ci")
	c.answer(messages.AdminDelete, noSecret)
	c.says(exitFailed, "", "secret_not_found", "secret", "delete", "ci")
	c.answer(messages.AdminDelete, going)
	c.says(exitOK, "ci is being deleted, 12 leases left\n", "", "secret", "delete", "ci", "--no-wait", "--force")
	if got := c.last(); got != `{"name":"ci","force":true}` {
		t.Errorf("sent %s", got)
	}
	c.says(exitOK, `{"kind":"deletion","deletion":{"name":"ci","done":false,"leases":12}}`, "", "secret", "delete", "ci", "--no-wait", "--json")
	c.answer(messages.AdminDelete, progress(messages.SecretDeletion{Done: true, Leases: 2}))
	c.says(exitOK, "ci is deleted; 2 leases left, which the broker goes on revoking\n", "", "secret", "delete", "ci", "--force")

	// A person is asked, and sees how far it is.
	asked := c.count()
	c.person = true
	for _, answer := range []string{"", "\n", "n\n", "nonsense\n"} {
		c.stdin = answer
		c.says(exitFailed, "", "nothing was deleted\n", "secret", "delete", "ci")
	}
	if c.count() != asked {
		t.Error("it was deleted without a yes")
	}
	c.answer(messages.AdminDelete, going, done)
	c.stdin = "Y\n"
	c.says(exitOK, "ci is deleted\n", "[y/N] "+clearLine+"ci: 12 leases left"+clearLine, "secret", "delete", "ci")
	c.stdin = ""
	c.says(exitOK, "ci is deleted\n", "", "secret", "delete", "ci", "--yes")
}

// TestSecretDeleteInterrupted: what is begun goes on, and the command says so.
func TestSecretDeleteInterrupted(t *testing.T) {
	c := newCannedAdmin(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.answer(messages.AdminDelete, messages.Reply{Kind: messages.KindDeletion, Deletion: &messages.SecretDeletion{Name: "ci", Leases: 12}})
	env := &environment{
		Stdin: strings.NewReader(""), Stdout: &buffer{}, Stderr: &interrupting{words: "12 leases", cancel: cancel},
		Getenv: func(name string) string { return c.variables[name] }, Terminal: func(any) bool { return true },
	}
	code := run(ctx, env, []string{"secret", "delete", "ci", "--yes"})
	said := env.Stderr.(*interrupting).String()
	if code != exitFailed || !strings.Contains(said, `stopped waiting; the broker goes on deleting ci; "lessor secret delete ci" tells how far it is`) {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// interrupting is a terminal at which somebody presses Ctrl-C when these words
// are shown.
type interrupting struct {
	buffer
	words  string
	cancel func()
}

func (i *interrupting) Write(p []byte) (int, error) {
	if strings.Contains(string(p), i.words) {
		i.cancel()
	}
	return i.buffer.Write(p)
}
