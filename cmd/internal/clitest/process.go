//go:build unix

package clitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/proc"
)

// Transcript is the output of a process so far.
type Transcript struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed with the next write
}

func newTranscript() *Transcript { return &Transcript{more: make(chan struct{})} }

// Write implements [io.Writer].
func (s *Transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.b.Write(p)
}

// read returns the output, and a channel that is closed when there is more.
func (s *Transcript) read() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String(), s.more
}

// String returns the output.
func (s *Transcript) String() string {
	text, _ := s.read()
	return text
}

// Process is a child process that is the program under test.
type Process struct {
	t              testing.TB
	Cmd            *exec.Cmd
	Stdout, Stderr *Transcript
	Ended          chan struct{} // closed when the process has ended
}

// output returns what the process wrote, without the log of the NATS server below
// warnings.
func (p *Process) output() string {
	var b strings.Builder
	for line := range strings.Lines(p.Stdout.String() + p.Stderr.String()) {
		server := strings.Contains(line, `"component":"nats-server"`)
		if !server || strings.HasPrefix(line, `{"level":"warn"`) || strings.HasPrefix(line, `{"level":"error"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Says waits for a whole line with these words in the output and returns it.
func (p *Process) Says(s *Transcript, words string) string {
	p.t.Helper()
	timeout := time.After(Patience)
	for {
		text, more := s.read()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, words) {
				return strings.TrimSuffix(line, "\n")
			}
		}
		select {
		case <-more:
		case <-p.Ended:
			if text == s.String() {
				p.t.Fatalf("the process has ended without writing %q", words)
			}
		case <-timeout:
			p.t.Fatalf("the process does not write %q", words)
		}
	}
}

// Logs waits for a line of the log with a message and returns its fields.
func (p *Process) Logs(message string) map[string]any {
	p.t.Helper()
	encoded, err := json.Marshal(message)
	if err != nil {
		p.t.Fatal(err)
	}
	var fields map[string]any
	line := p.Says(p.Stderr, `"message":`+string(encoded))
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		p.t.Fatalf("%v: %s", err, line)
	}
	return fields
}

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Exit waits until the process ends and returns its exit code, which is -1 after SIGKILL.
func (p *Process) Exit() int {
	p.t.Helper()
	select {
	case <-p.Ended:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(2 * Patience):
		p.t.Fatal("the process does not end")
		return 0
	}
}

// Stop stops the process with SIGTERM, which must succeed.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Exit(); code != cli.ExitOK {
		p.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// Kill kills the process with SIGKILL.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	if code := p.Exit(); code != -1 {
		p.t.Fatalf("exit code %d after SIGKILL", code)
	}
}

// LogIsJSON checks that every line of the log is a JSON object with a level, a time and a
// message. Only the NATS server may have empty messages.
func (p *Process) LogIsJSON() {
	p.t.Helper()
	lines := 0
	for line := range strings.Lines(p.Stderr.String()) {
		lines++
		var fields struct {
			Level, Message, Component string
			Time                      time.Time
		}
		err := json.Unmarshal([]byte(line), &fields)
		if err == nil && (fields.Time.IsZero() || !slices.Contains([]string{"debug", "info", "warn", "error"}, fields.Level) ||
			fields.Message == "" && fields.Component != "nats-server") {
			err = fmt.Errorf("level %q, message %q, time %s", fields.Level, fields.Message, fields.Time)
		}
		if err != nil {
			p.t.Errorf("a line of the log: %v: %s", err, line)
		}
	}
	if lines == 0 {
		p.t.Error("the log is empty")
	}
}

// Start starts the program under test as a child process with the variables. It is killed
// when the test ends. If the test has failed, its output is logged.
func Start(t testing.TB, variables map[string]string, args ...string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, Cmd: exec.Command(self, args...), Stdout: newTranscript(), Stderr: newTranscript(), Ended: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = p.Stdout, p.Stderr
	home := t.TempDir() // has no contexts of the nats command
	p.Cmd.Env = append(os.Environ(), runProgram+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home)
	for name, value := range variables {
		p.Cmd.Env = append(p.Cmd.Env, name+"="+value)
	}
	if err := proc.StartCommand(p.Cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.Ended)
		var exit *exec.ExitError
		if err := p.Cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Errorf("wait for the process: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = p.Cmd.Process.Kill() // it may have ended already
		<-p.Ended
		if t.Failed() {
			t.Logf("process %s\n%s", strings.Join(args, " "), p.output())
		}
	})
	return p
}
