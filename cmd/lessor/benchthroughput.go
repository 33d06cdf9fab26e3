package main

import (
	"context"
	"fmt"
)

// Bounds of throughput.
const (
	leastOfSDK      = 0.6  // of what the SDK in a bare loop does
	leastOfWrites   = 0.8  // of what the writes alone allow, where each is flushed
	leastDurable    = 850  // leases a second
	leastRenewals   = 5000 // a second, without hard expiry, where writes are not flushed
	leastRequesters = 450  // leases a second: 64 requesters, 50 ms
)

// benchRounds is how often broker and floor take turns: a machine is not as fast all
// the time.
const benchRounds = 3

// benchRates are many leases, and beside them the floor.
type benchRates struct {
	issue, revoke         benchRun
	made, removed         benchRun // the floor
	issueWrites, endWrite benchWrites
	calls, looks, sts     int
	leases                int
}

// rates issues leases and revokes them, in turns with the floor.
func (b *bench) rates(ctx context.Context, w *benchWorld, leases int) (r benchRates, err error) {
	w.calls.take()
	for round := range benchRounds {
		n := max(1, leases/benchRounds)
		b.tell("round %d of %d", round+1, benchRounds)
		if b.rate == 0 { // the SDK alone would only be throttled
			made, removed, err := w.floor.run(ctx, b.within, n, b.requesters)
			if err != nil {
				return r, fmt.Errorf("the AWS SDK in a bare loop: %w", err)
			}
			r.made, r.removed = r.made.and(made), r.removed.and(removed)
		}
		if err := b.round(ctx, w, &r, n); err != nil {
			return r, err
		}
	}
	r.calls, r.looks, r.sts = w.calls.take()
	return r, nil
}

func (b *bench) round(ctx context.Context, w *benchWorld, r *benchRates, n int) error {
	marks := make([][]benchStored, 3)
	look := func(i int) (err error) {
		if w.away {
			return nil
		}
		if err := w.quiet(ctx); err != nil {
			return err
		}
		marks[i], err = w.stored(ctx)
		return err
	}
	if err := look(0); err != nil {
		return err
	}
	leases, issue, err := w.issueMany(ctx, b.within, n, b.requesters, w.hard, "{}")
	if err != nil {
		return err
	}
	if err := look(1); err != nil {
		return err
	}
	revoke, err := w.revokeMany(ctx, leases, b.requesters)
	if err != nil {
		return err
	}
	if err := look(2); err != nil {
		return err
	}
	n = len(leases.names)
	r.issue, r.revoke, r.leases = r.issue.and(issue), r.revoke.and(revoke), r.leases+n
	if !w.away {
		r.issueWrites, r.endWrite = benchWritten(marks[0], marks[1], n), benchWritten(marks[1], marks[2], n)
	}
	return nil
}

// floorOf is what AWS allows: as measured, or by its rate.
func (b *bench) floorOf(measured benchRun) (rate float64, what string) {
	if b.rate > 0 {
		return b.rate / callsOfALease, "the calls a second that AWS takes, by 5"
	}
	if len(measured.each) == 0 {
		return 0, ""
	}
	return measured.rate(), benchSDK
}

func (b *bench) rateFigure(name, what string, run, floor benchRun, bound benchBound) benchFigure {
	rate, floorWhat := b.floorOf(floor)
	return benchFigure{Name: name, What: what, Value: run.rate(), Unit: "/s"}.besideIf(rate > 0, rate, floorWhat).within(bound.only(rate > 0))
}

// measureThroughput has as many leases as possible issued and revoked.
func (b *bench) measureThroughput(ctx context.Context) error {
	w, err := b.world(ctx, benchNeeds{leases: b.leases})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return err
	}
	_, _, warmSTS := w.calls.take()
	r, err := b.rates(ctx, w, b.leases)
	if err != nil {
		return err
	}
	bound := ratioAtLeast(leastOfSDK).only(!b.durable && w.sim != nil)
	b.add(b.rateFigure("issue", "leases issued", r.issue, r.made, bound), b.rateFigure("revoke", "leases revoked", r.revoke, r.removed, bound))
	b.add(r.issue.times("issue", "issue", nil, benchBound{})...)
	b.add(r.revoke.times("revoke", "revoke", nil, benchBound{})...)
	if w.away {
		return nil
	}
	b.add(r.issue.computed("issue", "lease issued", r.made, benchSDK), r.revoke.computed("revoke", "lease revoked", r.removed, benchSDK))
	b.add(benchFigure{Name: "calls", What: "calls to AWS a lease, all in all", Value: float64(r.calls) / float64(r.leases)}.
		beside(2*callsOfALease, "AWS can't do without").within(exactly(2*callsOfALease).only(b.rate == 0)),
		benchFigure{Name: "list_calls", What: "calls that list or look, for all of them", Value: float64(r.looks)}.
			beside(0, "AWS can do without").within(exactly(0)),
		benchFigure{Name: "sts_calls", What: "calls to STS, for all of them", Value: float64(r.sts)}.
			beside(1, "one an hour").within(atMost(1)),
		benchFigure{Name: "sts_calls_before", What: "calls to STS, from the broker's start to the first lease", Value: float64(warmSTS)})
	return b.writes(ctx, w, r)
}

