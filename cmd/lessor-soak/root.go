package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/natsnode"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/audit"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/load"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/storm"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
)

// soak is the command that tries to break everything at once.
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
		Short: "Break everything at random under load, and count what was lost",
		Long: `Run two brokers, three NATS servers and a simulated AWS account, each a process of
its own, on loopback addresses. Clients ask for leases, renew and revoke them, and
check what they get, while processes are killed, connections cut and stalled, AWS
throttles, fails and forgets to answer, and the brokers' clocks disagree. Then
everything is healed, and a verdict says what should not have happened: exit code 1
if any of it did.

The seed chooses what happens and when; how the processes meet it differs from run
to run. The folder with stores and logs is removed, unless --keep names one, or the
verdict is bad.`,
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
	f.DurationVar(&s.duration, "duration", 2*time.Minute, "how long things break; healing comes on top")
	f.Uint64Var(&s.seed, "seed", 0, "what happens, and when (default: another each time)")
	f.IntVar(&s.clients, "clients", 24, "requesters at work at once")
	f.BoolVar(&s.json, "json", false, "print the verdict as JSON")
	f.StringVar(&s.keep, "keep", "", "`folder` that keeps stores and logs; it must be empty or not there yet")
	cmd.AddCommand(natsnode.NewCommand(env, "lessor-soak"), newAWSCmd(env), newBrokerCmd(env))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	return cmd
}

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

// run soaks, and says how it went.
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
		err = fmt.Errorf("the verdict is bad; stores and logs are in %s, and --seed %d chooses the same again", dir, s.seed)
	}
	if s.keep == "" && (v.OK || ctx.Err() != nil) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// test is one run: start, break, heal, look.
func (s *soak) test(ctx context.Context, env *cli.Environment, dir string) (verdict.Verdict, error) {
	p := env.Progress()
	defer p.Clear()
	t := verdict.NewTally()
	p.Show("starting two brokers, three NATS servers and AWS")
	w, err := world.Start(ctx, dir, t)
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("the soak does not start: %w; its logs were in %s", err, dir)
	}
	defer w.Close()
	requesters, err := load.New(w, t, s.seed, s.clients, s.duration)
	if err != nil {
		return verdict.Verdict{}, err
	}
	defer requesters.Close()
	operator, err := load.NewOperator(ctx, requesters)
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("the soak does not start: %w; its logs are in %s", err, dir)
	}
	audit := audit.New(w, t)
	watching, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { audit.Run(watching) })
	stop := func() { cancel(); watch.Wait() }
	defer stop()

	end := time.Now().Add(s.duration)
	storming, calm := context.WithDeadline(ctx, end)
	defer calm()
	go s.tell(storming, p, t, end)
	requesters.Start(storming)
	requesters.All.Go(func() { operator.Work(storming) })
	storm.New(w, t, s.seed, s.duration).Run(storming)
	p.Show("healing")
	w.Heal()
	requesters.Wait()
	p.Show("waiting for leases to end")
	requesters.Settle(ctx)
	operator.Settle(ctx)
	audit.Settle(ctx)
	stop()
	if ctx.Err() != nil {
		return verdict.Verdict{}, errors.New("the soak was interrupted")
	}
	p.Show("looking at what is left")
	if err := audit.Last(ctx); err != nil {
		return verdict.Verdict{}, err
	}
	w.Stop()
	if err := audit.Search(); err != nil {
		return verdict.Verdict{}, err
	}
	return t.Verdict(s.seed, s.duration), nil
}

// tell shows a person how far it is.
func (s *soak) tell(ctx context.Context, p *cli.Progress, t *verdict.Tally, end time.Time) {
	for tick := time.NewTicker(time.Second); ; {
		p.Show("%s to go: %s", time.Until(end).Round(time.Second), t.Sofar())
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
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
