package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/natsnode"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/measure"
)

func newRootCmd(env *cli.Environment) *cobra.Command {
	var s measure.Settings
	cmd := cli.NewRoot(env, &cobra.Command{
		Use:   "lessor-bench",
		Short: "Measure a broker, and beside each figure its floor: the same work without a broker",
		Long: `Run a broker, a NATS server and a simulated AWS account with a given latency on
loopback addresses, and measure what a lease costs: time, calls, writes, memory.
Beside each figure stands its floor, measured in the same run: the same calls of
the AWS SDK in a bare loop, the same writes to JetStream, the same read of a bucket.
A figure that has a bound says whether the bound is met. By default this takes about
a minute and leaves nothing behind.

The parts:
` + measure.PartsHelp() + `
With --server it measures a broker that is already running, as one requester with
leases of its own. The calls of that broker to AWS can't be counted; --iam-endpoint
names its IAM for the floor.`,
		Example: `  lessor-bench
  lessor-bench --only latency,throughput --json > bench.json
  lessor-bench --durable --only throughput
  lessor-bench --only restore,due --live 1000000 --profile ./profiles
  lessor-bench --only growth --sizes 10000,100000,1000000 --svg ./pictures
  # a broker that is already running, such as that of "lessor dev"
  lessor-bench --server nats://127.0.0.1:4222 --identity alice --secret demo`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			setDefaults(cmd, &s)
			if err := s.Validate(env); err != nil {
				return err
			}
			return measure.Run(cmd.Context(), env, &s)
		},
	})
	addFlags(cmd, &s)
	cmd.AddCommand(natsnode.NewCommand(env, "lessor-bench"))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	return cmd
}

// setDefaults sets the flags that were not given and whose default depends on --durable.
func setDefaults(cmd *cobra.Command, s *measure.Settings) {
	leases := measure.DefaultLeases
	if s.Durable {
		leases = measure.DefaultLeasesDurable
	}
	for name, value := range map[string]*int{"live": &s.Live, "due": &s.Due} {
		if !cmd.Flags().Changed(name) {
			*value = leases
		}
	}
	if s.Durable && !cmd.Flags().Changed("requesters") {
		s.Requesters = measure.DefaultRequestersDurable
	}
	s.SizesGiven = cmd.Flags().Changed("sizes")
}

func addFlags(cmd *cobra.Command, s *measure.Settings) {
	s.Connection.Register(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&s.Only, "only", nil, "`parts` to run, separated by commas (default: all but day and growth)")
	f.IntVar(&s.Requesters, "requesters", 64, "requesters that work at the same time; with --durable 128 by default")
	f.IntVar(&s.Leases, "leases", 800, "leases in each part that issues many")
	f.DurationVar(&s.Within, "within", 2*time.Second, "time limit for each round of them: leases that are not started by then are left out; 0s: no limit")
	f.DurationVar(&s.Latency, "latency", 50*time.Millisecond, "latency of a call to the simulated AWS, in the parts where AWS has one")
	f.Float64Var(&s.Rate, "rate", 0, "calls a second that the simulated AWS accepts; 0: no limit")
	f.BoolVar(&s.Durable, "durable", false, "have NATS flush every write to the disk")
	f.IntVar(&s.Live, "live", measure.DefaultLeases, "live leases that exist when a broker starts; with --durable 20000 by default")
	f.IntVar(&s.Due, "due", measure.DefaultLeases, "leases that are due in the same second; with --durable 20000 by default")
	f.IntVar(&s.Day, "day", measure.DefaultDay, "leases of the part day in total; each costs some milliseconds")
	f.IntVar(&s.Replicas, "replicas", 2, "brokers that are compared with one")
	f.IntVar(&s.Nodes, "nodes", 3, "NATS servers that the replicas use: 1, 3 or 5")
	f.StringVarP(&s.Identity, "identity", "i", "alice", "identity of the requester, with --server; its NATS user must be allowed to use it")
	f.StringVar(&s.Secret, "secret", "demo", "`name` of the dynamic secret to lease, with --server")
	f.StringVar(&s.SoftSecret, "soft-secret", "", "`name` of a dynamic secret without hard expiry, for renewals, with --server")
	f.StringVar(&s.IAMEndpoint, "iam-endpoint", "", "`URL` of an IAM and STS to use instead of the simulated ones, with the SDK's credentials; it needs a group named demo")
	f.BoolVar(&s.RealAWS, "real-aws", false, "allow an --iam-endpoint that is not on this machine: users are created and deleted there")
	f.BoolVar(&s.JSON, "json", false, "print the report as JSON")
	f.BoolVar(&s.CheckBounds, "check", false, "exit with 1 if a bound is not met")
	f.IntSliceVar(&s.Sizes, "sizes", []int{10_000, 100_000, 1_000_000}, "`numbers` of live leases for the part growth, separated by commas")
	f.StringVar(&s.ChartFolder, "svg", "", "`folder` for the charts of the part growth")
	f.StringVar(&s.ProfileFolder, "profile", "", "`folder` for CPU and allocation profiles of each part")
}