// writes compares with what the writes to JetStream alone allow.
func (b *bench) writes(ctx context.Context, w *benchWorld, r benchRates) error {
	b.tell("the same writes with no broker")
	issue, err := w.bareWrites(ctx, b.within, r.issueWrites, b.leases, b.requesters)
	if err != nil {
		return err
	}
	revoke, err := w.bareWrites(ctx, b.within, r.endWrite, b.leases, b.requesters)
	if err != nil {
		return err
	}
	bound := atLeast(leastDurable).or(ratioAtLeast(leastOfWrites)).only(b.durable && b.rate == 0)
	b.add(r.issueWrites.figure("issue_writes", "writes to issue a lease"), r.endWrite.figure("revoke_writes", "writes to revoke one"),
		benchFigure{Name: "issue_by_writes", What: "leases issued", Value: r.issue.rate(), Unit: "/s"}.beside(issue.rate(), benchBareWrites).within(bound),
		benchFigure{Name: "revoke_by_writes", What: "leases revoked", Value: r.revoke.rate(), Unit: "/s"}.beside(revoke.rate(), benchBareWrites))
	return nil
}

// benchBareWrites names the floor of what JetStream makes slow.
const benchBareWrites = "the same writes to JetStream, no broker"

// benchRenewalsEach is how many renewals there are for each lease of --leases.
const benchRenewalsEach = 8

// measureRenewals has as many renewals as possible made, of which AWS is not told.
func (b *bench) measureRenewals(ctx context.Context) error {
	w, err := b.world(ctx, benchNeeds{leases: b.requesters})
	if err != nil {
		return err
	}
	defer w.close()
	if w.soft == "" {
		return nil
	}
	leases, _, err := w.issueMany(ctx, 0, b.requesters, b.requesters, w.soft, "{}")
	if err != nil {
		return err
	}
	if err := w.quiet(ctx); err != nil {
		return err
	}
	r, writes, err := b.renewMany(ctx, w, leases)
	if err != nil {
		return err
	}
	if _, err := w.revokeMany(ctx, leases, b.requesters); err != nil {
		return err
	}
	return b.renewFigures(ctx, w, r, writes)
}

func (b *bench) renewFigures(ctx context.Context, w *benchWorld, r benchRun, writes benchWrites) error {
	f := benchFigure{Name: "renew", What: "renewals", Value: r.rate(), Unit: "/s"}
	if !w.away {
		floor, err := w.bareWrites(ctx, b.within, writes, len(r.each), b.requesters)
		if err != nil {
			return err
		}
		f = f.beside(floor.rate(), benchBareWrites).within(atLeast(leastRenewals).only(!b.durable))
		b.add(writes.figure("renew_writes", "writes to renew a lease"), r.computed("renew", "renewal", floor, benchBareWrites))
	}
	b.add(f)
	b.add(r.times("renew", "renewal", nil, benchBound{})...)
	return nil
}

// renewMany has each requester renew a lease of its own again and again.
func (b *bench) renewMany(ctx context.Context, w *benchWorld, leases benchLeases) (all benchRun, writes benchWrites, err error) {
	each := max(1, b.leases*benchRenewalsEach/len(leases.names))
	var before, after []benchStored
	if !w.away {
		if before, err = w.stored(ctx); err != nil {
			return all, nil, err
		}
	}
	b.tell("%d renewals", each*len(leases.names))
	runs := make([]benchRun, len(leases.names))
	whole, err := benchLoad(ctx, len(runs), len(runs), func(ctx context.Context, i int) (err error) {
		runs[i], err = benchLoadWithin(ctx, benchRounds*b.within, each, 1, func(ctx context.Context, _ int) error { return w.renew(ctx, leases.names[i]) })
		return err
	})
	if err != nil {
		return all, nil, err
	}
	for _, r := range runs {
		all = all.and(r)
	}
	all.took, all.cpu = whole.took, whole.cpu
	if !w.away {
		if after, err = w.stored(ctx); err != nil {
			return all, nil, err
		}
		writes = benchWritten(before, after, len(all.each))
	}
	return all, writes, nil
}

// benchWaves is how many times as many leases this part has: the requesters go together,
// in waves, and the last wave of a round, which few are left for, must not count much.
const benchWaves = 4

// measureRequesters has many requesters ask an AWS that takes its time.
func (b *bench) measureRequesters(ctx context.Context) error {
	w, err := b.world(ctx, benchNeeds{latency: b.latency, leases: benchWaves * b.leases})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return err
	}
	r, err := b.rates(ctx, w, benchWaves*b.leases)
	if err != nil {
		return err
	}
	asked := b.requesters == 64 && b.latency.Milliseconds() == 50 && b.rate == 0 && w.sim != nil
	issue := b.rateFigure("issue", "leases issued", r.issue, r.made, benchBound{}).within(atLeast(leastRequesters).only(asked))
	b.add(issue, b.rateFigure("revoke", "leases revoked", r.revoke, r.removed, benchBound{}))
	b.add(r.issue.times("issue", "issue", floorIf(r.made), benchBound{})...)
	b.add(r.revoke.times("revoke", "revoke", floorIf(r.removed), benchBound{})...)
	return nil
}

// floorIf is a floor, if it was measured.
func floorIf(r benchRun) *benchRun {
	if len(r.each) == 0 {
		return nil
	}
	return &r
}
