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

// DemoSecret is the definition that dev and demo lease.
//
//go:embed demo.yaml
var DemoSecret []byte

// Sandbox is everything in one process: NATS, an AWS account that is simulated,
// and a broker.
type Sandbox struct {
	NATS       *embedded.Server
	Sim        *iamsim.Sim    // nil where AWS is elsewhere
	AWS        *iamsim.Server // nil likewise
	AWSOptions awsiam.Options // how to reach AWS, here or elsewhere
	keys       *messages.Keyring
	Broker     *broker.Broker
	close      []func() error
}

// Options say where things are. Zero values: in memory, in a temporary
// folder, on any port.
type Options struct {
	Store, NATSListen, IAMListen, IAMEndpoint string
	MinTTL                                    messages.Duration
	Log                                       zerolog.Logger

	Durable bool           // every write of the NATS server's is flushed to the disk
	Account iamsim.Options // the simulated AWS account
	// furnish puts into it what the sample does not need; nil puts nothing.
	Furnish func(*iamsim.Sim)
	// connect reaches a NATS server that runs already; nil: one is started.
	Connect func(...nats.Option) (*nats.Conn, error)
	// prepare puts the definitions; nil puts the sample.
	Prepare func(context.Context, *consumer.Secrets) error
	// called hears of the calls to AWS; nil: nobody does.
	Called func(action string, result awsiam.CallResult)
	// change has the last word on the broker's settings; nil changes nothing.
	Configure func(*consumer.Config)
}

// Start starts the sandbox.
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

// AddBroker starts a broker, or one more. It stops with the sandbox.
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
		prepare = putDemoSecret
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

func putDemoSecret(ctx context.Context, secrets *consumer.Secrets) error {
	d, err := secretfile.Parse(DemoSecret)
	if err != nil {
		return err
	}
	_, err = secrets.Put(ctx, d, consumer.SourceFile)
	return err
}

// simulate starts the simulated AWS account, with what the sample secret needs.
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
