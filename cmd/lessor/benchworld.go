package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// benchSoft is the definition without hard expiry.
const benchSoft = "soft"

// benchWorld is what one part measures.
type benchWorld struct {
	*sandbox      // empty where the broker runs elsewhere
	away     bool // it does
	options  sandboxOptions
	nc       *nats.Conn // the requesters'
	js       jetstream.JetStream
	ns       messages.Namespace
	timeout  time.Duration

	identity, hard, soft string // soft: "" where there is none

	floor *benchFloor // nil: AWS is out of reach
	calls *benchCalls
	late  *benchLate
	ahead atomic.Int64 // how far the brokers' clock is
	leave []func()
}

// benchNeeds are what a part needs of its world.
type benchNeeds struct {
	latency  time.Duration // of the simulated AWS
	log      bool          // the simulated AWS notes each call
	leases   int           // that there are at once, at most
	connect  func(...nats.Option) (*nats.Conn, error)
	settings func(*consumer.Config)
}

func (b *bench) world(ctx context.Context, n benchNeeds) (*benchWorld, error) {
	w := &benchWorld{timeout: b.timeout, identity: "alice", hard: "demo", soft: benchSoft, calls: newBenchCalls(), late: newBenchLate()}
	start := w.embed
	if b.remote() {
		start = w.visit
	}
	if err := start(ctx, b, n); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// visit goes to a broker that runs already.
func (w *benchWorld) visit(ctx context.Context, b *bench, _ benchNeeds) (err error) {
	w.sandbox, w.away = &sandbox{}, true
	w.identity, w.hard, w.soft = b.identity, b.secret, b.soft
	if w.ns, err = b.namespace(); err != nil {
		return err
	}
	if w.nc, err = b.dial(b.env, "lessor bench"); err != nil {
		return err
	}
	w.leave = append(w.leave, w.nc.Close)
	if b.iamEndpoint != "" {
		w.floor, err = newBenchFloor(ctx, awsiam.Options{Endpoint: b.iamEndpoint})
	}
	return err
}

// embed runs everything in this process, as far as nothing else is said.
func (w *benchWorld) embed(ctx context.Context, b *bench, n benchNeeds) (err error) {
	w.options = sandboxOptions{
		iamEndpoint: b.iamEndpoint, minTTL: messages.Duration(time.Second), log: zerolog.Nop(), durable: b.durable,
		account: iamsim.Options{
			NoCallLog: !n.log, MaxUsers: 2*n.leases + 5000,
			Faults: iamsim.Faults{Latency: n.latency, Rate: b.rate, Burst: b.rate / 10},
		},
		furnish: addBenchRole, connect: n.connect, prepare: w.putSecrets, called: w.calls.called,
		change: func(c *consumer.Config) {
			c.Meter, c.Now = w.late, w.now
			if n.settings != nil {
				n.settings(c)
			}
		},
	}
	if w.sandbox, err = startSandbox(ctx, w.options); err != nil {
		return err
	}
	if w.options.connect == nil {
		b.report.Durable = w.nats.Durable() // rather than what it was told
		w.options.connect = w.nats.Connect
	}
	if w.nc, err = w.options.connect(nats.Name("lessor bench")); err != nil {
		return err
	}
	w.leave = append(w.leave, w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		return err
	}
	w.floor, err = newBenchFloor(ctx, w.sandbox.calls)
	return err
}

// now is the brokers' clock.
func (w *benchWorld) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// The role that the broker assumes in a simulated account.
const (
	benchRole       = "bench"
	benchExternalID = "bench"
)

func addBenchRole(s *iamsim.Sim) {
	s.AddRole(benchRole, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"`+benchExternalID+`"}}}]}`)
	s.AddRolePolicy(benchRole, "all", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
}

// definitions are the sample as it is, and without hard expiry. In a simulated account
// the broker assumes a role, as it would in a real one.
func (w *benchWorld) definitions() (hard, soft messages.DynamicSecret, err error) {
	hard, err = parseSecret(demoSecret)
	if err != nil {
		return hard, soft, err
	}
	if w.options.iamEndpoint == "" {
		hard.AWS.Auth = messages.Auth{
			Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/" + benchRole, ExternalID: benchExternalID,
		}
	}
	soft = hard
	soft.Name, soft.HardExpiry = benchSoft, messages.HardExpiryNone
	return hard, soft, nil
}

func (w *benchWorld) putSecrets(ctx context.Context, secrets *consumer.Secrets) error {
	hard, soft, err := w.definitions()
	if err != nil {
		return err
	}
	for _, d := range []messages.DynamicSecret{hard, soft} {
		if _, err := secrets.Put(ctx, d, consumer.SourceFile); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything. The requesters go first.
func (w *benchWorld) close() {
	for _, leave := range w.leave {
		leave()
	}
	if w.sandbox != nil { // it was started
		w.sandbox.Close()
	}
}

// ask sends a plain request through the front door.
func (w *benchWorld) ask(ctx context.Context, subject, body string) (messages.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	msg, err := w.nc.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return messages.Reply{}, fmt.Errorf("%s: no answer: %w; is a broker there, and is --timeout long enough?", subject, err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err == nil && r.Error != nil {
		err = r.Error
	}
	return r, err
}

// issue asks for a lease and returns its name.
func (w *benchWorld) issue(ctx context.Context, secret, body string) (string, error) {
	r, err := w.ask(ctx, w.ns.API("request", w.identity, secret), body)
	if err != nil {
		return "", err
	}
	if r.Lease == nil {
		return "", fmt.Errorf("a request was answered with %s, and no lease", r.Kind)
	}
	return r.Lease.Name, nil
}

func (w *benchWorld) renew(ctx context.Context, lease string) error {
	_, err := w.ask(ctx, w.ns.API("renew", lease), "{}")
	return err
}

func (w *benchWorld) revoke(ctx context.Context, lease string) error {
	_, err := w.ask(ctx, w.ns.API("revoke", lease), "{}")
	return err
}

// benchCalls counts the calls to AWS.
type benchCalls struct {
	mu     sync.Mutex
	counts map[string]int // by action
	made   map[string]int // those that AWS carried out
}

func newBenchCalls() *benchCalls {
	return &benchCalls{counts: map[string]int{}, made: map[string]int{}}
}

func (c *benchCalls) called(action string, came awsiam.Came) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[action]++
	if came == awsiam.CameOK {
		c.made[action]++
	}
}

// take returns the numbers of calls to IAM, of those among them that list or look,
// and of calls to STS, and forgets them.
func (c *benchCalls) take() (iam, looks, sts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for action, n := range c.counts {
		switch {
		case strings.HasPrefix(action, "Assume") || action == "GetCallerIdentity":
			sts += n
			continue
		case strings.HasPrefix(action, "List") || strings.HasPrefix(action, "Get"):
			looks += n
		}
		iam += n
	}
	c.counts = map[string]int{}
	return iam, looks, sts
}

// carriedOut is how often AWS has done something.
func (c *benchCalls) carriedOut(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made[action]
}

// benchLate is a broker's meter that hears how late expired leases ended.
type benchLate struct {
	*metrics
	lags chan time.Duration
}

func newBenchLate() *benchLate {
	return &benchLate{metrics: newMetrics(version()), lags: make(chan time.Duration, 1000)}
}

// Expired is described at [consumer.Meter].
func (l *benchLate) Expired(late time.Duration) {
	l.metrics.Expired(late)
	select {
	case l.lags <- late:
	default: // nobody waits for so many
	}
}
