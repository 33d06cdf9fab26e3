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

// devCmd is the command that runs a sandbox.
type devCmd struct {
	sandbox.Options
	level string
}

func newDevCmd(env *cli.Environment) *cobra.Command {
	var d devCmd
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Run NATS, a simulated AWS account and a broker in one process",
		GroupID: tryouts,
		Long: `Run a NATS server, a simulated AWS account and a broker with a dynamic secret named demo
in one process, to try commands from another terminal.

With --store, leases survive a restart. The simulated account does not: the users of
these leases are missing, as if they had been deleted by hand.`,
		Example: `  lessor dev
  # in another terminal
  lessor request demo --identity alice`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), env) },
	}
	f := cmd.Flags()
	f.StringVar(&d.NATSListen, "listen", "127.0.0.1:4222", "`address` of the NATS server")
	f.StringVar(&d.IAMListen, "iam-listen", "127.0.0.1:4599", "`address` of the simulated IAM and STS")
	f.StringVar(&d.IAMEndpoint, "iam-endpoint", "", "`URL` of another IAM and STS instead of the simulated ones, with the credentials of the AWS SDK")
	f.StringVar(&d.Store, "store", "", "`folder` of the state (default: a temporary one)")
	f.StringVar(&d.level, "log-level", "warn", "debug, info, warn or error")
	d.MinTTL = messages.Duration(time.Second)
	f.Var(&d.MinTTL, "min-ttl", "shortest lease")
	f.Lookup("min-ttl").DefValue = d.MinTTL.String()
	return cmd
}

// run runs the sandbox until ctx ends.
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

// devText is what dev prints. Its arguments are the URLs of NATS and of AWS.
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

Stop it with Ctrl-C.
`
