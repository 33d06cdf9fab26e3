package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// benchCmd is the command that measures a broker, and beside it what could be had
// without one.
type benchCmd struct {
	connection // of a broker that runs already; no server and no context: everything is embedded
	identity, secret, soft,
	iamEndpoint string
	realAWS bool

	requesters, leases, live, due, day int
	replicas, nodes                    int
	latency, within                    time.Duration
	rate                               float64
	durable, json, check               bool
	only                               []string
	profiles                           string

	sizes    []int
	sized    bool // --sizes was given
	pictures string
}

// Sizes of what is loaded and of what falls due at once, by default.
const (
	benchMany        = 100_000
	benchManyDurable = 20_000 // each is a write that waits for the disk
)

// benchDay is how many leases the part day has by default: a minute's work.
const benchDay = 24_000

// benchRequestersDurable is how many requesters there are by default where each write
// waits for the disk: what is written together waits once.
const benchRequestersDurable = 128

func newBenchCmd(env *environment) *cobra.Command {
	var b benchCmd
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a broker, beside the floor: the same work with no broker",
		GroupID: tryouts,
		Long: `Run a broker, a NATS server and a simulated AWS account with a given latency, on
loopback addresses, and measure what a lease costs: time, calls, writes, memory.
Beside each figure stands its floor, measured in the same run: the same calls of
the AWS SDK in a bare loop, the same writes to JetStream, the same load of a bucket.
Where a figure has a bound, it says whether that holds. The default takes about a
minute and leaves nothing behind.

The parts:
` + benchPartsHelp() + `
With --server a broker that runs already is measured, by one requester identity with
leases of its own. Its AWS side is not seen; --iam-endpoint names it for the floor.`,
		Example: `  lessor bench
  lessor bench --only latency,throughput --json > bench.json
  lessor bench --durable --only throughput
  lessor bench --only restore,due --live 1000000 --profile ./profiles
  lessor bench --only growth --sizes 10000,100000,1000000 --svg ./pictures
  # a broker that runs already, such as that of "lessor dev"
  lessor bench --server nats://127.0.0.1:4222 --identity alice --secret demo`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			many := benchMany
			if b.durable {
				many = benchManyDurable
			}
			for name, size := range map[string]*int{"live": &b.live, "due": &b.due} {
				if !cmd.Flags().Changed(name) {
					*size = many
				}
			}
			if b.durable && !cmd.Flags().Changed("requesters") {
				b.requesters = benchRequestersDurable
			}
			b.sized = cmd.Flags().Changed("sizes")
			if err := b.validate(env); err != nil {
				return err
			}
			return b.run(cmd.Context(), env)
		},
	}
	b.flags(cmd)
	cmd.AddCommand(newBenchNodeCmd(env))
	return cmd
}

func (b *benchCmd) flags(cmd *cobra.Command) {
	b.connection.register(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&b.only, "only", nil, "`parts` to run, separated by commas (default: all but day and growth)")
	f.IntVar(&b.requesters, "requesters", 64, "requesters at work at once; with --durable 128 by default")
	f.IntVar(&b.leases, "leases", 800, "leases in each part that issues many")
	f.DurationVar(&b.within, "within", 2*time.Second, "most time for each round of them: what is not begun by then is left out; 0s: as long as it takes")
	f.DurationVar(&b.latency, "latency", 50*time.Millisecond, "how long the simulated AWS takes for a call, where that matters")
	f.Float64Var(&b.rate, "rate", 0, "calls a second that the simulated AWS takes; 0: any number")
	f.BoolVar(&b.durable, "durable", false, "have NATS flush every write to the disk")
	f.IntVar(&b.live, "live", benchMany, "live leases that a broker finds when it starts; with --durable 20000 by default")
	f.IntVar(&b.due, "due", benchMany, "leases that fall due in the same second; with --durable 20000 by default")
	f.IntVar(&b.day, "day", benchDay, "leases of the part day, all in all; each costs some milliseconds")
	f.IntVar(&b.replicas, "replicas", 2, "brokers that are compared with one")
	f.IntVar(&b.nodes, "nodes", 3, "NATS servers under the replicas: 1, 3 or 5")
	f.StringVarP(&b.identity, "identity", "i", "alice", "who asks, with --server; NATS must allow it")
	f.StringVar(&b.secret, "secret", "demo", "`name` of the dynamic secret to lease, with --server")
	f.StringVar(&b.soft, "soft-secret", "", "`name` of one without hard expiry, for renewals, with --server")
	f.StringVar(&b.iamEndpoint, "iam-endpoint", "", "`URL` of another IAM and STS instead of the simulated; its credentials are the SDK's, and it needs a group named demo")
	f.BoolVar(&b.realAWS, "real-aws", false, "let --iam-endpoint be elsewhere than on this machine: users are made and deleted there")
	f.BoolVar(&b.json, "json", false, "print the report as JSON")
	f.BoolVar(&b.check, "check", false, "exit with 1 where a bound is missed")
	f.IntSliceVar(&b.sizes, "sizes", []int{10_000, 100_000, 1_000_000}, "`numbers` of live leases for the part growth, separated by commas")
	f.StringVar(&b.pictures, "svg", "", "`folder` for the curves of the part growth, as pictures")
	f.StringVar(&b.profiles, "profile", "", "`folder` for CPU and allocation profiles of each part")
}

