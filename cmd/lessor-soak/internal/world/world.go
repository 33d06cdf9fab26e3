// Package world is the system that a soak test runs: a simulated AWS account, a cluster
// of NATS servers and two brokers, each a process of its own, and proxies between the
// brokers and the servers.
package world

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/internal/proc"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// The number of processes.
const (
	Nodes   = 3 // NATS servers
	Brokers = 2
)

// clockSkews are how far the brokers' clocks are ahead.
var clockSkews = [Brokers]time.Duration{2 * time.Second, -time.Second}

// MaxSkew is how far a broker's clock is off at most.
const MaxSkew = 2 * time.Second

// startTimeout is how long a process may take until it is up.
const startTimeout = 30 * time.Second

// NoFaults is the behaviour of AWS without faults.
var NoFaults = iamsim.Faults{Latency: 10 * time.Millisecond}

// World is all processes of a test.
type World struct {
	// Dir is the folder of the stores and logs.
	Dir string
	// AWSURL is the URL of IAM and STS.
	AWSURL string
	// Control controls the AWS account.
	Control account.Control
	// Nodes are the NATS servers.
	Nodes []*proc.Process
	// Brokers are the brokers, and Health their addresses for health checks.
	Brokers []*proc.Process
	Health  []string
	// Proxies are those of each broker to each NATS server.
	Proxies [][]*Proxy
	// JS is JetStream, not through a proxy.
	JS jetstream.JetStream

	tally         *verdict.Tally
	aws           *proc.Process
	nodeAddresses []string // of the NATS servers, for clients
	conn          *nats.Conn
}

// Start starts all processes and waits until the brokers are ready.
func Start(ctx context.Context, dir string, t *verdict.Tally) (*World, error) {
	w := &World{Dir: dir, tally: t}
	for _, start := range []func(context.Context) error{w.startAWS, w.startNodes, w.startProxies, w.startBrokers} {
		if err := start(ctx); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// process returns a child process. If it ends by itself, that is a violation.
func (w *World) process(name string, args, env []string) *proc.Process {
	p := &proc.Process{Name: name, Dir: w.Dir, Args: args, Env: env}
	p.Died = func(state *os.ProcessState, lived time.Duration) {
		w.tally.Violated(verdict.ProcessEnded, name, "%s after %s; see %s", state, lived.Round(time.Millisecond), p.LogFile())
	}
	return p
}

// Connect connects to NATS, not through a proxy.
func (w *World) Connect(name string) (*nats.Conn, error) {
	servers := "nats://" + strings.Join(w.nodeAddresses, ",nats://")
	return nats.Connect(servers, nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(2*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the requesters count what is lost
}

// Heal ends all faults and starts the processes that are not running.
func (w *World) Heal() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_ = poll.Within(ctx, startTimeout, "AWS has no faults", func() error { return w.Control.SetFaults(ctx, NoFaults) })
	for _, proxies := range w.Proxies {
		for _, p := range proxies {
			p.Heal()
		}
	}
	for _, p := range append(append([]*proc.Process{}, w.Nodes...), w.Brokers...) {
		if err := p.Start(); err != nil {
			w.tally.Violated(verdict.ProcessEnded, p.Name, "it does not start again: %s", err)
		}
	}
}

// Stop stops the brokers with SIGTERM, which must succeed, and then everything else.
func (w *World) Stop() {
	for _, b := range w.Brokers {
		if state := b.End(syscall.SIGTERM, broker.StopTimeout+15*time.Second); state == nil || !state.Success() {
			w.tally.Violated(verdict.ProcessEnded, b.Name, "SIGTERM did not stop it properly: %v", state)
		}
	}
	w.Close()
}

// Close kills the processes that are running.
func (w *World) Close() {
	if w.conn != nil {
		w.conn.Close()
	}
	for _, p := range append(append([]*proc.Process{}, w.Brokers...), w.Nodes...) {
		p.Kill()
	}
	for _, proxies := range w.Proxies {
		for _, p := range proxies {
			p.close()
		}
	}
	if w.aws != nil {
		w.aws.Kill()
	}
}
