package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// demoSecret is the definition that dev and demo lease.
//
//go:embed demo.yaml
var demoSecret []byte

// sandbox is everything in one process: NATS, an AWS account that is simulated,
// and a broker.
type sandbox struct {
	nats   *embedded.Server
	sim    *iamsim.Sim    // nil where AWS is elsewhere
	aws    *iamsim.Server // nil likewise
	calls  awsiam.Options // how to reach AWS, here or elsewhere
	keys   *messages.Keyring
	broker *broker
	close  []func()
}

// sandboxOptions say where things are. Zero values: in memory, in a temporary
// folder, on any port.
type sandboxOptions struct {
	store, natsListen, iamListen, iamEndpoint string
	minTTL                                    messages.Duration
	log                                       zerolog.Logger

	durable bool           // every write of the NATS server's is flushed to the disk
	account iamsim.Options // the simulated AWS account
	// furnish puts into it what the sample does not need; nil puts nothing.
	furnish func(*iamsim.Sim)
	// connect reaches a NATS server that runs already; nil: one is started.
	connect func(...nats.Option) (*nats.Conn, error)
	// prepare puts the definitions; nil puts the sample.
	prepare func(context.Context, *consumer.Secrets) error
	// called hears of the calls to AWS; nil: nobody does.
	called func(action string, came awsiam.Came)
	// change has the last word on the broker's settings; nil changes nothing.
	change func(*consumer.Config)
}

// startSandbox starts the sandbox.
func startSandbox(ctx context.Context, o sandboxOptions) (*sandbox, error) {
	s := &sandbox{}
	if err := s.start(ctx, o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *sandbox) start(ctx context.Context, o sandboxOptions) error {
	if o.connect == nil {
		if err := s.startNATS(o); err != nil {
			return err
		}
		o.connect = s.nats.Connect
	}
	s.calls = awsiam.Options{Endpoint: o.iamEndpoint, Log: o.log}
	if o.iamEndpoint == "" {
		if err := s.simulate(o); err != nil {
			return err
		}
	}
	s.calls.Called = o.called
	var err error
	if s.keys, err = sandboxKeys(o.store); err != nil {
		return err
	}
	s.broker, err = s.addBroker(ctx, o)
	return err
}

func (s *sandbox) startNATS(o sandboxOptions) error {
	store := ""
	if o.store != "" {
		store = filepath.Join(o.store, "nats")
	}
	var err error
	s.nats, err = embedded.Start(embedded.Options{
		StoreDir: store, Listen: o.natsListen, Durable: o.durable, LockTimeout: 2 * time.Second, Log: o.log,
	})
	if err != nil {
		return notStarted(err)
	}
	s.close = append(s.close, s.nats.Close)
	return nil
}

// addBroker starts a broker, or one more. It stops with the sandbox.
func (s *sandbox) addBroker(ctx context.Context, o sandboxOptions) (*broker, error) {
	nc, err := o.connect(brokerConn(o.log)...)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, nc.Close)
	cfg := consumer.Config{Conn: nc, Keys: s.keys, Log: o.log, Provider: awsiam.New(s.calls), MinTTL: o.minTTL, GroupCommit: groupCommit(o.durable)}
	if o.change != nil {
		o.change(&cfg)
	}
	prepare := o.prepare
	if prepare == nil {
		prepare = putDemoSecret
	}
	b, err := startBroker(ctx, cfg, prepare)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() {
		stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = b.Stop(stopping) // what is left goes on with the next start, or with the folder
	})
	return b, nil
}

func putDemoSecret(ctx context.Context, secrets *consumer.Secrets) error {
	d, err := parseSecret(demoSecret)
	if err != nil {
		return err
	}
	_, err = secrets.Put(ctx, d, consumer.SourceFile)
	return err
}

// notStarted says what to do about an embedded NATS server that does not start.
// Where another has the store, the error itself does.
func notStarted(err error) error {
	if errors.Is(err, embedded.ErrStoreInUse) || !strings.Contains(err.Error(), "listen") {
		return err
	}
	return fmt.Errorf("%w; choose another address with --listen", err)
}

