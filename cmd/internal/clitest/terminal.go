package clitest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
)

// Now is the time at a [Terminal] without a clock of its own.
var Now = time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)

// Terminal runs commands of a program in the test's process.
type Terminal struct {
	// Root returns the root command of the program.
	Root func(*cli.Environment) *cobra.Command
	// Program is the program's name; "" is "lessor".
	Program string
	// Variables are the environment variables.
	Variables map[string]string
	Stdin     string
	// Interactive makes the standard streams look like terminals.
	Interactive bool
	// Stdout and Stderr receive the output; nil makes Run return it.
	Stdout, Stderr io.Writer
	// Clock is the clock; nil is one that always returns [Now].
	Clock func() time.Time
}

// Run runs a command and returns what it prints and its exit code.
func (x Terminal) Run(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs Buffer
	env := &cli.Environment{
		Stdin: strings.NewReader(x.Stdin), Stdout: &out, Stderr: &errs, Program: x.Program,
		Getenv:   func(name string) string { return x.Variables[name] },
		Now:      func() time.Time { return Now },
		Terminal: func(any) bool { return x.Interactive },
	}
	if x.Stdout != nil {
		env.Stdout = x.Stdout
	}
	if x.Stderr != nil {
		env.Stderr = x.Stderr
	}
	if x.Clock != nil {
		env.Now = x.Clock
	}
	code = cli.Run(ctx, env, x.Root(env), args)
	return out.String(), errs.String(), code
}

// OK runs a command, which must succeed, and returns what it prints.
func (x Terminal) OK(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	stdout, stderr, code := x.Run(ctx, args...)
	if code != cli.ExitOK {
		t.Fatalf("lessor %s: exit code %d, %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// Reply is OK for a command with --json.
func (x Terminal) Reply(t testing.TB, args ...string) messages.Reply {
	t.Helper()
	out := x.OK(t, append(args, "--json")...)
	r, err := messages.DecodeReply([]byte(out))
	if err != nil {
		t.Fatalf("lessor %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return r
}

// Connect connects to the server in the variable NATS_URL; see [Connect].
func (x Terminal) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	return Connect(t, x.Variables["NATS_URL"])
}

// Connect connects to a NATS server. The connection reconnects after a restart of the
// server, and is closed when the test ends.
func Connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
