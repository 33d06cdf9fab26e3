// Package sandbox runs NATS, a simulated AWS account and a broker in one process: for the
// demo and dev commands, the benchmark and tests.
package sandbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

//go:embed demo.yaml
var demoYAML string

// DemoYAML returns the definition that the demo and dev commands lease, as text.
func DemoYAML() string { return demoYAML }

// Demo returns the definition that the demo and dev commands lease.
func Demo() (messages.DynamicSecret, error) { return secretfile.Parse([]byte(demoYAML)) }

// Sandbox is NATS, a simulated AWS account and a broker in one process.
type Sandbox struct {
	NATS       *embedded.Server // nil if Options.Connect is set
	Sim        *iamsim.Sim      // nil if Options.IAMEndpoint is set
	AWS        *iamsim.Server   // the simulator's server; nil if Options.IAMEndpoint is set
	AWSOptions awsiam.Options   // how the brokers reach AWS
	Broker     *broker.Broker   // the first broker

	keys  *messages.Keyring
	close []func() error
}

// Options configure a [Sandbox]. The zero value keeps everything in memory and in a
// temporary folder, and uses any free ports.
type Options struct {
	// Store is the folder of the NATS server's data and the broker's key; "" is a temporary
	// folder.
	Store string
	// NATSListen is the address of the NATS server; "" accepts connections from this
	// process only.
	NATSListen string
	// IAMListen is the address of the simulated IAM and STS; "" is any loopback address.
	IAMListen string
	// IAMEndpoint is the URL of another IAM and STS, with the credentials of the AWS SDK;
	// "" simulates them.
	IAMEndpoint string
	// MinTTL is the shortest lease; 0 is the broker's default.
	MinTTL messages.Duration
	// Log receives the log; the zero value discards it.
	Log zerolog.Logger
	// Durable makes the NATS server flush every write to the disk.
	Durable bool
	// Account configures the simulated AWS account.
	Account iamsim.Options
	// Furnish adds to the simulated AWS account what other definitions than the demo's need;
	// nil adds nothing.
	Furnish func(*iamsim.Sim)
	// Connect connects to a NATS server that runs already; nil starts one.
	Connect func(...nats.Option) (*nats.Conn, error)
	// Prepare stores the definitions; nil stores the demo's.
	Prepare func(context.Context, *consumer.Secrets) error
	// Called is called for each attempt of a call to AWS; nil is not called.
	Called func(action string, result awsiam.CallResult)
	// Configure changes the settings of each broker before it starts; nil changes nothing.
	Configure func(*consumer.Config)
}

// Start starts a sandbox.
func Start(ctx context.Context, o Options) (*Sandbox, error) {
	s := &Sandbox{}
	if err := s.start(ctx, o); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sandbox) start(ctx context.Context, o Options) error {
	if o.Connect == nil {
		if err := s.startNATS(o); err != nil {
			return err
		}
		o.Connect = s.NATS.Connect
	}
	s.AWSOptions = awsiam.Options{Endpoint: o.IAMEndpoint, Log: o.Log}
	if o.IAMEndpoint == "" {
		if err := s.simulate(o); err != nil {
			return err
		}
	}
	s.AWSOptions.OnCall = o.Called
	var err error
	if s.keys, err = keys(o.Store); err != nil {
		return err
	}
	s.Broker, err = s.AddBroker(ctx, o)
	return err
}

// onClose makes Close call f before what was started earlier is closed.
func (s *Sandbox) onClose(f func()) {
	s.close = append(s.close, func() error { f(); return nil })
}

func (s *Sandbox) startNATS(o Options) error {
	store := ""
	if o.Store != "" {
		store = filepath.Join(o.Store, "nats")
	}
	var err error
	s.NATS, err = broker.StartNATS(embedded.Options{
		StoreDir: store, Listen: o.NATSListen, Durable: o.Durable, LockTimeout: 2 * time.Second, Log: o.Log,
	})
	if err != nil {
		return err
	}
	s.onClose(s.NATS.Close)
	return nil
}

// AddBroker starts one more broker. Close stops it.
func (s *Sandbox) AddBroker(ctx context.Context, o Options) (*broker.Broker, error) {
	nc, err := o.Connect(broker.ConnOptions(o.Log)...)
	if err != nil {
		return nil, err
	}
	s.onClose(nc.Close)
	cfg := consumer.Config{Conn: nc, Keys: s.keys, Log: o.Log, Provider: awsiam.New(s.AWSOptions), MinTTL: o.MinTTL,
		Streams: consumer.Streams{MinBatch: broker.GroupCommit(o.Durable)}}
	if o.Configure != nil {
		o.Configure(&cfg)
	}
	prepare := o.Prepare
	if prepare == nil {
		prepare = putDemo
	}
	b, err := broker.Start(ctx, cfg, prepare)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() error {
		stopping, cancel := context.WithTimeout(context.Background(), broker.StopTimeout)
		defer cancel()
		return b.Stop(stopping)
	})
	return b, nil
}

// putDemo stores the demo's definition.
func putDemo(ctx context.Context, secrets *consumer.Secrets) error {
	d, err := Demo()
	if err != nil {
		return err
	}
	_, err = secrets.Put(ctx, d, consumer.SourceFile)
	return err
}

// simulate starts the simulated AWS account, with what the demo's definition needs.
func (s *Sandbox) simulate(o Options) error {
	s.Sim = iamsim.New(o.Account)
	s.Sim.AddGroup("demo")
	if o.Furnish != nil {
		o.Furnish(s.Sim)
	}
	keyID, secret := s.Sim.AddPrincipal("lessor-broker")
	listen := o.IAMListen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	var err error
	if s.AWS, err = s.Sim.StartOn(listen); err != nil {
		return fmt.Errorf("the AWS simulator: %w; choose another address with --iam-listen", err)
	}
	s.onClose(func() { _ = s.AWS.Close() }) // the process ends anyway
	s.AWSOptions.Endpoint, s.AWSOptions.Credentials = s.AWS.URL, credentials.NewStaticCredentialsProvider(keyID, secret, "")
	return nil
}

// keys returns the keys of a store, or new ones that are stored nowhere.
func keys(store string) (*messages.Keyring, error) {
	if store == "" {
		return keyfile.New()
	}
	return keyfile.ReadOrCreate(store)
}

// Close stops everything, the brokers first. It returns the error of a broker that could
// not finish its tasks.
func (s *Sandbox) Close() error {
	var errs []error
	for _, f := range slices.Backward(s.close) {
		errs = append(errs, f())
	}
	s.close = nil
	return errors.Join(errs...)
}
