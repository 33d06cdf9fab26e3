package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// soakProcess is one of a soak's processes. It can be killed and started again,
// and writes on in the same log.
type soakProcess struct {
	name, dir string
	args, env []string
	tally     *soakTally

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{}
	wanted  bool // it is to run; an end then is its own
	started time.Time
}

// soakThread starts processes on one thread that lives as long as this process:
// a child that is to die with its parent dies, on Linux, with the thread that
// started it.
var soakThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// logFile is where the process writes.
func (p *soakProcess) logFile() string { return filepath.Join(p.dir, p.name+".log") }

func (p *soakProcess) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	_, _ = fmt.Fprintf(log, "{\"level\":\"info\",\"time\":%q,\"message\":\"soak: started\"}\n", time.Now().Format(time.RFC3339))
	cmd := exec.Command(self, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(soakEnv(p.dir), p.env...)
	cmd.SysProcAttr = dieWithParent()
	failed := make(chan error)
	soakThread() <- func() { failed <- cmd.Start() }
	if err := <-failed; err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.cmd, p.ended, p.wanted, p.started = cmd, make(chan struct{}), true, time.Now()
	go p.wait(cmd, p.ended)
	return nil
}

// wait notes the end. A process that ends by itself is started again: its end
// counts, unless it never got up because NATS was away.
func (p *soakProcess) wait(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // how it ended, its state says
	p.mu.Lock()
	p.cmd = nil
	again, lived := p.wanted, time.Since(p.started)
	p.mu.Unlock()
	close(ended)
	if !again {
		return
	}
	p.tally.violated("died", p.name, "%s after %s; see %s", cmd.ProcessState, lived.Round(time.Millisecond), p.logFile())
	time.Sleep(200 * time.Millisecond)
	p.mu.Lock()
	again = p.wanted
	p.mu.Unlock()
	if again {
		_ = p.start() // the readiness after the healing tells
	}
}

// end ends the process as that function does, and returns how it ended; nil where
// it was not running.
func (p *soakProcess) end(how func(*os.Process) error) *os.ProcessState {
	p.mu.Lock()
	p.wanted = false
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if how(cmd.Process) != nil {
		_ = cmd.Process.Kill()
	}
	select {
	case <-ended:
	case <-time.After(stopTimeout + 15*time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	return cmd.ProcessState
}

// kill ends the process with no chance to do anything more. It returns how many that
// were: 0 where it was not running.
func (p *soakProcess) kill() int {
	if p.end((*os.Process).Kill) == nil {
		return 0
	}
	return 1
}

// soakEnv is what a process inherits: nothing that would lead it elsewhere.
func soakEnv(home string) []string {
	env := []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "NATS_") || name == "HOME" || name == "XDG_CONFIG_HOME" ||
			name == "LESSOR_PREFIX" || name == "LESSOR_IDENTITY" {
			continue
		}
		env = append(env, v)
	}
	return env
}
