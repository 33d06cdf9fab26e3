package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

// shell returns a terminal with these environment variables.
func shell(variables map[string]string) clitest.Terminal {
	return clitest.Terminal{Root: newRootCmd, Variables: variables}
}

// at returns a terminal whose commands connect to this NATS server, with the real time.
func at(url string) clitest.Terminal {
	x := shell(map[string]string{"NATS_URL": url})
	x.Clock = time.Now
	return x
}

// cannedBroker answers API requests with one lease of alice's. It returns a terminal, its
// connection, and the requests. Other tests run the real broker.
func cannedBroker(t *testing.T) (clitest.Terminal, *nats.Conn, chan *nats.Msg) {
	t.Helper()
	// Don't use the nats contexts of the user who runs the test.
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
	requests := make(chan *nats.Msg, 10)
	_, err = nc.Subscribe("lessor.api.>", func(m *nats.Msg) {
		requests <- m
		data, err := cannedReply(strings.Split(m.Subject, ".")).Encode()
		if err == nil {
			err = nc.PublishMsg(&nats.Msg{Subject: m.Reply, Reply: "lessor.confirm.alice.ci.01.tok", Data: data})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	return shell(map[string]string{"NATS_URL": s.URL()}), nc, requests
}

// cannedReply returns the reply to a request on this subject.
func cannedReply(subject []string) messages.Reply {
	lease := &messages.Lease{
		Name: "alice.ci.01", Identity: "alice", Secret: "ci", ID: "01", State: messages.StateActive, Username: "lessor-alice-1",
		AccessKeyID: "AKIA1", IssuedAt: clitest.Now.Add(-time.Minute), ExpiresAt: clitest.Now.Add(59 * time.Minute), MaxExpiresAt: clitest.Now.Add(24 * time.Hour),
		Labels: map[string]string{"job": "7", "branch": "main"},
	}
	switch verb := subject[2]; {
	case verb == "request" && subject[4] != "ci":
		return messages.ErrorReply(messages.Errorf(messages.CodeSecretNotFound, "there is no dynamic secret %q", subject[4]), nil)
	case verb == "request":
		return messages.Reply{Kind: messages.KindCredentials, Lease: lease, Credentials: &messages.Credentials{
			AccessKeyID: "AKIA1", SecretAccessKey: messages.NewSensitive("it's/secret"), Username: "lessor-alice-1", Region: "eu-central-1"}}
	case verb == "list" && subject[3] == "alice":
		return messages.Reply{Kind: messages.KindLeases, Leases: []messages.Lease{*lease}}
	case verb == "list":
		return messages.Reply{Kind: messages.KindLeases}
	default:
		kind := map[string]string{"renew": messages.KindRenewed, "revoke": messages.KindRevoked, "get": messages.KindLease}[verb]
		return messages.Reply{Kind: kind, Lease: lease}
	}
}

// TestWrongFlagsAreRefusedBeforeConnecting runs commands of requesters.
func TestWrongFlagsAreRefusedBeforeConnecting(t *testing.T) {
	// No server listens there: a command that tries to connect has another exit code.
	x := shell(map[string]string{"NATS_URL": "nats://127.0.0.1:1"})
	for args, want := range map[string]string{
		"request":                                   "takes one SECRET",
		"request ci more -i alice":                  "takes one SECRET",
		"request ci":                                "--identity or LESSOR_IDENTITY",
		"request ci -i Alice":                       "--identity may have only a-z",
		"request CI -i alice":                       "SECRET may have only a-z",
		"request ci -i alice --ttl 1x":              "--ttl",
		"request ci -i alice --ttl -5m":             "--ttl",
		"request ci -i alice --ready-within 61s":    "limit is 1m",
		"request ci -i alice --label job":           "key=value",
		"request ci -i alice --label a=1 --label a": "key=value",
		"request ci -i a --label a=1 --label a=2":   "twice",
		"request ci -i alice --label =1":            "--label",
		"request ci -i alice --output xml":          "credential-process",
		"request ci -i alice --output env --json":   "exclude",
		"request ci -i alice --idempotency-key ü":   "--idempotency-key",
		"request ci -i alice --timeout 0s":          "--timeout",
		"request ci -i alice --password x":          "--user",
		"request ci -i alice --tlscert x":           "--tlskey",
		"request ci -i alice --prefix A.b":          "--prefix",
		"renew alice.ci":                            "three parts",
		"renew alice.ci.01 -i bob":                  "belongs to",
		"revoke":                                    "takes one LEASE",
		"show a.b.C":                                "LEASE",
		"list more -i alice":                        "no arguments",
		"list -i alice --state gone":                "provisioning, active",
		"list -i alice --secret A":                  "--secret may have",
		"list -i alice --limit -1":                  "--limit",
		"events --type gone":                        "issued, confirmed",
		"events --since yesterday":                  "--since",
		"events --since 2026-11-22T22:00:01Z":       "in the future",
		"events --lease alice":                      "--lease",
		"events --nonsense":                         "events --help",
		"nonsense":                                  "lessor --help",
	} {
		stdout, stderr, code := x.Run(t.Context(), strings.Fields(args)...)
		if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "lessor: ") {
			t.Errorf("lessor %s: exit code %d, %q; want 2 and one line with %q", args, code, stderr, want)
		}
	}
	long := strings.Repeat("x", messages.MaxReason+1)
	if _, stderr, code := x.Run(t.Context(), "revoke", "alice.ci.01", "--reason", long); code != cli.ExitUsage {
		t.Errorf("a long reason: %d, %s", code, stderr)
	}
}

// failingWriter is a standard output that was closed.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestRequesterCommands(t *testing.T) {
	x, _, requests := cannedBroker(t)
	for args, want := range map[string]struct{ stdout, subject, body string }{
		"renew alice.ci.01 --ttl 1h --clamp":       {"expires          2026-11-22T22:59:00Z (in 59m)\n", "lessor.api.renew.alice.ci.01", `{"ttl":"1h","clamp":true}`},
		"revoke alice.ci.01 --reason done":         {"lease            alice.ci.01\n", "lessor.api.revoke.alice.ci.01", `{"reason":"done"}`},
		"show alice.ci.01":                         {"labels           branch=main job=7\n", "lessor.api.get.alice.ci.01", ``},
		"show alice.ci.01 --json":                  {`{"kind":"lease","lease":{"name":"alice.ci.01"`, "lessor.api.get.alice.ci.01", ``},
		"list -i alice":                            {"alice.ci.01  active  AKIA1          2026-11-22T22:59:00Z (in 59m)  branch=main job=7\n", "lessor.api.list.alice", `{}`},
		"list -i bob --json":                       {`{"kind":"leases","leases":[]}` + "\n", "lessor.api.list.bob", `{}`},
		"list -i alice --secret ci --state failed": {"LEASE", "lessor.api.list.alice", `{"secret":"ci","state":"failed"}`},
	} {
		stdout, stderr, code := x.Run(t.Context(), strings.Fields(args)...)
		if code != cli.ExitOK || !strings.Contains(stdout, want.stdout) {
			t.Errorf("lessor %s: exit code %d, %s\n%s", args, code, stderr, stdout)
			continue
		}
		if m := <-requests; m.Subject != want.subject || string(m.Data) != want.body {
			t.Errorf("lessor %s: sent %s %s", args, m.Subject, m.Data)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	x, _, _ := cannedBroker(t)
	_, stderr, code := x.Run(t.Context(), "request", "prod", "-i", "alice")
	if want := "lessor: secret_not_found: there is no dynamic secret \"prod\"; ask the broker's operator for the secret's name\n"; code != cli.ExitFailed || stderr != want {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	x.Variables["NATS_URL"] = "nats://bob:geheim@127.0.0.1:1"
	_, stderr, code = x.Run(t.Context(), "list", "-i", "alice")
	if want := "lessor: no NATS server answers at nats://127.0.0.1:1; start one, or name another with --server or --context\n"; code != cli.ExitFailed || stderr != want {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// decode parses JSON that a command printed.
func decode(t *testing.T, data string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, data))
	}
	return v
}
