//go:build external && unix

package natsconfig

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	oldestNode = 20
	// installTimeout bounds npm, and nodeTimeout a program.
	installTimeout = 2 * time.Minute
	nodeTimeout    = 2 * time.Minute
)

// javaScript is a folder with the client and the packages that it needs.
type javaScript struct {
	t   *testing.T
	dir string
}

// newJavaScript installs the client in a temporary folder. It needs node and npm.
func newJavaScript(t *testing.T) javaScript {
	t.Helper()
	j := javaScript{t: t, dir: t.TempDir()}
	version, err := j.command(t.Context(), nil, "node", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		t.Fatalf("node is %s, and the client needs %d", bytes.TrimSpace(version), oldestNode)
	}
	j.copy()
	j.install()
	return j
}

// copy copies the shipped files, without installed packages.
func (j javaScript) copy() {
	j.t.Helper()
	files, err := os.ReadDir(javaScriptFolder)
	if err != nil {
		j.t.Fatal(err)
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(javaScriptFolder, f.Name()))
		if err != nil {
			j.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(j.dir, f.Name()), text, 0o600); err != nil {
			j.t.Fatal(err)
		}
	}
}

// install installs exactly the packages of the lock file, from npm's cache if they are in
// it.
func (j javaScript) install() {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), installTimeout)
	defer cancel()
	out, err := j.command(ctx, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000").CombinedOutput()
	if err != nil {
		j.t.Fatalf("npm ci: %v\n%s", err, out)
	}

}

// command returns a command that runs in the client's folder.
func (j javaScript) command(ctx context.Context, variables []string, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = j.dir, append(os.Environ(), variables...)
	c.WaitDelay = time.Second // npm's own children may keep the pipe
	return c
}

// run runs a program and returns what it prints.
func (j javaScript) run(t *testing.T, variables []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	out, err := j.command(ctx, variables, name, args...).CombinedOutput()
	return string(out), err
}

// TestJavaScriptClient leases a key with the client of docs/examples, which uses the
// official NATS packages, from a requester's account.
func TestJavaScriptClient(t *testing.T) {
	t.Parallel()
	j := newJavaScript(t)
	t.Run("what is shown and what is refused", func(t *testing.T) {
		w := newTestWorld(t, openAccount)
		w.serveJavaScript()
		variables := []string{"NATS_URL=" + w.server.URL()}
		w.ok(os.WriteFile(filepath.Join(j.dir, "readme.mjs"), []byte(clitest.FirstCodeBlock(t, "../../../README.md", "js")), 0o600))
		if out, err := j.run(t, variables, "node", "readme.mjs"); err != nil || !strings.HasPrefix(out, "alice.demo.") {
			t.Errorf("README.md's program: %v\n%s", err, out)
		}
		if out, err := j.run(t, variables, "npm", "test"); err != nil {
			t.Errorf("npm test: %v\n%s", err, out)
		}
	})
	for _, tt := range []struct {
		setup             natsSetup
		secret, listUsers string
	}{
		{staticUsers, "demo", "allowed"},
		{jwtUsers, "ci", "denied"},
	} {
		t.Run(string(tt.setup), func(t *testing.T) {
			w := newTestWorld(t, tt.setup)
			w.serveJavaScript()
			w.leaseInJavaScript(j, tt.secret, tt.listUsers)
			w.refusesJavaScript(j)
			w.notViolated()
		})
	}
}

// serveJavaScript starts a broker with long timeouts for slow machines, and stores the
// definition "demo", whose users may list users.
func (w *testWorld) serveJavaScript() {
	w.t.Helper()
	w.serve(func(c *consumer.Config) { c.Timing.Confirm = time.Hour })
	a := w.request(w.connect("operator", "olga"), w.ns.AdminAs("olga", w.ns.AdminSecret(messages.AdminPut)),
		`{"definition":{"name":"demo","aws":{"path":"/lessor/",
		"inline_policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}]}}}}`)
	if a.reply.Kind != messages.KindSecret {
		w.t.Fatalf("%+v %v", a, a.reply.Error)
	}
}

// nodeVariables returns the environment of the example for a requester.
func (w *testWorld) nodeVariables(requester string) []string {
	variable, file := "NATS_NKEY", filepath.Join(w.dir, "keys", userKey("requester", requester)+seedSuffix)
	if w.setup == jwtUsers {
		variable, file = "NATS_CREDS", filepath.Join(w.dir, "creds", userKey("requester", requester)+".creds")
	}
	return []string{"NATS_URL=" + w.server.URL(), variable + "=" + file, "AWS_ENDPOINT_URL=" + w.aws.URL}
}

