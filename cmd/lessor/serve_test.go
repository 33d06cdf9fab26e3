//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// TestLeasesSurviveARestart leases with one broker, and renews and revokes with its
// successors: after a graceful stop, and after SIGKILL.
func TestLeasesSurviveARestart(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	p, x := s.serve("--durable", "--log-level", "debug")
	if durable := p.Logs("embedded NATS server")["durable"]; durable != true {
		t.Errorf("durable is %v", durable)
	}
	key := s.brokerKey()
	first := x.Reply(t, "request", "ci", "-i", "alice", "--label", "job=1")
	p.Stop()

	// From here the store is not durable. Both kinds of server can read the store.
	p, x = s.serve("--log-level", "debug")
	renewed := x.Reply(t, "renew", first.Lease.Name, "--ttl", "2h").Lease
	if renewed.Renewals != 1 || !renewed.ExpiresAt.After(first.Lease.ExpiresAt) || renewed.Labels["job"] != "1" {
		t.Errorf("renewed after SIGTERM: %+v", renewed)
	}
	second := x.Reply(t, "request", "ci", "-i", "alice")
	clitest.Eventually(t, "the event of the second lease is stored", func() bool {
		return strings.Contains(x.OK(t, "events", "--no-follow", "--lease", second.Lease.Name), "  issued  ")
	})
	p.Kill()

	p, x = s.serve("--log-level", "debug")
	if l := x.Reply(t, "show", first.Lease.Name).Lease; l.Renewals != 1 || !l.ExpiresAt.Equal(renewed.ExpiresAt) {
		t.Errorf("after SIGKILL the renewal is lost: %+v", l)
	}
	if l := x.Reply(t, "renew", second.Lease.Name, "--ttl", "2h").Lease; l.Renewals != 1 {
		t.Errorf("renewed after SIGKILL: %+v", l)
	}
	for _, r := range []messages.Reply{first, second} {
		if allowed, err := s.sim.Allowed(r.Credentials.AccessKeyID, "s3:GetObject", "arn:aws:s3:::b/k"); err != nil || !allowed {
			t.Errorf("the key does not work: %v, %v", allowed, err)
		}
		if l := x.Reply(t, "revoke", r.Lease.Name).Lease; l.State != messages.StateRevoked {
			t.Errorf("revoked: %+v", l)
		}
	}
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("%d users are left in AWS", n)
	}
	if again := s.brokerKey(); !bytes.Equal(key, again) {
		t.Error("the broker has another key after a restart")
	}
	events := x.OK(t, "events", "--no-follow", "--json")
	if got := strings.Count(events, `"type":"lessor.lease.issued"`); got != 2 {
		t.Errorf("%d leases were issued", got)
	}
	p.Stop()
	for _, p := range s.started {
		p.LogIsJSON()
	}
	s.searchAll(s.store, events, first.Lease.AccessKeyID)
}

// brokerKey reads the key in the store, which only this user may read.
func (s *processes) brokerKey() []byte {
	s.t.Helper()
	path := filepath.Join(s.store, keyfile.Name)
	info, err := os.Stat(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		s.t.Errorf("the broker's key is %s", info.Mode())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := messages.ParseKeyring(bytes.Clone(data)); err != nil {
		s.t.Error(err)
	}
	return data
}

// publish stores a request in its stream, with an inbox of nc as reply subject.
func publish(t *testing.T, nc *nats.Conn, js jetstream.JetStream, identity string) *nats.Subscription {
	t.Helper()
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(messages.Namespace{}.Request(identity, "ci"))
	msg.Header.Set(messages.HeaderReplyTo, inbox.Subject)
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	return inbox
}

// delivered waits for a delivery.
func delivered(t *testing.T, inbox *nats.Subscription) messages.Reply {
	t.Helper()
	msg, err := inbox.NextMsg(clitest.Patience)
	if err != nil {
		t.Fatalf("no reply: %v", err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err != nil || r.Kind != messages.KindCredentials {
		t.Fatalf("no credentials: %v: %s", err, msg.Data)
	}
	return r
}

// TestServeFinishesTasksInProgress stops a broker that waits for a slow AWS. The request in
// progress is answered; one that is stored later is handled by the next broker.
func TestServeFinishesTasksInProgress(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	s.sim.SetFaults(iamsim.Faults{Latency: time.Second})
	created := make(chan string, 10)
	s.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			created <- c.User
		}
		return iamsim.Verdict{}
	})
	address := clitest.FreeAddress(t)
	p, x := s.serve("--listen", address)
	nc := x.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	inTime := publish(t, nc, js, "alice")
	if user := <-created; !strings.Contains(user, "alice") {
		t.Fatalf("AWS creates %s", user)
	}
	p.Signal(syscall.SIGTERM)
	p.Logs("stopping; finishing the tasks in progress")
	// The server reports whether the broker still pulls requests.
	n := messages.Namespace{}
	cons, err := js.Consumer(t.Context(), n.Stream(messages.VerbRequest), n.Consumer(messages.VerbRequest))
	if err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "the broker pulls no requests", func() bool {
		info, err := cons.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.NumWaiting == 0
	})
	tooLate := publish(t, nc, js, "bob")
	if _, err := nc.Request("lessor.api.list.alice", nil, clitest.Patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("the API of a broker that stops: %v", err)
	}
	first := delivered(t, inTime)
	if code := p.Exit(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	p.Logs("stopped")
	if strings.Contains(p.Stderr.String(), `"level":"warn"`) {
		t.Errorf("not all tasks were finished:\n%s", p.Stderr)
	}
	if users := s.sim.Users(); len(users) != 1 || users[0].Name != first.Credentials.Username {
		t.Errorf("AWS has %+v", users)
	}

	s.sim.SetFaults(iamsim.Faults{})
	p, _ = s.serve("--listen", address)
	delivered(t, tooLate)
	p.Stop()
	p.LogIsJSON()
}

