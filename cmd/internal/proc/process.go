package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// restartDelay is the wait before a process that ended by itself is started again.
const restartDelay = 200 * time.Millisecond

// Process is a child process of the running program's own executable. It can be killed
// and started again. Its output is appended to one log file.
type Process struct {
	// Name names the process and its log file.
	Name string
	// Dir is the folder of the log file, and the child's home.
	Dir string
	// Args are the command line, without the program.
	Args []string
	// Env is added to the environment. See [Environ] for what the child inherits.
	Env []string
	// Died is called when the process ends although neither End nor Kill was called,
	// before it is started again. It must be set.
	Died func(state *os.ProcessState, lived time.Duration)

	mu      sync.Mutex
	cmd     *exec.Cmd // nil: it is not running
	ended   chan struct{}
	wanted  bool // Start was called after the last End
	started time.Time
}

// LogFile is the path of the log file.
func (p *Process) LogFile() string { return filepath.Join(p.Dir, p.Name+".log") }

// Start starts the process, unless it is running.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has a descriptor of its own
	_, _ = fmt.Fprintf(log, "{\"level\":\"info\",\"time\":%q,\"message\":\"process started\"}\n", time.Now().Format(time.RFC3339))
	cmd := exec.Command(self, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(Environ(p.Dir), p.Env...)
	if err := StartCommand(cmd); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.cmd, p.ended, p.wanted, p.started = cmd, make(chan struct{}), true, time.Now()
	go p.wait(cmd, p.ended)
	return nil
}

// wait waits for the process to end. A process that ends by itself is reported and
// started again.
func (p *Process) wait(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // cmd.ProcessState says how it ended
	p.mu.Lock()
	p.cmd = nil
	again, lived := p.wanted, time.Since(p.started)
	p.mu.Unlock()
	close(ended)
	if !again {
		return
	}
	p.Died(cmd.ProcessState, lived)
	time.Sleep(restartDelay)
	p.mu.Lock()
	again = p.wanted
	p.mu.Unlock()
	if again {
		_ = p.Start() // the caller's readiness checks show a process that is missing
	}
}

// End signals the process and waits for its end. After patience it kills the process.
// It returns how the process ended, or nil if it was not running.
func (p *Process) End(signal os.Signal, patience time.Duration) *os.ProcessState {
	p.mu.Lock()
	p.wanted = false
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if cmd.Process.Signal(signal) != nil {
		_ = cmd.Process.Kill()
	}
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
	}
	return cmd.ProcessState
}

// Kill kills the process and waits for its end. It returns the number of processes that
// were killed: 0 if it was not running.
func (p *Process) Kill() int {
	if p.End(os.Kill, time.Minute) == nil {
		return 0
	}
	return 1
}

// Environ is what a child inherits: the environment without the variables that would
// point it to the AWS account, the NATS server or the lessor settings of the user.
func Environ(home string) []string {
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
