package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/audit"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/chaos"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/load"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
)

// test starts everything in a folder, runs the load with faults, waits until all leases
// have ended, and checks what is left.
func (s *soak) test(ctx context.Context, env *cli.Environment, dir string) (verdict.Verdict, error) {
	p := env.Progress()
	defer p.Clear()
	t := verdict.NewTally()
	p.Show("starting two brokers, three NATS servers and AWS")
	w, err := world.Start(ctx, dir, t)
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("the soak test does not start: %w; the logs are in %s", err, dir)
	}
	defer w.Close()
	requesters, err := load.New(w, t, s.seed, s.clients, s.duration)
	if err != nil {
		return verdict.Verdict{}, err
	}
	defer requesters.Close()
	operator, err := load.NewOperator(ctx, requesters)
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("the soak test does not start: %w; the logs are in %s", err, dir)
	}
	auditor := audit.New(w, t)
	auditing, cancel := context.WithCancel(ctx)
	var audits sync.WaitGroup
	audits.Go(func() { auditor.Run(auditing) })
	stopAudit := func() { cancel(); audits.Wait() }
	defer stopAudit()

	s.runWithFaults(ctx, p, w, t, requesters, operator)
	p.Show("waiting for leases to end")
	requesters.Settle(ctx)
	operator.Settle(ctx)
	auditor.Settle(ctx)
	stopAudit()
	if ctx.Err() != nil {
		return verdict.Verdict{}, errors.New("the soak test was interrupted")
	}
	p.Show("checking what is left")
	if err := auditor.Finish(ctx); err != nil {
		return verdict.Verdict{}, err
	}
	w.Stop()
	if err := auditor.SearchSecrets(); err != nil {
		return verdict.Verdict{}, err
	}
	return t.Verdict(s.seed, s.duration), nil
}

// runWithFaults runs the requesters and the operator with faults for the duration of the
// test. It returns when the faults have ended and the requesters have finished.
func (s *soak) runWithFaults(ctx context.Context, p *cli.Progress, w *world.World, t *verdict.Tally, requesters *load.Load, operator *load.Operator) {
	end := time.Now().Add(s.duration)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	go showProgress(ctx, p, t, end)
	requesters.Start(ctx, operator)
	chaos.New(w, t, s.seed, s.duration).Run(ctx)
	p.Show("ending the faults")
	w.Heal()
	requesters.Wait()
}

// showProgress shows the counts once a second.
func showProgress(ctx context.Context, p *cli.Progress, t *verdict.Tally, end time.Time) {
	for tick := time.NewTicker(time.Second); ; {
		p.Show("%s left: %s", time.Until(end).Round(time.Second), t.Progress())
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}