// simulate starts the simulated AWS account, with what the sample secret needs.
func (s *sandbox) simulate(o sandboxOptions) error {
	s.sim = iamsim.New(o.account)
	s.sim.AddGroup("demo")
	if o.furnish != nil {
		o.furnish(s.sim)
	}
	keyID, secret := s.sim.AddPrincipal("lessor-broker")
	listen := o.iamListen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	var err error
	if s.aws, err = s.sim.StartOn(listen); err != nil {
		return fmt.Errorf("the AWS simulator: %w; choose another address with --iam-listen", err)
	}
	s.close = append(s.close, func() { _ = s.aws.Close() }) // the process ends anyway
	s.calls.Endpoint, s.calls.Credentials = s.aws.URL, credentials.NewStaticCredentialsProvider(keyID, secret, "")
	return nil
}

// sandboxKeys are kept with the store, or made for once.
func sandboxKeys(store string) (*messages.Keyring, error) {
	if store != "" {
		return storeKeys(store)
	}
	seed, err := messages.NewKey()
	if err != nil {
		return nil, err
	}
	return messages.ParseKeyring(seed)
}

// Close stops everything, the broker first.
func (s *sandbox) Close() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
	s.close = nil
}

// devCmd is the command that keeps a sandbox up.
type devCmd struct {
	sandboxOptions
	level string
}

func newDevCmd(env *environment) *cobra.Command {
	var d devCmd
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Keep everything up in one process: NATS, a simulated AWS, a broker",
		GroupID: tryouts,
		Long: `Keep everything up in one process, to try things from another terminal: a NATS
server, a simulated AWS account, a broker, and a dynamic secret named demo.

With --store, leases stay over a restart. The simulated account does not: their
users are gone from it, as if somebody had removed them by hand.`,
		Example: `  lessor dev
  # in another terminal
  lessor request demo --identity alice`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), env) },
	}
	f := cmd.Flags()
	f.StringVar(&d.natsListen, "listen", "127.0.0.1:4222", "`address` of the NATS server")
	f.StringVar(&d.iamListen, "iam-listen", "127.0.0.1:4599", "`address` of the simulated IAM and STS")
	f.StringVar(&d.iamEndpoint, "iam-endpoint", "", "`URL` of another IAM and STS instead of the simulated; its credentials are the SDK's")
	f.StringVar(&d.store, "store", "", "`folder` that keeps the state (default: a temporary one)")
	f.StringVar(&d.level, "log-level", "warn", "debug, info, warn or error")
	d.minTTL = messages.Duration(time.Second)
	f.Var(&d.minTTL, "min-ttl", "shortest lease")
	f.Lookup("min-ttl").DefValue = d.minTTL.String()
	return cmd
}

func (d *devCmd) run(ctx context.Context, env *environment) error {
	level, err := zerolog.ParseLevel(d.level)
	if err != nil {
		return usagef("--log-level is %q; it may be debug, info, warn or error", d.level)
	}
	d.log = zerolog.New(env.Stderr).Level(level).With().Timestamp().Logger()
	s, err := startSandbox(ctx, d.sandboxOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	endpoint := d.iamEndpoint
	if s.aws != nil {
		endpoint = s.aws.URL
	}
	if _, err := fmt.Fprintf(env.Stdout, devText, s.nats.URL(), endpoint); err != nil {
		return err
	}
	<-ctx.Done()
	env.note("stopping")
	return nil
}

// devText is what dev says. Its arguments: the URLs of NATS and of AWS.
const devText = `NATS    %[1]s
AWS     %[2]s (IAM and STS)
secret  demo

Try, from another terminal:

  export NATS_URL=%[1]s
  go run ./cmd/lessor request demo --identity alice --ttl 5m
  go run ./cmd/lessor list --identity alice
  go run ./cmd/lessor events --no-follow

With the nats command, one request and one reply:

  nats req --timeout 30s lessor.api.request.alice.demo '{"ttl":"5m"}'
  nats req lessor.api.list.alice ''

To use a leased key, as the aws command would:

  eval "$(go run ./cmd/lessor request demo --identity alice --output env)"
  AWS_ENDPOINT_URL=%[2]s aws sts get-caller-identity

Ctrl-C ends it.
`
