package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/natsnode"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/measure"
)

func newRootCmd(env *cli.Environment) *cobra.Command {
	var b measure.Settings
	cmd := cli.NewRoot(env, &cobra.Command{
		Use:   "lessor-bench",
		Short: "Measure a broker, beside the floor: the same work with no broker",
		Long: `Run a broker, a NATS server and a simulated AWS account with a given latency, on
loopback addresses, and measure what a lease costs: time, calls, writes, memory.
Beside each figure stands its floor, measured in the same run: the same calls of
the AWS SDK in a bare loop, the same writes to JetStream, the same load of a bucket.
Where a figure has a bound, it says whether that holds. The default takes about a
minute and leaves nothing behind.

The parts:
` + measure.PartsHelp() + `
With --server a broker that runs already is measured, by one requester identity with
leases of its own. Its AWS side is not seen; --iam-endpoint names it for the floor.`,
		Example: `  lessor-bench
  lessor-bench --only latency,throughput --json > bench.json
  lessor-bench --durable --only throughput
  lessor-bench --only restore,due --live 1000000 --profile ./profiles
  lessor-bench --only growth --sizes 10000,100000,1000000 --svg ./pictures
  # a broker that runs already, such as that of "lessor dev"
  lessor-bench --server nats://127.0.0.1:4222 --identity alice --secret demo`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			many := measure.DefaultLeases
			if b.Durable {
				many = measure.DefaultLeasesDurable
			}
			for name, size := range map[string]*int{"live": &b.Live, "due": &b.Due} {
				if !cmd.Flags().Changed(name) {
					*size = many
				}
			}
			if b.Durable && !cmd.Flags().Changed("requesters") {
				b.Requesters = measure.DefaultRequestersDurable
			}
			b.Sized = cmd.Flags().Changed("sizes")
			if err := b.Validate(env); err != nil {
				return err
			}
			return measure.Run(cmd.Context(), env, &b)
		},
	})
	addFlags(cmd, &b)
	cmd.AddCommand(natsnode.NewCommand(env, "lessor-bench"))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	return cmd
}

func addFlags(cmd *cobra.Command, b *measure.Settings) {
	b.Connection.Register(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&b.Only, "only", nil, "`parts` to run, separated by commas (default: all but day and growth)")
	f.IntVar(&b.Requesters, "requesters", 64, "requesters at work at once; with --durable 128 by default")
	f.IntVar(&b.Leases, "leases", 800, "leases in each part that issues many")
	f.DurationVar(&b.Within, "within", 2*time.Second, "most time for each round of them: what is not begun by then is left out; 0s: as long as it takes")
	f.DurationVar(&b.Latency, "latency", 50*time.Millisecond, "how long the simulated AWS takes for a call, where that matters")
	f.Float64Var(&b.Rate, "rate", 0, "calls a second that the simulated AWS takes; 0: any number")
	f.BoolVar(&b.Durable, "durable", false, "have NATS flush every write to the disk")
	f.IntVar(&b.Live, "live", measure.DefaultLeases, "live leases that a broker finds when it starts; with --durable 20000 by default")
	f.IntVar(&b.Due, "due", measure.DefaultLeases, "leases that fall due in the same second; with --durable 20000 by default")
	f.IntVar(&b.Day, "day", measure.DefaultDay, "leases of the part day, all in all; each costs some milliseconds")
	f.IntVar(&b.Replicas, "replicas", 2, "brokers that are compared with one")
	f.IntVar(&b.Nodes, "nodes", 3, "NATS servers under the replicas: 1, 3 or 5")
	f.StringVarP(&b.Identity, "identity", "i", "alice", "who asks, with --server; NATS must allow it")
	f.StringVar(&b.Secret, "secret", "demo", "`name` of the dynamic secret to lease, with --server")
	f.StringVar(&b.Soft, "soft-secret", "", "`name` of one without hard expiry, for renewals, with --server")
	f.StringVar(&b.IAMEndpoint, "iam-endpoint", "", "`URL` of another IAM and STS instead of the simulated; its credentials are the SDK's, and it needs a group named demo")
	f.BoolVar(&b.RealAWS, "real-aws", false, "let --iam-endpoint be elsewhere than on this machine: users are made and deleted there")
	f.BoolVar(&b.JSON, "json", false, "print the report as JSON")
	f.BoolVar(&b.Check, "check", false, "exit with 1 where a bound is missed")
	f.IntSliceVar(&b.Sizes, "sizes", []int{10_000, 100_000, 1_000_000}, "`numbers` of live leases for the part growth, separated by commas")
	f.StringVar(&b.Pictures, "svg", "", "`folder` for the curves of the part growth, as pictures")
	f.StringVar(&b.Profiles, "profile", "", "`folder` for CPU and allocation profiles of each part")
}
