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

// softSecret is the definition without hard expiry.
const softSecret = "soft"

// World is what one part measures.
type World struct {
	*sandbox.Sandbox      // empty where the broker runs elsewhere
	Away             bool // it does
	Options          sandbox.Options
	Conn             *nats.Conn // the requesters'
	JS               jetstream.JetStream
	NS               messages.Namespace
	timeout          time.Duration

	Identity, Hard, Soft string // soft: "" where there is none

	Floor *floor.Floor // nil: AWS is out of reach
	Calls *Calls
	Late  *lateness
	Ahead atomic.Int64 // how far the brokers' clock is
	leave []func()
}

// Config configure a world.
type Config struct {
	Timeout  time.Duration // for the answer to a request
	Durable  bool          // the embedded NATS server flushes each write
	Endpoint string        // URL of IAM and STS; "": they are simulated
	Rate     float64       // calls a second that the simulated AWS takes; 0: any number
	Latency  time.Duration // of the simulated AWS
	Log      bool          // the simulated AWS logs each call
	Leases   int           // that there are at once, at most
	Connect  func(...nats.Option) (*nats.Conn, error)
	Settings func(*consumer.Config)
	Remote   *Remote // nil: the broker is started
}

// Remote is a broker that runs already, and how to be its requester.
type Remote struct {
	Conn                   *nats.Conn
	NS                     messages.Namespace
	Identity, Secret, Soft string
}

func Start(ctx context.Context, n Config) (*World, error) {
	w := &World{timeout: n.Timeout, Identity: "alice", Hard: "demo", Soft: softSecret, Calls: newCalls(), Late: newLateness()}
	start := w.embed
	if n.Remote != nil {
		start = w.visit
	}
	if err := start(ctx, n); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// visit goes to a broker that runs already.
func (w *World) visit(ctx context.Context, n Config) (err error) {
	w.Sandbox, w.Away = &sandbox.Sandbox{}, true
	w.Identity, w.Hard, w.Soft, w.NS, w.Conn = n.Remote.Identity, n.Remote.Secret, n.Remote.Soft, n.Remote.NS, n.Remote.Conn
	w.leave = append(w.leave, w.Conn.Close)
	if n.Endpoint != "" {
		w.Floor, err = floor.New(ctx, awsiam.Options{Endpoint: n.Endpoint})
	}
	return err
}

// embed runs everything in this process, as far as nothing else is said.
func (w *World) embed(ctx context.Context, n Config) (err error) {
	w.Options = sandbox.Options{
		IAMEndpoint: n.Endpoint, MinTTL: messages.Duration(time.Second), Log: zerolog.Nop(), Durable: n.Durable,
		Account: iamsim.Options{
			NoCallLog: !n.Log, MaxUsers: 2*n.Leases + 5000,
			Faults: iamsim.Faults{Latency: n.Latency, Rate: n.Rate, Burst: n.Rate / 10},
		},
		Furnish: addRole, Connect: n.Connect, Prepare: w.putSecrets, Called: w.Calls.called,
		Configure: func(c *consumer.Config) {
			c.Meter, c.Now = w.Late, w.now
			if n.Settings != nil {
				n.Settings(c)
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
	w.leave = append(w.leave, w.Conn.Close)
	if w.JS, err = jetstream.New(w.Conn); err != nil {
		return err
	}
	w.Floor, err = floor.New(ctx, w.Sandbox.AWSOptions)
	return err
}

// Durable reports whether the embedded NATS server flushes each write, as the server has
// it; known is false where there is none.
func (w *World) Durable() (durable, known bool) {
	if w.Sandbox == nil || w.NATS == nil {
		return false, false
	}
	return w.NATS.Durable(), true
}

// now is the brokers' clock.
func (w *World) now() time.Time { return time.Now().Add(time.Duration(w.Ahead.Load())) }

// The role that the broker assumes in a simulated account.
const (
	role       = "bench"
	externalID = "bench"
)

func addRole(s *iamsim.Sim) {
	s.AddRole(role, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"`+externalID+`"}}}]}`)
	s.AddRolePolicy(role, "all", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
}

// definitions are the sample as it is, and without hard expiry. In a simulated account
// the broker assumes a role, as it would in a real one.
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

// Close ends everything. The requesters go first.
func (w *World) Close() {
	for _, leave := range w.leave {
		leave()
	}
	if w.Sandbox != nil { // it was started
		_ = w.Sandbox.Close() // everything in it is thrown away
	}
}
