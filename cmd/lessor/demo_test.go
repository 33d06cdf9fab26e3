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

// demoSteps are what the demo tells.
var demoSteps = []string{
	"1. alice publishes a request",
	"2. She uses it",
	"3. She renews",
	"4. She asks for more time than the secret allows",
	"5. A lease of three seconds",
	"6. She is done before her time",
	"7. Somebody asks and goes away",
	"8. What is left",
}

// secretShape is what a secret access key looks like: forty characters of
// base64, and none beside them.
var secretShape = regexp.MustCompile(`(?:^|[^A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?:$|[^A-Za-z0-9/+])`)

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := shell(nil).Run(t.Context(), "demo", "--verbose")
	if code != cli.ExitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	rest := stdout
	for _, step := range append(demoSteps, "IAM users: 0", "Every step held") {
		_, after, told := strings.Cut(rest, step)
		if !told {
			t.Fatalf("%q is not told, or not in its place:\n%s", step, stdout)
		}
		rest = after
	}
	if strings.Contains(rest, "9. ") {
		t.Errorf("there are more steps:\n%s", rest)
	}
	if !strings.Contains(stderr, `"message":`) {
		t.Error("--verbose shows no log")
	}
	_, secret := iamsim.New(iamsim.Options{}).AddPrincipal("somebody")
	if !secretShape.MatchString("secret " + secret + ".") {
		t.Fatalf("a secret of %d characters would not be found", len(secret))
	}
	for name, text := range map[string]string{"stdout": stdout, "stderr": stderr} {
		if found := secretShape.FindString(text); found != "" {
			t.Errorf("%s has something that looks like a secret: %s", name, found)
		}
	}
}

// stopOn ends the program when it has said these words.
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

func TestDemoSaysWhichStepFailed(t *testing.T) {
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
	if strings.Contains(out.String(), "4. ") || strings.Contains(out.String(), "Every step held") {
		t.Errorf("it goes on:\n%s", out)
	}
}

// TestDemoShowsWhatAWSHolds tells the story over an account in which somebody
// else has a user: only the last step can't hold. The simulator says which keys
// it issued; none is in what was told or logged.
func TestDemoShowsWhatAWSHolds(t *testing.T) {
	t.Parallel()
	var told, log clitest.Buffer
	s, err := sandbox.Start(t.Context(), sandbox.Options{MinTTL: messages.Duration(time.Second), Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // everything in it is thrown away
	d := &demo{out: &told, s: s}
	if d.nc, err = s.NATS.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.nc.Close)
	if d.js, err = jetstream.New(d.nc); err != nil {
		t.Fatal(err)
	}
	s.Sim.AddUser("somebody-else", "/", nil)
	if err := d.tell(t.Context()); err == nil || d.steps != len(demoSteps) || !strings.Contains(err.Error(), "AWS still holds somebody-else") {
		t.Errorf("step %d: %v\n%s", d.steps, err, &told)
	}
	secrets := s.Sim.IssuedSecrets()
	if len(secrets) != 3 {
		t.Errorf("AWS issued %d keys, the story has three", len(secrets))
	}
	for _, secret := range secrets {
		if strings.Contains(told.String(), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("a secret is told:\n%s%s", &told, &log)
		}
	}
}
