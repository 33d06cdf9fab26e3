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

// ServeOptions configure [serve].
type ServeOptions struct {
	// dial connects to a NATS server that runs elsewhere. It is not used with embedded.
	Dial func(...nats.Option) (*nats.Conn, error)
	// embedded runs a NATS server in this process; nil does not.
	Embedded *embedded.Options
	// keyFile is the file with the broker's key; "" is the key in the embedded server's
	// store, which is created if it is missing.
	KeyFile string
	// secrets is the folder with the definitions; "" is none.
	Secrets string
	// health is the address of /healthz, /readyz and /metrics; "" serves none of them.
	Health string
	// awsRate is the most calls a second to one AWS account; 0 is no limit.
	AWSRate float64
	// config has the consumer's settings. serve fills in the connection, the keys, the
	// provider, the log, the meter and the clock.
	Config consumer.Config
	// version is the version of the program, for the metrics.
	Version string
	// now is the broker's clock; nil is time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// Serve runs a broker until ctx ends. It then lets the broker finish the tasks in
// progress, and returns nil.
func Serve(ctx context.Context, o ServeOptions) error {
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
	if ctx.Err() != nil && err != nil {
		o.Log.Info().Err(err).Msg("stopped before it was up")
		return nil
	}
	if err != nil {
		return err
	}
	defer closeNATS()
	hangups := make(chan os.Signal, 1)
	if o.Secrets != "" { // without a folder SIGHUP ends the process
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	b, folder, err := o.start(ctx, nc, keys, state, counts)
	if ctx.Err() != nil && err != nil {
		o.Log.Info().Err(err).Msg("stopped before it was up")
		return nil
	}
	if err != nil {
		return err
	}
	state.Up(b)
	counts.Watch(b.Scheduler.Counts)
	o.Log.Info().Str("installation", b.Installation()).Msg("broker is up")
	if folder != nil {
		look := time.NewTicker(secretfile.FollowInterval)
		defer look.Stop()
		folder.Follow(ctx, look.C, hangups)
	}
	<-ctx.Done()
	o.Log.Info().Msg("stopping: finishing what is in hand")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), StopTimeout)
	defer cancel()
	if err := b.Stop(stopping); err != nil {
		o.Log.Warn().Err(err).Msg("not everything could be finished; it goes on with the next broker")
	}
	o.Log.Info().Msg("stopped")
	return nil
}

// start starts the broker, with the definitions of the folder in force.
func (o ServeOptions) start(ctx context.Context, nc *nats.Conn, keys *messages.Keyring, state *readiness, counts *Metrics) (*Broker, *secretfile.Folder, error) {
	aws := awsiam.New(awsiam.Options{Rate: o.AWSRate, Log: o.Log, Now: o.Now, OnCall: counts.Called})
	introduce(ctx, aws, o.Log)
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

// introduce says who the broker is at AWS, or that it is nobody. Without AWS it
// starts all the same: leases that end are revoked when AWS is back.
func introduce(ctx context.Context, aws *awsiam.Provider, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, introduceTimeout)
	defer cancel()
	var me provider.Principal
	account, err := aws.Connect(ctx, provider.ConnectionOf(messages.DynamicSecret{}.WithDefaults(), ""))
	if err == nil {
		me, err = account.Identify(ctx)
	}
	if err != nil {
		log.Error().Err(err).Msg("AWS does not know the broker; set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role")
		return
	}
	log.Info().Str("account", me.Account).Str("arn", me.ARN).Msg("AWS")
}

// introduceTimeout bounds the question at AWS who the broker is.
const introduceTimeout = 5 * time.Second

// nats connects to NATS, as soon as it is there, or starts it, and reads the broker's
// key.
func (o ServeOptions) nats(ctx context.Context, waits func(error)) (*nats.Conn, *messages.Keyring, func(), error) {
	if o.Embedded == nil {
		keys, err := keyfile.Read(o.KeyFile)
		if err != nil {
			return nil, nil, nil, err
		}
		nc, err := waitFor(ctx, o.Log, waits, func() (*nats.Conn, error) { return o.Dial(ConnOptions(o.Log)...) })
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

func (o ServeOptions) embeddedKeys() (*messages.Keyring, error) {
	if o.KeyFile != "" {
		return keyfile.Read(o.KeyFile)
	}
	return keyfile.ReadOrCreate(o.Embedded.StoreDir)
}
