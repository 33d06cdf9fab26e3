package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// The sizes of a soak.
const (
	soakNodes   = 3
	soakBrokers = 2
)

// soakSkews are how far the brokers' clocks are off.
var soakSkews = [soakBrokers]time.Duration{2 * time.Second, -time.Second}

// maxSoakSkew is how far a broker's clock is off at most.
const maxSoakSkew = 2 * time.Second

// soakCalm is how AWS is when it is well.
var soakCalm = iamsim.Faults{Latency: 10 * time.Millisecond}

// Names of the definitions.
const (
	soakHard  = "hard"  // AWS enforces its end
	soakSoft  = "soft"  // only the broker does
	soakRole  = "role"  // sessions of a role
	soakKeyed = "keyed" // with a managing user, whose key is rotated
	soakBrief = "brief" // put and deleted again and again
)

// soakManager is the managing user of soakKeyed.
const soakManager = "manager"

// soakSecret is a definition of IAM users.
func soakSecret(name string, expiry messages.HardExpiry, auth string) string {
	return fmt.Sprintf(`name: %s
default_ttl: 20s
max_ttl: 2m
tags: {purpose: soak}
hard_expiry: %s
aws:
  region: eu-central-1
  path: /lessor/soak/
  groups: [soakers]
  managed_policies: [arn:aws:iam::aws:policy/ReadOnlyAccess]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
  auth: {%s}
`, name, expiry, auth)
}

// soakSession is the definition of sessions. They last a quarter of an hour at least,
// so who does not confirm must not keep one.
const soakSession = `name: role
default_ttl: 15m
max_ttl: 20m
require_confirm: true
aws:
  credential_type: assume_role
  region: eu-central-1
  role_arn: arn:aws:iam::123456789012:role/role
  external_id: soak
`

// soakWorld is all that runs.
type soakWorld struct {
	dir     string
	tally   *soakTally
	aws     *soakProcess
	awsURL  string
	control awsControl
	nodes   []*soakProcess
	urls    string // of the nodes, for clients
	brokers []*soakProcess
	health  []string       // by broker
	lines   [][]*soakProxy // by broker and node
	conn    *nats.Conn     // the auditor's
	js      jetstream.JetStream
}

func startSoakWorld(ctx context.Context, dir string, t *soakTally) (*soakWorld, error) {
	w := &soakWorld{dir: dir, tally: t}
	for _, step := range []func(context.Context) error{w.startAWS, w.startNodes, w.startBrokers} {
		if err := step(ctx); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *soakWorld) process(name string, args, env []string) *soakProcess {
	return &soakProcess{name: name, dir: w.dir, args: args, env: env, tally: w.tally}
}

func (w *soakWorld) startAWS(ctx context.Context) error {
	at, err := soakAddresses(2)
	if err != nil {
		return err
	}
	w.awsURL, w.control = "http://"+at[0], awsControl{"http://" + at[1]}
	w.aws = w.process("aws", []string{"soak", "aws", "--listen", at[0], "--control", at[1]}, nil)
	if err := w.aws.start(); err != nil {
		return err
	}
	return soakUntil(ctx, startTimeout, "AWS is up", func() error { return w.control.faults(ctx, soakCalm) })
}

// startTimeout is how long a process may take until it is up.
const startTimeout = 30 * time.Second

func (w *soakWorld) startNodes(ctx context.Context) error {
	at, err := soakAddresses(2 * soakNodes)
	if err != nil {
		return err
	}
	clients, routes := at[:soakNodes], at[soakNodes:]
	for i := range soakNodes {
		name := fmt.Sprintf("nats%d", i+1)
		n := w.process(name, []string{
			"soak", "node", "--name", name, "--store", filepath.Join(w.dir, name),
			"--listen", clients[i], "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}, nil)
		if err := n.start(); err != nil {
			return err
		}
		w.nodes = append(w.nodes, n)
		w.urls += ",nats://" + clients[i]
	}
	w.urls = w.urls[1:]
	if err := soakUntil(ctx, startTimeout, "NATS is up", func() (err error) { w.conn, err = w.connect("auditor"); return err }); err != nil {
		return err
	}
	if w.js, err = jetstream.New(w.conn); err != nil {
		return err
	}
	err = soakUntil(ctx, startTimeout, "the NATS servers found one another", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := w.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "soak", Subjects: []string{"soak"}, Replicas: soakNodes})
		return err
	})
	if err == nil {
		err = w.js.DeleteStream(ctx, "soak")
	}
	for b := 0; b < soakBrokers && err == nil; b++ {
		w.lines = append(w.lines, nil)
		for _, to := range clients {
			var p *soakProxy
			if p, err = newSoakProxy(to); err != nil {
				break
			}
			w.lines[b] = append(w.lines[b], p)
		}
	}
	return err
}

