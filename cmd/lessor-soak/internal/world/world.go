package world

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// The sizes of a soak.
const (
	Nodes   = 3
	Brokers = 2
)

// skews are how far the brokers' clocks are off.
var skews = [Brokers]time.Duration{2 * time.Second, -time.Second}

// MaxSkew is how far a broker's clock is off at most.
const MaxSkew = 2 * time.Second

// Calm is how AWS is when it is well.
var Calm = iamsim.Faults{Latency: 10 * time.Millisecond}

// World is all that runs.
type World struct {
	Dir     string
	tally   *verdict.Tally
	aws     *proc.Process
	AWSURL  string
	Control account.Control
	Nodes   []*proc.Process
	urls    string // of the nodes, for clients
	Brokers []*proc.Process
	Health  []string   // by broker
	Lines   [][]*Proxy // by broker and node
	conn    *nats.Conn // the auditor's
	JS      jetstream.JetStream
}

func Start(ctx context.Context, dir string, t *verdict.Tally) (*World, error) {
	w := &World{Dir: dir, tally: t}
	for _, step := range []func(context.Context) error{w.startAWS, w.startNodes, w.startBrokers} {
		if err := step(ctx); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

func (w *World) process(name string, args, env []string) *proc.Process {
	p := &proc.Process{Name: name, Dir: w.Dir, Args: args, Env: env}
	p.Died = func(state *os.ProcessState, lived time.Duration) {
		w.tally.Violated(verdict.Died, name, "%s after %s; see %s", state, lived.Round(time.Millisecond), p.LogFile())
	}
	return p
}

func (w *World) startAWS(ctx context.Context) error {
	at, err := proc.FreeAddresses(2)
	if err != nil {
		return err
	}
	w.AWSURL, w.Control = "http://"+at[0], account.Control{URL: "http://" + at[1]}
	w.aws = w.process("aws", []string{"aws", "--listen", at[0], "--control", at[1]}, nil)
	if err := w.aws.Start(); err != nil {
		return err
	}
	return poll.Within(ctx, startTimeout, "AWS is up", func() error { return w.Control.Faults(ctx, Calm) })
}

// startTimeout is how long a process may take until it is up.
const startTimeout = 30 * time.Second

func (w *World) startNodes(ctx context.Context) error {
	at, err := proc.FreeAddresses(2 * Nodes)
	if err != nil {
		return err
	}
	clients, routes := at[:Nodes], at[Nodes:]
	for i := range Nodes {
		name := fmt.Sprintf("nats%d", i+1)
		n := w.process(name, []string{
			"node", "--name", name, "--store", filepath.Join(w.Dir, name),
			"--listen", clients[i], "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}, nil)
		if err := n.Start(); err != nil {
			return err
		}
		w.Nodes = append(w.Nodes, n)
		w.urls += ",nats://" + clients[i]
	}
	w.urls = w.urls[1:]
	if err := poll.Within(ctx, startTimeout, "NATS is up", func() (err error) { w.conn, err = w.Connect("auditor"); return err }); err != nil {
		return err
	}
	if w.JS, err = jetstream.New(w.conn); err != nil {
		return err
	}
	err = poll.Within(ctx, startTimeout, "the NATS servers found one another", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := w.JS.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "soak", Subjects: []string{"soak"}, Replicas: Nodes})
		return err
	})
	if err == nil {
		err = w.JS.DeleteStream(ctx, "soak")
	}
	for b := 0; b < Brokers && err == nil; b++ {
		w.Lines = append(w.Lines, nil)
		for _, to := range clients {
			var p *Proxy
			if p, err = newProxy(to); err != nil {
				break
			}
			w.Lines[b] = append(w.Lines[b], p)
		}
	}
	return err
}

func (w *World) startBrokers(ctx context.Context) error {
	secrets, keyFile := filepath.Join(w.Dir, "secrets"), filepath.Join(w.Dir, "broker.key")
	key, err := messages.NewKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		Hard: Definition(Hard, messages.HardExpiryLease, "method: default"),
		Soft: Definition(Soft, messages.HardExpiryNone, "method: default"),
		Role: session,
	} {
		if err := os.WriteFile(filepath.Join(secrets, name+".yaml"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if w.Health, err = proc.FreeAddresses(Brokers); err != nil {
		return err
	}
	for i := range Brokers {
		name := fmt.Sprintf("broker%d", i+1)
		pair, err := w.Control.Principal(ctx, name)
		if err != nil {
			return err
		}
		var servers []string
		for _, p := range w.Lines[i] {
			servers = append(servers, p.url())
		}
		b := w.process(name, []string{
			"broker", "--server", strings.Join(servers, ","), "--key-file", keyFile, "--secrets", secrets,
			"--health", w.Health[i], "--clock-skew", skews[i].String(),
		}, []string{
			"AWS_ENDPOINT_URL=" + w.AWSURL, "AWS_ACCESS_KEY_ID=" + pair[0], "AWS_SECRET_ACCESS_KEY=" + pair[1],
		})
		if err := b.Start(); err != nil {
			return err
		}
		w.Brokers = append(w.Brokers, b)
		// One after the other: of two that make the same stream at the same moment,
		// a cluster leaves one without an answer.
		if err := w.Ready(ctx, 2*startTimeout); err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until all brokers are.
func (w *World) Ready(ctx context.Context, patience time.Duration) error {
	for i := range w.Brokers {
		if err := poll.Within(ctx, patience, w.Brokers[i].Name+" is ready", func() error { return w.brokerReady(ctx, i) }); err != nil {
			return err
		}
	}
	return nil
}

// AnyReady says whether there is a broker that can work.
func (w *World) AnyReady(ctx context.Context) bool {
	for i := range w.Brokers {
		if w.brokerReady(ctx, i) == nil {
			return true
		}
	}
	return false
}

func (w *World) brokerReady(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*broker.ReadyTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.Health[i]+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		var why [300]byte
		n, _ := answer.Body.Read(why[:])
		return fmt.Errorf("%s: %s", answer.Status, strings.TrimSpace(string(why[:n])))
	}
	return nil
}

// Connect is a requester's way to NATS, past the bad lines.
func (w *World) Connect(name string) (*nats.Conn, error) {
	return nats.Connect(w.urls, nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(2*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // what is lost, the answers show
}

// Heal makes everything whole again.
func (w *World) Heal() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_ = poll.Within(ctx, startTimeout, "AWS is well", func() error { return w.Control.Faults(ctx, Calm) })
	for _, lines := range w.Lines {
		for _, p := range lines {
			p.Mend()
		}
	}
	for _, p := range append(append([]*proc.Process{}, w.Nodes...), w.Brokers...) {
		if err := p.Start(); err != nil {
			w.tally.Violated(verdict.Died, p.Name, "does not start again: %s", err)
		}
	}
}

// Stop ends everything in good order; the brokers must manage that.
func (w *World) Stop() {
	for _, b := range w.Brokers {
		if state := b.End(syscall.SIGTERM, broker.StopTimeout+15*time.Second); state == nil || !state.Success() {
			w.tally.Violated(verdict.Died, b.Name, "did not stop in good order: %v", state)
		}
	}
	w.Close()
}

// Close ends what still runs.
func (w *World) Close() {
	if w.conn != nil {
		w.conn.Close()
	}
	for _, p := range append(append([]*proc.Process{}, w.Brokers...), w.Nodes...) {
		p.Kill()
	}
	for _, lines := range w.Lines {
		for _, p := range lines {
			p.close()
		}
	}
	if w.aws != nil {
		w.aws.Kill()
	}
}
