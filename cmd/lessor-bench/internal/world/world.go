// Package world is what a part of the benchmark measures: brokers, a NATS server, a
// simulated AWS account and requesters, or a broker that is already running.
package world

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/floor"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// softSecret is the name of the definition without hard expiry.
const softSecret = "soft"

// World is the system that one part measures.
type World struct {
	*sandbox.Sandbox      // empty if the broker is remote
	Remote           bool // the broker was running already
	Options          sandbox.Options
	Conn             *nats.Conn // the requesters' connection
	JS               jetstream.JetStream
	NS               messages.Namespace

	// Identity is that of the requesters.
	Identity string
	// Hard and Soft are dynamic secrets with and without hard expiry. A remote broker may
	// have no Soft: it is empty.
	Hard, Soft string
	// Floor makes the calls to AWS without a broker. It is nil if AWS can't be reached.
	Floor *floor.Floor
	// Calls counts the calls of the embedded brokers to AWS.
	Calls *Calls
	// Ahead is how far the clock of the embedded brokers is ahead of the real one, in
	// nanoseconds.
	Ahead atomic.Int64

	timeout time.Duration
	meter   *lagMeter
	closers []func()
}

// Config configures a World. The zero value, with a timeout, starts one broker without
// any latency.
type Config struct {
	// Timeout is that of an API request.
	Timeout time.Duration
	// Durable makes the embedded NATS server flush each write.
	Durable bool
	// Endpoint is the URL of IAM and STS; empty simulates them.
	Endpoint string
	// Rate is how many calls a second the simulated AWS accepts; 0 is no limit.
	Rate float64
	// Latency is that of a call to the simulated AWS.
	Latency time.Duration
	// LogCalls makes the simulated AWS log its calls.
	LogCalls bool
	// Leases is how many leases exist at the same time, at most.
	Leases int
	// Connect connects to NATS; nil starts an embedded server.
	Connect func(...nats.Option) (*nats.Conn, error)
	// Configure changes the configuration of each broker; nil changes nothing.
	Configure func(*consumer.Config)
	// Remote is a broker that is already running; nil starts one.
	Remote *Remote
}

// Remote is a broker that is already running, and the requester's access to it.
type Remote struct {
	Conn                   *nats.Conn
	NS                     messages.Namespace
	Identity, Secret, Soft string
}

// Start starts what the configuration says, or connects to it.
func Start(ctx context.Context, c Config) (*World, error) {
	w := &World{timeout: c.Timeout, Identity: "alice", Hard: "demo", Soft: softSecret, Calls: newCalls(), meter: newLagMeter()}
	start := w.startSandbox
	if c.Remote != nil {
		start = w.useRemote
	}
	if err := start(ctx, c); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// useRemote uses a broker that is already running.
func (w *World) useRemote(ctx context.Context, c Config) (err error) {
	w.Sandbox, w.Remote = &sandbox.Sandbox{}, true
	w.Identity, w.Hard, w.Soft, w.NS, w.Conn = c.Remote.Identity, c.Remote.Secret, c.Remote.Soft, c.Remote.NS, c.Remote.Conn
	w.closers = append(w.closers, w.Conn.Close)
	if c.Endpoint != "" {
		w.Floor, err = floor.New(ctx, awsiam.Options{Endpoint: c.Endpoint})
	}
	return err
}

// startSandbox starts a broker, and the NATS server and the AWS account that the
// configuration does not name.
func (w *World) startSandbox(ctx context.Context, c Config) (err error) {
	w.Options = sandbox.Options{
		IAMEndpoint: c.Endpoint, MinTTL: messages.Duration(time.Second), Log: zerolog.Nop(), Durable: c.Durable,
		Account: iamsim.Options{
			NoCallLog: !c.LogCalls, MaxUsers: 2*c.Leases + 5000,
			Faults: iamsim.Faults{Latency: c.Latency, Rate: c.Rate, Burst: c.Rate / 10},
		},
		Furnish: addRole, Connect: c.Connect, Prepare: w.putSecrets, Called: w.Calls.called,
		Configure: func(b *consumer.Config) {
			b.Meter, b.Now = w.meter, w.now
			if c.Configure != nil {
				c.Configure(b)
			}
		},
	}
	if w.Sandbox, err = sandbox.Start(ctx, w.Options); err != nil {
		return err
	}
	if w.Options.Connect == nil {
		w.Options.Connect = w.NATS.Connect
	}
	if w.Conn, err = w.Options.Connect(nats.Name("lessor bench")); err != nil {
		return err
	}
	w.closers = append(w.closers, w.Conn.Close)
	if w.JS, err = jetstream.New(w.Conn); err != nil {
		return err
	}
	w.Floor, err = floor.New(ctx, w.Sandbox.AWSOptions)
	return err
}

// ExpiryLags returns a channel of how late each expired lease of the embedded brokers ended.
func (w *World) ExpiryLags() <-chan time.Duration { return w.meter.lags }

// Durable reports whether the embedded NATS server flushes each write. It returns known
// false if there is no embedded server.
func (w *World) Durable() (durable, known bool) {
	if w.Sandbox == nil || w.NATS == nil {
		return false, false
	}
	return w.NATS.Durable(), true
}

// now is the clock of the embedded brokers.
func (w *World) now() time.Time { return time.Now().Add(time.Duration(w.Ahead.Load())) }

// The role that the broker assumes in the simulated account.
const (
	role       = "bench"
	externalID = "bench"
)

func addRole(s *iamsim.Sim) {
	s.AddRole(role, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"`+externalID+`"}}}]}`)
	s.AddRolePolicy(role, "all", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
}

// definitions returns the demo's definition, and the same without hard expiry. If AWS is
// simulated, the broker assumes a role, as it would in a real account.
func (w *World) definitions() (hard, soft messages.DynamicSecret, err error) {
	hard, err = sandbox.Demo()
	if err != nil {
		return hard, soft, err
	}
	if w.Options.IAMEndpoint == "" {
		hard.AWS.Auth = messages.Auth{
			Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/" + role, ExternalID: externalID,
		}
	}
	soft = hard
	soft.Name, soft.HardExpiry = softSecret, messages.HardExpiryNone
	return hard, soft, nil
}

func (w *World) putSecrets(ctx context.Context, secrets *consumer.Secrets) error {
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

// AddBroker starts one more broker.
func (w *World) AddBroker(ctx context.Context) (*broker.Broker, error) {
	return w.Sandbox.AddBroker(ctx, w.Options)
}

// Close closes the requesters' connection and stops everything that was started.
func (w *World) Close() {
	for _, c := range w.closers {
		c()
	}
	if w.Sandbox != nil {
		_ = w.Sandbox.Close() // all of its data is discarded
	}
}
