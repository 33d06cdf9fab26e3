//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

// startDev starts dev on free ports and waits until it has printed what to try.
func startDev(t *testing.T, s *processes, args ...string) (p *clitest.Process, printed string, x clitest.Terminal) {
	t.Helper()
	for _, flag := range []string{"--listen", "--iam-listen"} {
		if !slices.Contains(args, flag) {
			args = append(args, flag, "127.0.0.1:0")
		}
	}
	p = s.start(nil, append([]string{"dev"}, args...)...)
	p.Says(p.Stdout, "Stop it with Ctrl-C.")
	printed = p.Stdout.String()
	return p, printed, at(submatch(t, printed, `(?m)^  export NATS_URL=(\S+)$`))
}

// submatch returns what the group of the expression matches in the text.
func submatch(t *testing.T, text, expression string) string {
	t.Helper()
	found := regexp.MustCompile(expression).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("%s does not match:\n%s", expression, text)
	}
	return found[1]
}

// TestCommandsThatDevPrintsWork runs every command that dev prints.
func TestCommandsThatDevPrintsWork(t *testing.T) {
	t.Parallel()
	p, printed, x := startDev(t, newProcesses(t))
	for _, line := range []string{"NATS    " + x.Variables["NATS_URL"], "secret  demo"} {
		if !strings.Contains(printed, line+"\n") {
			t.Errorf("it does not print %q:\n%s", line, printed)
		}
	}
	commands := regexp.MustCompile(`go run \./cmd/lessor ([^)\n]*)`).FindAllStringSubmatch(printed, -1)
	ran := map[string]string{}
	for _, c := range commands {
		args := strings.Fields(c[1])
		ran[args[0]] = x.OK(t, args...)
		if strings.HasSuffix(c[1], "--output env") {
			checkExports(t, ran[args[0]], submatch(t, printed, `AWS_ENDPOINT_URL=(\S+) aws sts get-caller-identity`))
		}
	}
	if got := slices.Sorted(maps.Keys(ran)); !slices.Equal(got, []string{"events", "list", "request"}) {
		t.Errorf("it names the commands %q", got)
	}
	if !strings.Contains(ran["list"], "alice.demo.") || !strings.Contains(ran["events"], "issued") {
		t.Errorf("list and events:\n%s%s", ran["list"], ran["events"])
	}
	requests := regexp.MustCompile(`nats req (?:--timeout 30s )?(\S+) '(.*)'`).FindAllStringSubmatch(printed, -1)
	if len(requests) != 2 {
		t.Errorf("it names %d plain requests", len(requests))
	}
	for _, r := range requests {
		oneReply(t, x.Connect(t), r[1], r[2])
	}
	p.Signal(syscall.SIGINT) // Ctrl-C
	if code := p.Exit(); code != cli.ExitOK || p.Stderr.String() != "lessor: stopping\n" {
		t.Errorf("exit code %d, %s", code, p.Stderr)
	}
}

// checkExports checks that a shell with these exports has a key that AWS accepts.
func checkExports(t *testing.T, exports, endpoint string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", exports+`printf '%s %s' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	id, secret, _ := strings.Cut(string(out), " ")
	arn, err := callerIdentity(t.Context(), endpoint, id, secret)
	if err != nil || !strings.Contains(arn, ":user/lessor/demo/demo-alice-") {
		t.Errorf("STS at %s says %q, %v", endpoint, arn, err)
	}
}

