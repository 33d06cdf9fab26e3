package main

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// newBrokerCmd returns the hidden command that runs a broker: like lessor serve, with
// shorter intervals and a clock that is off.
func newBrokerCmd(env *cli.Environment) *cobra.Command {
	var server, keyFile, secrets, health string
	var skew time.Duration
	cmd := &cobra.Command{
		Use:     "broker",
		Short:   "Run a broker of a soak test",
		Hidden:  true,
		Example: "  lessor-soak broker --server nats://127.0.0.1:4222 --key-file broker.key --secrets ./secrets --health 127.0.0.1:8080 --clock-skew 2s",
		Args:    cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := zerolog.New(env.Stderr).Level(zerolog.DebugLevel).With().Timestamp().Logger()
			return broker.Serve(cmd.Context(), broker.ServeOptions{
				Log: log, Version: cli.Version(), KeyFile: keyFile, Secrets: secrets, Health: health,
				Dial: func(options ...nats.Option) (*nats.Conn, error) { return nats.Connect(server, options...) },
				Now:  func() time.Time { return time.Now().Add(skew) },
				Config: consumer.Config{
					Timing: record.Timing{Confirm: 5 * time.Second}, MinTTL: messages.Duration(time.Second), Streams: consumer.Streams{Replicas: world.Nodes},
					Sweep: consumer.Sweep{Every: 3 * time.Second, Grace: 5 * time.Second}, MaintainEvery: 100 * time.Millisecond,
					Workers: consumer.Workers{Request: 128, Revoke: 128},
				},
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", nats.DefaultURL, "NATS server `URL`s, separated by commas")
	f.StringVar(&keyFile, "key-file", "", "`file` with the broker's key")
	f.StringVar(&secrets, "secrets", "", "`folder` with the definitions")
	f.StringVar(&health, "health", "", "`address` for /healthz, /readyz and /metrics")
	f.DurationVar(&skew, "clock-skew", 0, "how far the broker's clock is ahead of the machine's")
	return cmd
}
