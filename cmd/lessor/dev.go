package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/messages"
)

// devCmd is the command that keeps a sandbox up.
type devCmd struct {
	sandbox.Options
	level string
}

func newDevCmd(env *cli.Environment) *cobra.Command {
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
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), env) },
	}
	f := cmd.Flags()
	f.StringVar(&d.NATSListen, "listen", "127.0.0.1:4222", "`address` of the NATS server")
	f.StringVar(&d.IAMListen, "iam-listen", "127.0.0.1:4599", "`address` of the simulated IAM and STS")
	f.StringVar(&d.IAMEndpoint, "iam-endpoint", "", "`URL` of another IAM and STS instead of the simulated; its credentials are the SDK's")
	f.StringVar(&d.Store, "store", "", "`folder` that keeps the state (default: a temporary one)")
	f.StringVar(&d.level, "log-level", "warn", "debug, info, warn or error")
	d.MinTTL = messages.Duration(time.Second)
	f.Var(&d.MinTTL, "min-ttl", "shortest lease")
	f.Lookup("min-ttl").DefValue = d.MinTTL.String()
	return cmd
}

func (d *devCmd) run(ctx context.Context, env *cli.Environment) error {
	level, err := zerolog.ParseLevel(d.level)
	if err != nil {
		return cli.Usagef("--log-level is %q; it may be debug, info, warn or error", d.level)
	}
	d.Log = zerolog.New(env.Stderr).Level(level).With().Timestamp().Logger()
	s, err := sandbox.Start(ctx, d.Options)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // the state of what is unfinished is stored, or thrown away
	endpoint := d.IAMEndpoint
	if s.AWS != nil {
		endpoint = s.AWS.URL
	}
	if _, err := fmt.Fprintf(env.Stdout, devText, s.NATS.URL(), endpoint); err != nil {
		return err
	}
	<-ctx.Done()
	env.Note("stopping")
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