// oneReply sends a plain NATS request and checks that there is exactly one reply.
func oneReply(t *testing.T, nc *nats.Conn, subject, body string) messages.Reply {
	t.Helper()
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err == nil {
		err = nc.PublishRequest(subject, inbox.Subject, []byte(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	msg, err := inbox.NextMsg(clitest.Patience)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err != nil || r.Kind == messages.KindError {
		t.Fatalf("%s: %v: %s", subject, err, msg.Data)
	}
	// Nothing announces that there are no more replies. An acknowledgement of the stream
	// would come before the worker's reply.
	if more, err := inbox.NextMsg(300 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("%s: another reply: %v, %v", subject, more, err)
	}
	return r
}

func TestRequesterCommandsWithABroker(t *testing.T) {
	t.Parallel()
	_, printed, x := startDev(t, newProcesses(t))
	endpoint := submatch(t, printed, `(?m)^AWS     (\S+) `)
	accepts := func(id, secret string) {
		t.Helper()
		if _, err := callerIdentity(t.Context(), endpoint, id, secret); err != nil {
			t.Errorf("STS: %v", err)
		}
	}

	text := x.OK(t, "request", "demo", "-i", "alice", "--ttl", "5m", "--label", "job=7")
	accepts(submatch(t, text, `access key id +(\S+)`), submatch(t, text, `secret access key +(\S+)`))
	first := submatch(t, text, `lease +(\S+)`)
	var process struct{ AccessKeyId, SecretAccessKey string }
	if err := json.Unmarshal([]byte(x.OK(t, "request", "demo", "-i", "alice", "-o", "credential-process")), &process); err != nil {
		t.Fatal(err)
	}
	accepts(process.AccessKeyId, process.SecretAccessKey)
	for _, args := range [][]string{{"--json"}, {"--output", "json"}, {"--json", "--sealed"}, {"--json", "--ready-within", "10s"}, {"--json", "--confirm=false"}} {
		out := x.OK(t, append([]string{"request", "demo", "-i", "alice"}, args...)...)
		r, err := messages.DecodeReply([]byte(out))
		if err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
		accepts(r.Credentials.AccessKeyID, r.Credentials.SecretAccessKey.Reveal())
		if waits := slices.Contains(args, "--ready-within"); waits != (r.Ready != nil) || waits && !*r.Ready {
			t.Errorf("%q: ready is %v", args, r.Ready)
		}
	}
	oneReply(t, x.Connect(t), "lessor.api.request.alice.demo", "")

	if l := x.Reply(t, "show", first); l.Lease.State != messages.StateActive || l.Lease.Labels["job"] != "7" {
		t.Errorf("show: %+v", l.Lease)
	}
	before := x.Reply(t, "show", first).Lease.ExpiresAt
	if l := x.Reply(t, "renew", first, "--ttl", "30m").Lease; l.Renewals != 1 || !l.ExpiresAt.After(before) {
		t.Errorf("renew: %+v", l)
	}
	if got := len(x.Reply(t, "list", "-i", "alice").Leases); got != 8 {
		t.Errorf("list: %d leases, not 8", got)
	}
	if l := x.Reply(t, "revoke", first, "--reason", "done").Lease; l.State != messages.StateRevoked || l.Reason != messages.ReasonRequested {
		t.Errorf("revoke: %+v", l)
	}
	if _, err := callerIdentity(t.Context(), endpoint, submatch(t, text, `access key id +(\S+)`), submatch(t, text, `secret access key +(\S+)`)); err == nil {
		t.Error("STS accepts a revoked key")
	}
	var types []string
	for line := range strings.Lines(x.OK(t, "events", "--no-follow", "--lease", first)) {
		types = append(types, strings.Fields(line)[1])
	}
	if want := []string{"issued", "confirmed", "renewed", "revoked"}; !slices.Equal(types, want) {
		t.Errorf("events: %q, not %q", types, want)
	}
	if _, stderr, code := x.Run(t.Context(), "renew", first); code != cli.ExitFailed || !strings.Contains(stderr, "lease_ended") {
		t.Errorf("renew an ended lease: %d, %s", code, stderr)
	}
	if _, stderr, code := x.Run(t.Context(), "request", "demo", "-i", "alice", "--ttl", "2h"); code != cli.ExitFailed || !strings.Contains(stderr, "a shorter --ttl") {
		t.Errorf("a ttl that is too long: %d, %s", code, stderr)
	}
}

// TestDevKeepsLeasesInItsStore restarts dev on its store. The AWS account is the test's,
// since dev's simulated account does not survive a restart.
func TestDevKeepsLeasesInItsStore(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	endpoint := s.variables["AWS_ENDPOINT_URL"]
	delete(s.variables, "AWS_ENDPOINT_URL") // the flag is used
	p, printed, x := startDev(t, s, "--store", s.store, "--iam-endpoint", endpoint)
	if !strings.Contains(printed, endpoint) {
		t.Errorf("it does not name its endpoint %s:\n%s", endpoint, printed)
	}
	lease := x.Reply(t, "request", "demo", "-i", "alice").Lease
	if n := s.sim.UserCount(); n != 1 {
		t.Errorf("the AWS account has %d users", n)
	}
	p.Stop()

	p, _, x = startDev(t, s, "--store", s.store, "--iam-endpoint", endpoint)
	if all := x.Reply(t, "list", "-i", "alice").Leases; len(all) != 1 || all[0].Name != lease.Name || !all[0].ExpiresAt.Equal(lease.ExpiresAt) {
		t.Errorf("after the restart: %+v, not %+v", all, lease)
	}
	x.OK(t, "renew", lease.Name, "--ttl", "30m")
	x.OK(t, "revoke", lease.Name)
	if n := s.sim.UserCount(); n != 0 {
		t.Errorf("%d users are left in AWS", n)
	}
	events := x.OK(t, "events", "--no-follow", "--json")
	p.Stop()
	s.searchAll(s.store, events, lease.AccessKeyID)
}

// TestDevNamesWhatIsInUse starts dev twice on the same store and addresses.
func TestDevNamesWhatIsInUse(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	store, listen, iam := t.TempDir(), clitest.FreeAddress(t), clitest.FreeAddress(t)
	startDev(t, s, "--store", store, "--listen", listen, "--iam-listen", iam)
	const free = "127.0.0.1:0"
	for name, tt := range map[string]struct {
		args []string
		want []string
		not  string
	}{
		"the store":      {[]string{"--store", store, "--listen", free, "--iam-listen", free}, []string{filepath.Join(store, "nats"), "in use", "another folder"}, "--listen"},
		"NATS's address": {[]string{"--listen", listen, "--iam-listen", free}, []string{listen, "address already in use", "--listen"}, "--iam-listen"},
		"AWS's address":  {[]string{"--listen", free, "--iam-listen", iam}, []string{iam, "address already in use", "--iam-listen"}, " --listen"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := clitest.Start(t, nil, append([]string{"dev"}, tt.args...)...)
			code, stderr := p.Exit(), p.Stderr.String()
			if code != cli.ExitFailed || strings.Count(stderr, "lessor: ") != 1 || strings.Contains(stderr, tt.not) || p.Stdout.String() != "" {
				t.Errorf("exit code %d, %q", code, stderr)
			}
			for _, words := range tt.want {
				if !strings.Contains(stderr, words) {
					t.Errorf("it does not print %q: %s", words, stderr)
				}
			}
		})
	}
}

// callerIdentity returns the ARN of a key's user, from STS.
func callerIdentity(ctx context.Context, endpoint, id, secret string) (string, error) {
	if id == "" || secret == "" {
		return "", fmt.Errorf("there is no key: %q", id)
	}
	out, err := sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}
