package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
)

func TestRequestOutputs(t *testing.T) {
	x, nc, requests := cannedBroker(t)
	x.Variables["LESSOR_IDENTITY"] = "alice"
	confirmed, err := nc.SubscribeSync("lessor.confirm.>")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	request := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := x.Run(t.Context(), append([]string{"request", "ci"}, args...)...)
		if code != cli.ExitOK || strings.Contains(stderr, "secret") {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if _, err := confirmed.NextMsg(10 * time.Second); err != nil {
			t.Errorf("not confirmed: %v", err)
		}
		return stdout
	}

	text := request("--ttl", "15m", "--label", "job=7", "--label", "branch=a=b", "--ready-within", "20s", "--idempotency-key", "k")
	if want := `lease              alice.ci.01
access key id      AKIA1
secret access key  it's/secret
region             eu-central-1
user               lessor-alice-1
expires            2026-11-22T22:59:00Z (in 59m)
`; text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	m := <-requests
	r, err := messages.DecodeLeaseRequest(m.Data)
	if err != nil || r.TTL.Std() != 15*time.Minute || !r.Confirm || r.ReadyWithin.Std() != 20*time.Second || r.Labels["job"] != "7" || r.Labels["branch"] != "a=b" {
		t.Errorf("requested %s: %v", m.Data, err)
	}
	if m.Header.Get(messages.HeaderIdempotencyKey) != "k" {
		t.Errorf("headers %v", m.Header)
	}

	shell := exec.CommandContext(t.Context(), "sh", "-c", request("--output", "env")+`printf '%s|%s|%s|%s|%s' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN" "$AWS_REGION" "$LESSOR_LEASE"`)
	shell.Env = append(shell.Environ(), "AWS_SESSION_TOKEN=left over")
	out, err := shell.Output()
	if want := "AKIA1|it's/secret||eu-central-1|alice.ci.01"; err != nil || string(out) != want {
		t.Errorf("the shell has %s, %v", out, err)
	}

	reply := decode(t, request("--json"))
	if c, ok := reply["credentials"].(map[string]any); !ok || reply["kind"] != "credentials" || c["secret_access_key"] != "it's/secret" {
		t.Errorf("json: %v", reply)
	}
	process := decode(t, request("-o", "credential-process"))
	if process["Version"] != 1.0 || process["AccessKeyId"] != "AKIA1" || process["SecretAccessKey"] != "it's/secret" || process["Expiration"] != "2026-11-22T22:59:00Z" {
		t.Errorf("credential process: %v", process)
	}
}

func TestSealedRequestRefusesKeyInClear(t *testing.T) {
	x, _, _ := cannedBroker(t)
	stdout, stderr, code := x.Run(t.Context(), "request", "ci", "-i", "alice", "--sealed")
	if code != cli.ExitFailed || stdout != "" || !strings.Contains(stderr, "not sealed as requested") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestLeaseIsRevokedIfItsKeyCantBePrinted(t *testing.T) {
	x, _, requests := cannedBroker(t)
	x.Stdout = failingWriter{}
	_, stderr, code := x.Run(t.Context(), "request", "ci", "-i", "alice")
	if code != cli.ExitFailed || !strings.Contains(stderr, "was revoked") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	<-requests
	if m := <-requests; m.Subject != "lessor.api.revoke.alice.ci.01" {
		t.Errorf("requested %s", m.Subject)
	}
}
