package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/natsnode"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// soak has the flags of the soak test.
type soak struct {
	duration time.Duration
	seed     uint64
	clients  int
	json     bool
	keep     string
}

func newRootCmd(env *cli.Environment) *cobra.Command {
	var s soak
	cmd := cli.NewRoot(env, &cobra.Command{
		Use:   "lessor-soak",
		Short: "Run brokers under load with random faults, and check that each guarantee holds",
		Long: `Run two brokers, three NATS servers and a simulated AWS account, each a process of
its own, on loopback addresses. Requesters request, renew and revoke leases and check
the answers, while processes are killed, connections are cut or stalled, AWS
throttles, fails and drops answers, and the brokers' clocks differ. Then the faults
end, and the verdict counts the violations of each guarantee: the exit code is 1 if
there are any.

The seed determines the faults and their times; how the processes are affected
differs from run to run. The folder with stores and logs is removed, unless --keep
names one or the verdict is bad.`,
		Example: `  lessor-soak
  lessor-soak --duration 10m --seed 7 --keep ./soaked --json > verdict.json`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return err
			}
			return s.run(cmd.Context(), env)
		},
	})
	f := cmd.Flags()
	f.DurationVar(&s.duration, "duration", 2*time.Minute, "how long there are faults; the test waits for all leases to end after that")
	f.Uint64Var(&s.seed, "seed", 0, "determines the faults and their times (default: different each time)")
	f.IntVar(&s.clients, "clients", 24, "requesters that work at the same time")
	f.BoolVar(&s.json, "json", false, "print the verdict as JSON")
	f.StringVar(&s.keep, "keep", "", "`folder` for stores and logs that is kept; it must be empty or not exist")
	cmd.AddCommand(natsnode.NewCommand(env, "lessor-soak"), newAWSCmd(env), newBrokerCmd(env))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	return cmd
}

// check returns a usage error if a flag is invalid. It sets the seed if that was not given.
func (s *soak) check() error {
	switch {
	case s.duration < time.Second || s.duration > 24*time.Hour:
		return cli.Usagef("--duration is %s; it may be 1s to 24h", s.duration)
	case s.clients < 1 || s.clients > 1000:
		return cli.Usagef("--clients is %d; it may be 1 to 1000", s.clients)
	}
	if s.keep != "" {
		if entries, err := os.ReadDir(s.keep); err == nil && len(entries) > 0 {
			return cli.Usagef("--keep %s is not empty; name another folder", s.keep)
		}
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	return nil
}

// run runs the test and prints the verdict. It returns an error if the verdict is bad.
func (s *soak) run(ctx context.Context, env *cli.Environment) error {
	dir := s.keep
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "lessor-soak-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	v, err := s.test(ctx, env, dir)
	if err == nil {
		err = s.print(env, v)
	}
	if err == nil && !v.OK {
		err = fmt.Errorf("the verdict is bad; stores and logs are in %s, and --seed %d repeats the faults", dir, s.seed)
	}
	if s.keep == "" && (v.OK || ctx.Err() != nil) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

func (s *soak) print(env *cli.Environment, v verdict.Verdict) error {
	if s.json {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "%s\n", data)
		return err
	}
	_, err := fmt.Fprint(env.Stdout, v.Table())
	return err
}
