package broker

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// ServeOptions configure [Serve]. Either Dial or Embedded must be set.
type ServeOptions struct {
	// Dial connects to a NATS server that runs elsewhere.
	Dial func(...nats.Option) (*nats.Conn, error)
	// Embedded runs a NATS server in this process.
	Embedded *embedded.Options
	// KeyFile is the file with the broker's key. "" is the key in the store of the embedded
	// server, which is created if it is missing.
	KeyFile string
	// Secrets is the folder with the definitions; "" is none. Changes in it are put into
	// force within seconds, and at once on SIGHUP.
	Secrets string
	// Health is the address of /healthz, /readyz and /metrics; "" serves none of them.
	Health string
	// AWSRate is the most calls a second to one AWS account; 0 is no limit.
	AWSRate float64
	// Config has the settings of the consumer. Serve sets Conn, Keys, Provider, Meter, Log,
	// Now and Waiting.
	Config consumer.Config
	// Version is the version of the program, for the metrics.
	Version string
	// Now is the broker's clock; nil is time.Now.
	Now func() time.Time
	// Log receives the log; the zero value discards it.
	Log zerolog.Logger
}

// Serve runs a broker until ctx ends. It then lets the broker finish the tasks in
// progress, and returns nil.
func Serve(ctx context.Context, o ServeOptions) error {
	CollectRarely()
	state, counts := NewReadiness(), NewMetrics(o.Version)
	if o.Health != "" {
		stop, at, err := ServeHealth(o.Health, state, counts.Handler())
		if err != nil {
			return err
		}
		defer stop()
		o.Log.Info().Str("address", at).Msg("health")
	}
	nc, keys, closeNATS, err := o.nats(ctx, state.Waiting)
	if err != nil {
		return o.notStarted(ctx, err)
	}
	defer closeNATS()
	hangups := make(chan os.Signal, 1)
	if o.Secrets != "" { // without a folder SIGHUP ends the process
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	b, folder, err := o.start(ctx, nc, keys, state, counts)
	if err != nil {
		return o.notStarted(ctx, err)
	}
	state.Up(b)
	counts.Watch(b.Scheduler.Counts)
	o.Log.Info().Str("installation", b.Installation()).Msg("broker is up")
	if folder != nil {
		ticker := time.NewTicker(secretfile.FollowInterval)
		defer ticker.Stop()
		folder.Follow(ctx, ticker.C, hangups)
	}
	<-ctx.Done()
	o.Log.Info().Msg("stopping; finishing the tasks in progress")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopTimeout)
	defer cancel()
	if err := b.Stop(stopping); err != nil {
		o.Log.Warn().Err(err).Msg("not all tasks could be finished; they are redelivered to the next broker")
	}
	o.Log.Info().Msg("stopped")
	return nil
}

// notStarted returns the error of a start. It returns nil if the broker was stopped
// during the start.
func (o ServeOptions) notStarted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	o.Log.Info().Err(err).Msg("stopped before the broker was up")
	return nil
}

// start starts the broker with the definitions of the folder.
func (o ServeOptions) start(ctx context.Context, nc *nats.Conn, keys *messages.Keyring, state *Readiness, counts *Metrics) (*Broker, *secretfile.Folder, error) {
	aws := awsiam.New(awsiam.Options{Rate: o.AWSRate, Log: o.Log, Now: o.Now, OnCall: counts.Called})
	logPrincipal(ctx, aws, o.Log)
	cfg := o.Config
	cfg.Conn, cfg.Keys, cfg.Provider, cfg.Meter, cfg.Log, cfg.Now, cfg.Waiting = nc, keys, aws, counts, o.Log, o.Now, state.Waiting
	var folder *secretfile.Folder
	b, err := Start(ctx, cfg, func(ctx context.Context, secrets *consumer.Secrets) error {
		if o.Secrets == "" {
			return nil
		}
		folder = secretfile.NewFolder(o.Secrets, secrets, o.Log)
		return folder.Load(ctx)
	})
	return b, folder, err
}

// logPrincipal logs as which principal AWS knows the broker. A broker starts without AWS
// too: leases that end are revoked when AWS is available again.
func logPrincipal(ctx context.Context, aws *awsiam.Provider, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, principalTimeout)
	defer cancel()
	var principal provider.Principal
	account, err := aws.Connect(ctx, provider.ConnectionOf(messages.DynamicSecret{}.WithDefaults(), ""))
	if err == nil {
		principal, err = account.Identify(ctx)
	}
	if err != nil {
		log.Error().Err(err).Msg("the broker has no valid AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role")
		return
	}
	log.Info().Str("account", principal.Account).Str("arn", principal.ARN).Msg("AWS")
}

// principalTimeout bounds the call to AWS for the broker's principal.
const principalTimeout = 5 * time.Second

// nats connects to NATS, or starts it, and reads the broker's key. It waits for a NATS
// server that runs elsewhere until ctx ends.
func (o ServeOptions) nats(ctx context.Context, waiting func(error)) (*nats.Conn, *messages.Keyring, func(), error) {
	if o.Embedded == nil {
		keys, err := keyfile.Read(o.KeyFile)
		if err != nil {
			return nil, nil, nil, err
		}
		nc, err := dialUntilReady(ctx, o.Log, waiting, func() (*nats.Conn, error) { return o.Dial(ConnOptions(o.Log)...) })
		if err != nil {
			return nil, nil, nil, err
		}
		return nc, keys, nc.Close, nil
	}
	options := *o.Embedded
	options.Log = o.Log.With().Str("part", "nats").Logger()
	server, err := StartNATS(options)
	if err != nil {
		return nil, nil, nil, err
	}
	keys, err := o.embeddedKeys()
	if err != nil {
		server.Close()
		return nil, nil, nil, err
	}
	nc, err := server.Connect(ConnOptions(o.Log)...)
	if err != nil {
		server.Close()
		return nil, nil, nil, fmt.Errorf("the embedded NATS server: %w", err)
	}
	if url := server.URL(); url != "" {
		o.Log.Info().Str("url", url).Bool("durable", server.Durable()).Msg("embedded NATS server")
	}
	return nc, keys, func() { nc.Close(); server.Close() }, nil
}

// embeddedKeys reads the broker's key if NATS is embedded.
func (o ServeOptions) embeddedKeys() (*messages.Keyring, error) {
	if o.KeyFile != "" {
		return keyfile.Read(o.KeyFile)
	}
	return keyfile.ReadOrCreate(o.Embedded.StoreDir)
}
