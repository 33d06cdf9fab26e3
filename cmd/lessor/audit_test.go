//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// TestAuditVerifyFindsForgedAndMissingEvents verifies the events of a broker, and then
// finds a forged one.
func TestAuditVerifyFindsForgedAndMissingEvents(t *testing.T) {
	s := newProcesses(t)
	_, x := s.serve()
	lease := x.Reply(t, "request", "ci", "--identity", "alice")
	x.OK(t, "revoke", lease.Lease.Name, "--identity", "alice")
	x.OK(t, "secret", "check", "ci", "--operator", "kim")

	keyFile := filepath.Join(s.store, keyfile.Name)
	key := strings.TrimSpace(x.OK(t, "audit", "keys", "--key-file", keyFile))
	out := x.OK(t, "audit", "verify", "--key", key)
	if !strings.Contains(out, "events, 1 to ") || !strings.Contains(out, "marks") {
		t.Errorf("it prints %s", out)
	}
	var result client.Audit
	if err := json.Unmarshal([]byte(x.OK(t, "audit", "verify", "--key-file", keyFile, "--json")), &result); err != nil || result.Events < 4 {
		t.Fatalf("%+v, %v", result, err)
	}
	events := x.OK(t, "events", "--no-follow", "--type", "command")
	if lines := strings.Split(strings.TrimSpace(events), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "secret-check asked  by=kim  secret=ci") ||
		!strings.Contains(lines[1], "secret-check done  by=kim") {
		t.Errorf("the events are %s", events)
	}

	js, err := jetstream.New(x.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	name := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "made-up"}
	if _, err := js.Publish(t.Context(), messages.Namespace{}.Event(name, messages.EventRevoked), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := x.Run(t.Context(), "audit", "verify", "--key", key, "--at-least", "1000")
	if code != cli.ExitFailed || !strings.Contains(stderr, "2 findings") || !strings.Contains(stdout, "forged") || !strings.Contains(stdout, "tail") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestAuditRefusesWrongFlags(t *testing.T) {
	seed, err := messages.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "broker.key")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"audit verify":                                   "--key or --key-file is missing",
		"audit verify --key x":                           "--key",
		"audit verify --key x --key-file " + file:        "exclude each other",
		"audit verify --key-file " + file + ".not-there": "key",
		"audit keys":                                     "--key-file is missing",
	} {
		_, stderr, code := shell(nil).Run(t.Context(), strings.Fields(args)...)
		if code == cli.ExitOK || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
		if strings.Contains(stderr, string(seed)) {
			t.Errorf("%s: the key is shown", args)
		}
	}
}