// TestServeLogsWrongDefinitions has one valid file among wrong ones.
func TestServeLogsWrongDefinitions(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	bad := map[string]struct{ definition, says string }{
		"ttl.yaml":    {strings.Replace(ciSecret, "max_ttl: 24h", "max_ttl: soon", 1), "max_ttl"},
		"typo.yml":    {strings.Replace(ciSecret, "path:", "pathh:", 1), "pathh"},
		"policy.json": {`{"name":"policy","aws":{"inline_policy":{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}}}`, "aws.inline_policy"},
		"broken.yaml": {"name: [broken", "line 1"},
		"one.yaml":    {"name: two\n", "other.yaml"}, // none of the two is used
		"other.yaml":  {"name: two\n", "one.yaml"},
	}
	for file, b := range bad {
		s.define(file, b.definition)
	}
	s.define("notes.txt", "no definition")
	p, x := s.serve()
	reported := map[string]string{}
	for line := range strings.Lines(p.Stderr.String()) {
		var fields struct{ Level, File, Error string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields.Level == "error" {
			reported[filepath.Base(fields.File)] = fields.Error
		}
	}
	for file, b := range bad {
		if !strings.Contains(reported[file], b.says) {
			t.Errorf("%s: %q does not name %s", file, reported[file], b.says)
		}
	}
	if len(reported) != len(bad) {
		t.Errorf("reported: %q", reported)
	}
	x.OK(t, "request", "ci", "-i", "alice")
	if _, stderr, code := x.Run(t.Context(), "request", "policy", "-i", "alice"); code != cli.ExitFailed || !strings.Contains(stderr, "secret_not_found") {
		t.Errorf("a wrong definition is used: %d, %s", code, stderr)
	}
	p.Stop()
}

// TestReadinessFollowsNATS stops the NATS server of a broker, and deletes its bucket.
func TestReadinessFollowsNATS(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	options := embedded.Options{StoreDir: t.TempDir(), Listen: clitest.FreeAddress(t)}
	server := clitest.StartNATS(t, options)
	t.Cleanup(func() { server.Close() }) // the last one
	x := at(server.URL())
	health := clitest.FreeAddress(t)
	p := s.start(nil, "serve", "--server", server.URL(), "--key-file", newKeyFile(t), "--secrets", s.secrets, "--health", health)
	if _, status := clitest.Probe(health, "/readyz"); status != 0 && !strings.Contains(p.Stderr.String(), `"message":"health"`) {
		t.Errorf("a reply before the broker was started: %d", status)
	}
	p.Logs("broker is up")
	expect := func(when string, ready int, reason string) {
		t.Helper()
		var text string
		var status int
		for end := time.Now().Add(clitest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if text, status = clitest.Probe(health, "/readyz"); status == ready && strings.Contains(text, reason) {
				break
			}
		}
		if status != ready || !strings.Contains(text, reason) {
			t.Fatalf("%s: ready is %d, %s", when, status, text)
		}
		if text, status := clitest.Probe(health, "/healthz"); status != http.StatusOK {
			t.Errorf("%s: alive is %d, %s", when, status, text)
		}
	}
	expect("at work", http.StatusOK, "ok")
	server.Close()
	expect("without NATS", http.StatusServiceUnavailable, "NATS: ")
	server = clitest.StartNATS(t, options)
	expect("with NATS again", http.StatusOK, "ok")
	x.OK(t, "request", "ci", "-i", "alice")

	js, err := jetstream.New(x.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), messages.Namespace{}.LeaseBucket()); err != nil {
		t.Fatal(err)
	}
	expect("without its bucket", http.StatusServiceUnavailable, "lease")
	p.Stop()
	if text, status := clitest.Probe(health, "/healthz"); status != 0 {
		t.Errorf("after the stop: %d, %s", status, text)
	}
	p.LogIsJSON()
}

// newKeyFile writes a file with the output of "key new".
func newKeyFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker.key")
	if err := os.WriteFile(file, []byte(shell(nil).OK(t, "key", "new")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestServeNamesWhatIsInUse starts a second broker on the same store and addresses.
func TestServeNamesWhatIsInUse(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	address := clitest.FreeAddress(t)
	p, x := s.serve("--listen", address, "--health", "127.0.0.1:0")
	health := fmt.Sprint(p.Logs("health")["address"])
	for name, tt := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"the store":            {[]string{"--store", s.store}, cli.ExitFailed, []string{s.store, "in use", "another folder"}},
		"the address":          {[]string{"--store", t.TempDir(), "--listen", address}, cli.ExitFailed, []string{address, "address already in use", "--listen"}},
		"the health's address": {[]string{"--store", t.TempDir(), "--health", health}, cli.ExitFailed, []string{health, "--health", "another address"}},
		"no folder":            {[]string{"--store", t.TempDir(), "--secrets", filepath.Join(s.store, "nothing")}, cli.ExitUsage, []string{"--secrets", "nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second := clitest.Start(t, s.variables, append([]string{"serve", "--embedded"}, tt.args...)...)
			code, stderr := second.Exit(), second.Stderr.String()
			last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
			if code != tt.code || !strings.HasPrefix(last, "lessor: ") || strings.Count(stderr, "lessor: ") != 1 {
				t.Errorf("exit code %d, %q", code, stderr)
			}
			for _, words := range tt.want {
				if !strings.Contains(last, words) {
					t.Errorf("no %q in: %s", words, last)
				}
			}
		})
	}
	t.Run("meanwhile", func(t *testing.T) {
		t.Parallel()
		x.OK(t, "request", "ci", "-i", "alice")
	})
}
