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
)

// soakCmd is the command that tries to break everything at once.
type soakCmd struct {
	duration time.Duration
	seed     uint64
	clients  int
	json     bool
	keep     string
}

func newSoakCmd(env *environment) *cobra.Command {
	var s soakCmd
	cmd := &cobra.Command{
		Use:     "soak",
		Short:   "Break everything at random under load, and count what was lost",
		GroupID: tryouts,
		Long: `Run two brokers, three NATS servers and a simulated AWS account, each a process of
its own, on loopback addresses. Clients ask for leases, renew and revoke them, and
check what they get, while processes are killed, connections cut and stalled, AWS
throttles, fails and forgets to answer, and the brokers' clocks disagree. Then
everything is healed, and a verdict says what should not have happened: exit code 1
if any of it did.

The seed chooses what happens and when; how the processes meet it differs from run
to run. The folder with stores and logs is removed, unless --keep names one, or the
verdict is bad.`,
		Example: `  lessor soak
  lessor soak --duration 10m --seed 7 --keep ./soaked --json > verdict.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return err
			}
			return s.run(cmd.Context(), env)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&s.duration, "duration", 2*time.Minute, "how long things break; healing comes on top")
	f.Uint64Var(&s.seed, "seed", 0, "what happens, and when (default: another each time)")
	f.IntVar(&s.clients, "clients", 24, "requesters at work at once")
	f.BoolVar(&s.json, "json", false, "print the verdict as JSON")
	f.StringVar(&s.keep, "keep", "", "`folder` that keeps stores and logs; it must be empty or not there yet")
	cmd.AddCommand(newSoakNodeCmd(env), newSoakAWSCmd(env))
	return cmd
}

func (s *soakCmd) check() error {
	switch {
	case s.duration < time.Second || s.duration > 24*time.Hour:
		return usagef("--duration is %s; it may be 1s to 24h", s.duration)
	case s.clients < 1 || s.clients > 1000:
		return usagef("--clients is %d; it may be 1 to 1000", s.clients)
	}
	if s.keep != "" {
		if entries, err := os.ReadDir(s.keep); err == nil && len(entries) > 0 {
			return usagef("--keep %s is not empty; name another folder", s.keep)
		}
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	return nil
}

// run soaks, and says how it went.
func (s *soakCmd) run(ctx context.Context, env *environment) error {
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
	v, err := s.soak(ctx, env, dir)
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

// soak is one run: start, break, heal, look.
func (s *soakCmd) soak(ctx context.Context, env *environment, dir string) (soakVerdict, error) {
	p := env.progress()
	defer p.end()
	t := newSoakTally()
	p.show("starting two brokers, three NATS servers and AWS")
	w, err := startSoakWorld(ctx, dir, t)
	if err != nil {
		return soakVerdict{}, fmt.Errorf("the soak does not start: %w; its logs were in %s", err, dir)
	}
	defer w.close()
	load, err := newSoakLoad(w, t, s.seed, s.clients, s.duration)
	if err != nil {
		return soakVerdict{}, err
	}
	defer load.close()
	operator, err := newSoakOperator(ctx, load)
	if err != nil {
		return soakVerdict{}, fmt.Errorf("the soak does not start: %w; its logs are in %s", err, dir)
	}
	audit := newSoakAudit(w, t)
	watching, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { audit.run(watching) })
	stop := func() { cancel(); watch.Wait() }
	defer stop()

	end := time.Now().Add(s.duration)
	storming, calm := context.WithDeadline(ctx, end)
	defer calm()
	go s.tell(storming, p, t, end)
	load.start(storming)
	load.all.Go(func() { operator.work(storming) })
	newSoakStorm(w, t, s.seed, s.duration).run(storming)
	p.show("healing")
	w.heal()
	load.wait()
	p.show("waiting for leases to end")
	load.settle(ctx)
	operator.settle(ctx)
	audit.settle(ctx)
	stop()
	if ctx.Err() != nil {
		return soakVerdict{}, errors.New("the soak was interrupted")
	}
	p.show("looking at what is left")
	if err := audit.last(ctx); err != nil {
		return soakVerdict{}, err
	}
	w.stop()
	if err := audit.search(); err != nil {
		return soakVerdict{}, err
	}
	return t.verdict(s.seed, s.duration), nil
}

// tell shows a person how far it is.
func (s *soakCmd) tell(ctx context.Context, p *progress, t *soakTally, end time.Time) {
	for tick := time.NewTicker(time.Second); ; {
		p.show("%s to go: %s", time.Until(end).Round(time.Second), t.sofar())
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

func (s *soakCmd) print(env *environment, v soakVerdict) error {
	if s.json {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "%s\n", data)
		return err
	}
	_, err := fmt.Fprint(env.Stdout, v.table())
	return err
}