// leaseInJavaScript runs the example, which leases, uses, renews and revokes a key, and
// checks each step.
func (w *testWorld) leaseInJavaScript(j javaScript, secret, listUsers string) {
	w.t.Helper()
	heard := w.overhear()
	calls, goOn := make(chan iamsim.Call, 1), make(chan struct{})
	w.sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "ListUsers" && !c.Params.Has("PathPrefix") { // the broker sets it
			calls <- c
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return iamsim.Verdict{}
	})
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := j.run(w.t, w.nodeVariables("alice"), "node", "example.mjs", "alice", secret)
		ended <- result{out, err}
	}()

	var call iamsim.Call
	select {
	case call = <-calls:
	case r := <-ended:
		w.t.Fatalf("it ended before it called AWS: %v\n%s", r.err, r.out)
	}
	alice, olga := w.connect("requester", "alice"), w.connect("operator", "olga")
	leases := w.request(alice, w.ns.API("list", "alice"), "").reply.Leases
	if len(leases) != 1 || leases[0].State != messages.StateActive || leases[0].Secret != secret || leases[0].AccessKeyID != call.AccessKeyID {
		w.t.Fatalf("AWS was called with %s, and the leases are %+v", call.AccessKeyID, leases)
	}
	l := leases[0]
	w.awaitEvent(olga, l.Name, messages.EventConfirmed)
	user, _ := w.sim.User(l.Username)
	close(goOn)

	r := <-ended
	w.ok(r.err)
	for _, line := range []string{
		"lease     " + l.Name + " until ", "key       " + l.AccessKeyID + " ", " [redacted]\n", "caller    " + user.ARN + "\n",
		"ListUsers " + listUsers + "\n", "renewed   ", "revoked   revoked\n",
	} {
		if !strings.Contains(r.out, line) {
			w.t.Errorf("the example does not print %q:\n%s", line, r.out)
		}
	}
	if user.ARN == "" || !strings.HasSuffix(user.ARN, "/"+l.Username) {
		w.t.Errorf("the lease's user is %q", user.ARN)
	}
	if _, there := w.sim.User(l.Username); there {
		w.t.Error("the user is not deleted")
	}
	want := []messages.EventType{messages.EventIssued, messages.EventConfirmed, messages.EventRenewed, messages.EventRevoked}
	if got := w.events(olga, l.Name); !slices.Equal(got, want) {
		w.t.Errorf("the events are %s", got)
	}
	w.noneInClear(heard, alice, r.out)
}

// listener is a subscription to everything that an account may receive.
type listener struct {
	who string
	sub *nats.Subscription
}

// overhear subscribes to the replies in the requester's account and, if there is a witness,
// to everything in the brokers' account.
func (w *testWorld) overhear() []listener {
	w.t.Helper()
	listen := func(nc *nats.Conn, who, subject string) listener {
		sub, err := nc.SubscribeSync(subject)
		w.ok(err)
		w.ok(sub.SetPendingLimits(-1, -1))
		w.ok(nc.Flush())
		return listener{who, sub}
	}
	ears := []listener{listen(w.connect("requester", "alice"), "alice's account", "_INBOX_alice.>")}
	if w.setup == staticUsers {
		ears = append(ears, listen(w.connect("", natsWitness), "the brokers' account", ">"))
	}
	return ears
}

// noneInClear checks that no sealed secret key was received or printed in clear. To show
// that the search works, it must find the key of a lease in clear.
func (w *testWorld) noneInClear(heard []listener, alice *nats.Conn, printed string) {
	w.t.Helper()
	sealed := w.sim.IssuedSecrets()
	clear := w.lease(alice, "alice", "").Credentials.SecretAccessKey.Reveal()
	for _, secret := range sealed {
		if leak.Contains([]byte(printed), secret) {
			w.t.Error("the example prints a secret key")
		}
	}
	for _, e := range heard {
		found := false
		for !found {
			m, err := e.sub.NextMsg(clitest.Patience)
			if err != nil {
				w.t.Fatalf("the search finds no key in %s: %v", e.who, err)
			}
			for _, secret := range sealed {
				if leak.Contains(m.Data, secret) {
					w.t.Errorf("a secret key is in clear in %s, on %s", e.who, m.Subject)
				}
			}
			found = leak.Contains(m.Data, clear)
		}
	}
}

// refusesJavaScript runs the example under another identity, which NATS refuses.
func (w *testWorld) refusesJavaScript(j javaScript) {
	w.t.Helper()
	users := w.sim.UserCount()
	out, err := j.run(w.t, w.nodeVariables("alice"), "node", "example.mjs", "bob", "ci")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "Permissions Violation") {
		w.t.Errorf("alice publishes as bob: %v\n%s", err, out)
	}
	if w.sim.UserCount() != users {
		w.t.Error("a user was created")
	}
}
