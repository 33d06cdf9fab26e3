package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// demoSteps are the steps of the demo.
var demoSteps = []string{
	"1. alice publishes a request",
	"2. She uses it",
	"3. She renews",
	"4. She requests more time than the secret allows",
	"5. A lease of three seconds",
	"6. She no longer needs the first lease",
	"7. A requester disconnects before the reply",
	"8. What is left",
}

// secretShape matches what looks like a secret access key: forty characters of base64.
var secretShape = regexp.MustCompile(`(?:^|[^A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?:$|[^A-Za-z0-9/+])`)

func TestDemoShowsAllSteps(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := shell(nil).Run(t.Context(), "demo", "--verbose")
	if code != cli.ExitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	rest := stdout
	for _, step := range append(demoSteps, "IAM users: 0", "Every step succeeded") {
		_, after, found := strings.Cut(rest, step)
		if !found {
			t.Fatalf("%q is missing or in the wrong place:\n%s", step, stdout)
		}
		rest = after
	}
	if strings.Contains(rest, "9. ") {
		t.Errorf("there are more steps:\n%s", rest)
	}
	if !strings.Contains(stderr, `"message":`) {
		t.Error("--verbose shows no log")
	}
	_, secret := iamsim.New(iamsim.Options{}).AddPrincipal("other")
	if !secretShape.MatchString("secret " + secret + ".") {
		t.Fatalf("a secret of %d characters would not be found", len(secret))
	}
	for name, text := range map[string]string{"stdout": stdout, "stderr": stderr} {
		if found := secretShape.FindString(text); found != "" {
			t.Errorf("%s has something that looks like a secret: %s", name, found)
		}
	}
}

// stopOn calls stop when these words were written.
type stopOn struct {
	clitest.Buffer
	words string
	stop  func()
}

func (s *stopOn) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), s.words) {
		s.stop()
	}
	return n, err
}

func TestDemoNamesTheStepThatFailed(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &stopOn{words: "\n3. ", stop: stop}
	x := shell(nil)
	x.Stdout = out
	_, stderr, code := x.Run(ctx, "demo")
	if code != cli.ExitFailed || stderr != "lessor: the demo was interrupted at step 3\n" || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if strings.Contains(out.String(), "4. ") || strings.Contains(out.String(), "Every step succeeded") {
		t.Errorf("it continues:\n%s", out)
	}
}

// TestDemoFailsIfUsersAreLeft runs the demo in an account with another user: only the last
// step fails. No issued secret key is printed or logged.
func TestDemoFailsIfUsersAreLeft(t *testing.T) {
	t.Parallel()
	var printed, log clitest.Buffer
	s, err := sandbox.Start(t.Context(), sandbox.Options{MinTTL: messages.Duration(time.Second), Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // everything in it is thrown away
	d := &demo{out: &printed, s: s}
	if d.nc, err = s.NATS.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.nc.Close)
	if d.js, err = jetstream.New(d.nc); err != nil {
		t.Fatal(err)
	}
	s.Sim.AddUser("other-user", "/", nil)
	if err := d.run(t.Context()); err == nil || d.steps != len(demoSteps) || !strings.Contains(err.Error(), "AWS still has other-user") {
		t.Errorf("step %d: %v\n%s", d.steps, err, &printed)
	}
	secrets := s.Sim.IssuedSecrets()
	if len(secrets) != 3 {
		t.Errorf("AWS issued %d keys, the demo leases three", len(secrets))
	}
	for _, secret := range secrets {
		if strings.Contains(printed.String(), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("a secret key is shown:\n%s%s", &printed, &log)
		}
	}
}
