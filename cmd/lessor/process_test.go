//go:build unix

package main

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
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// transcript is what a process writes, as it comes.
type transcript struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed with the next write
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.b.Write(p)
}

func (s *transcript) read() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String(), s.more
}

func (s *transcript) String() string {
	text, _ := s.read()
	return text
}

// process is a running lessor.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *transcript
	ended          chan struct{}
}

// start starts lessor with these variables. It ends with the test.
func start(t testing.TB, variables map[string]string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self, args...), stdout: newTranscript(), stderr: newTranscript(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	home := t.TempDir() // without contexts of the nats command
	p.cmd.Env = append(os.Environ(), beProgram+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home)
	for name, value := range variables {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.SysProcAttr = dieWithTests()
	started := make(chan error)
	onOneThread <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		var exit *exec.ExitError
		if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Errorf("wait for lessor: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended, or does now
		<-p.ended
		if t.Failed() {
			t.Logf("lessor %s\n%s", strings.Join(args, " "), p.story())
		}
	})
	return p
}

// story is what the process wrote, without the NATS server's chatter.
func (p *process) story() string {
	var b strings.Builder
	for line := range strings.Lines(p.stdout.String() + p.stderr.String()) {
		server := strings.Contains(line, `"component":"nats-server"`)
		if !server || strings.HasPrefix(line, `{"level":"warn"`) || strings.HasPrefix(line, `{"level":"error"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// says waits for a whole line with these words and returns it.
func (p *process) says(s *transcript, words string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		text, more := s.read()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, words) {
				return strings.TrimSuffix(line, "\n")
			}
		}
		select {
		case <-more:
		case <-p.ended:
			if text == s.String() {
				p.t.Fatalf("lessor has ended without saying %q", words)
			}
		case <-timeout:
			p.t.Fatalf("lessor does not say %q", words)
		}
	}
}

// logs waits for a line of the log with this message and returns its fields.
func (p *process) logs(message string) map[string]any {
	p.t.Helper()
	encoded, err := json.Marshal(message)
	if err != nil {
		p.t.Fatal(err)
	}
	var fields map[string]any
	line := p.says(p.stderr, `"message":`+string(encoded))
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		p.t.Fatalf("%v: %s", err, line)
	}
	return fields
}

// signal sends a signal, to this process alone.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code; it is -1 after SIGKILL.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(2 * patience):
		p.t.Fatal("lessor does not end")
		return 0
	}
}

// stop ends the process in good order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitOK {
		p.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// kill ends the process with no chance to do anything more.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	if code := p.exit(); code != -1 {
		p.t.Fatalf("exit code %d after SIGKILL", code)
	}
}

// logIsJSON checks that every line of the log is an object with a level, a time
// and a message. The NATS server's own greeting has empty lines.
func (p *process) logIsJSON() {
	p.t.Helper()
	lines := 0
	for line := range strings.Lines(p.stderr.String()) {
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
		p.t.Error("there is no log")
	}
}