func (w *soakWorld) startBrokers(ctx context.Context) error {
	secrets, keyFile := filepath.Join(w.dir, "secrets"), filepath.Join(w.dir, "broker.key")
	key, err := messages.NewKey()
	if err != nil {
		return err
	}
	if err := writeDurably(keyFile, key); err != nil {
		return err
	}
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		soakHard: soakSecret(soakHard, messages.HardExpiryLease, "method: default"),
		soakSoft: soakSecret(soakSoft, messages.HardExpiryNone, "method: default"),
		soakRole: soakSession,
	} {
		if err := os.WriteFile(filepath.Join(secrets, name+".yaml"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if w.health, err = soakAddresses(soakBrokers); err != nil {
		return err
	}
	for i := range soakBrokers {
		name := fmt.Sprintf("broker%d", i+1)
		pair, err := w.control.principal(ctx, name)
		if err != nil {
			return err
		}
		var servers []string
		for _, p := range w.lines[i] {
			servers = append(servers, p.url())
		}
		b := w.process(name, []string{
			"serve", "--server", strings.Join(servers, ","), "--key-file", keyFile, "--secrets", secrets,
			"--replicas", fmt.Sprint(soakNodes), "--min-ttl", "1s", "--confirm-within", "5s",
			"--sweep-every", "3s", "--sweep-grace", "5s", "--chores-every", "100ms", "--health", w.health[i], "--log-level", "debug",
		}, []string{
			"AWS_ENDPOINT_URL=" + w.awsURL, "AWS_ACCESS_KEY_ID=" + pair[0], "AWS_SECRET_ACCESS_KEY=" + pair[1],
			clockSkew + "=" + soakSkews[i].String(),
		})
		if err := b.start(); err != nil {
			return err
		}
		w.brokers = append(w.brokers, b)
		// One after the other: of two that make the same stream at the same moment,
		// a cluster leaves one without an answer.
		if err := w.ready(ctx, 2*startTimeout); err != nil {
			return err
		}
	}
	return nil
}

// ready waits until all brokers are.
func (w *soakWorld) ready(ctx context.Context, patience time.Duration) error {
	for i := range w.brokers {
		if err := soakUntil(ctx, patience, w.brokers[i].name+" is ready", func() error { return w.brokerReady(ctx, i) }); err != nil {
			return err
		}
	}
	return nil
}

// anyReady says whether there is a broker that can work.
func (w *soakWorld) anyReady(ctx context.Context) bool {
	for i := range w.brokers {
		if w.brokerReady(ctx, i) == nil {
			return true
		}
	}
	return false
}

func (w *soakWorld) brokerReady(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.health[i]+"/readyz", nil)
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

// connect is a requester's way to NATS, past the bad lines.
func (w *soakWorld) connect(name string) (*nats.Conn, error) {
	return nats.Connect(w.urls, nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(2*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // what is lost, the answers show
}

// heal makes everything whole again.
func (w *soakWorld) heal() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_ = soakUntil(ctx, startTimeout, "AWS is well", func() error { return w.control.faults(ctx, soakCalm) })
	for _, lines := range w.lines {
		for _, p := range lines {
			p.mend()
		}
	}
	for _, p := range append(append([]*soakProcess{}, w.nodes...), w.brokers...) {
		if err := p.start(); err != nil {
			w.tally.violated("died", p.name, "does not start again: %s", err)
		}
	}
}

// stop ends everything in good order; the brokers must manage that.
func (w *soakWorld) stop() {
	for _, b := range w.brokers {
		if state := b.end(func(p *os.Process) error { return p.Signal(syscall.SIGTERM) }); state == nil || !state.Success() {
			w.tally.violated("died", b.name, "did not stop in good order: %v", state)
		}
	}
	w.close()
}

// close ends what still runs.
func (w *soakWorld) close() {
	if w.conn != nil {
		w.conn.Close()
	}
	for _, p := range append(append([]*soakProcess{}, w.brokers...), w.nodes...) {
		p.kill()
	}
	for _, lines := range w.lines {
		for _, p := range lines {
			p.close()
		}
	}
	if w.aws != nil {
		w.aws.kill()
	}
}

// soakUntil tries until it works.
func soakUntil(ctx context.Context, patience time.Duration, what string, try func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("never within %s: %s: %w", patience, what, err)
		}
	}
}

// soakAddresses are loopback addresses that nobody listens on. Their ports are
// below those that systems give away by themselves: they must stay free while
// their process is dead.
func soakAddresses(n int) ([]string, error) {
	var all []string
	for range 50 * n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000)))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // all at the end, or one would be found twice
		if all = append(all, l.Addr().String()); len(all) == n {
			return all, nil
		}
	}
	return nil, fmt.Errorf("%d of %d ports are free", len(all), n)
}