// remote says whether the broker to measure runs elsewhere.
func (b *benchCmd) remote() bool { return b.server != "" || b.context != "" }

func (b *benchCmd) validate(env *environment) error {
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"requesters", b.requesters, 1, 10_000}, {"leases", b.leases, 1, 1_000_000}, {"live", b.live, 1, 10_000_000},
		{"due", b.due, 1, 10_000_000}, {"day", b.day, hoursOfADay, 100_000_000}, {"replicas", b.replicas, 2, 16},
	} {
		if n.value < n.low || n.value > n.high {
			return usagef("--%s is %d; it may be %d to %d", n.flag, n.value, n.low, n.high)
		}
	}
	switch {
	case b.nodes != 1 && b.nodes != 3 && b.nodes != 5:
		return usagef("--nodes is %d; it may be 1, 3 or 5", b.nodes)
	case b.latency < 0 || b.latency > 5*time.Second:
		return usagef("--latency is %s; it may be 0s to 5s", b.latency)
	case b.within < 0:
		return usagef("--within is %s; it may not be negative", b.within)
	case b.rate < 0:
		return usagef("--rate is %g; it may not be negative", b.rate)
	case b.remote() && b.durable:
		return usagef("--durable is for the embedded NATS server; leave it away with --server or --context")
	case b.iamEndpoint != "" && b.rate > 0:
		return usagef("--rate is for the simulated AWS; leave it away with --iam-endpoint")
	}
	if err := b.checkEndpoint(); err != nil {
		return err
	}
	if err := b.checkParts(); err != nil {
		return err
	}
	if err := b.checkGrowth(); err != nil {
		return err
	}
	if !b.remote() {
		return nil // variables that lead elsewhere are not looked at
	}
	for flag, name := range map[string]string{"--identity": b.identity, "--secret": b.secret, "--soft-secret": b.soft} {
		if name == "" && flag == "--soft-secret" {
			continue
		}
		if err := checkToken(flag, name); err != nil {
			return err
		}
	}
	return b.connection.check(env)
}

// checkEndpoint keeps the bench away from an AWS that is not on this machine, unless
// that is asked for.
func (b *benchCmd) checkEndpoint() error {
	if b.iamEndpoint == "" {
		return nil
	}
	u, err := url.Parse(b.iamEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("--iam-endpoint is no URL of IAM and STS, such as http://127.0.0.1:4599")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() || b.realAWS {
		return nil
	}
	return usagef("--iam-endpoint %s is not on this machine; add --real-aws if users are to be made and deleted there", u.Host)
}

// checkParts fills in which parts run.
func (b *benchCmd) checkParts() error {
	var known, usual []string
	for _, p := range benchParts {
		known = append(known, p.name)
		if !p.extra {
			usual = append(usual, p.name)
		}
	}
	for _, name := range b.only {
		if !slices.Contains(known, name) {
			return usagef("--only names %q; the parts are %s", name, strings.Join(known, ", "))
		}
	}
	chosen := len(b.only) > 0
	if !chosen {
		b.only = usual
	}
	for _, p := range benchParts {
		if b.elsewhere(p) && slices.Contains(b.only, p.name) {
			if chosen {
				return usagef("--only names %q, which needs a NATS server and an AWS account of its own; leave --server, --context and --iam-endpoint away", p.name)
			}
			b.only = slices.DeleteFunc(b.only, func(name string) bool { return name == p.name })
		}
	}
	return nil
}

// elsewhere says whether what a part must have to itself is elsewhere.
func (b *benchCmd) elsewhere(p benchPart) bool {
	return p.alone && (b.remote() || b.iamEndpoint != "")
}

// run measures, and prints what came of it.
func (b *benchCmd) run(ctx context.Context, env *environment) error {
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o700); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	if b.pictures != "" {
		if err := os.MkdirAll(b.pictures, 0o755); err != nil { // #nosec G301 -- pictures are for everybody to see
			return fmt.Errorf("--svg: %w", err)
		}
	}
	m := &bench{benchCmd: b, env: env, progress: env.progress(), report: newBenchReport(b)}
	env.suit(b.durable)
	err := m.measure(ctx)
	m.progress.end()
	if ctx.Err() != nil {
		return errors.New("the bench was interrupted")
	}
	if err != nil {
		return err
	}
	if err := m.report.print(env, b.json); err != nil {
		return err
	}
	return b.judge(m.report)
}

// judge is what --check makes of a report.
func (b *benchCmd) judge(r *benchReport) error {
	if !b.check || r.Missed == 0 {
		return nil
	}
	return fmt.Errorf("%d bounds are missed; the report names them, and --profile shows where the time goes", r.Missed)
}
