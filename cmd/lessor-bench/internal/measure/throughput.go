package measure

import (
	"context"
	"fmt"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/floor"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// Bounds of throughput.
const (
	leastOfSDK      = 0.6  // of what the SDK in a bare loop does
	leastOfWrites   = 0.8  // of what the writes alone allow, where each is flushed
	leastDurable    = 850  // leases a second
	leastRenewals   = 5000 // a second, without hard expiry, where writes are not flushed
	leastRequesters = 450  // leases a second: 64 requesters, 50 ms
)

// rounds is how often broker and floor take turns: a machine is not as fast all
// the time.
const rounds = 3

// rates are many leases, and beside them the floor.
type rates struct {
	issue, revoke         timing.Run
	made, removed         timing.Run // the floor
	issueWrites, endWrite world.Writes
	calls, looks, sts     int
	leases                int
}

// rates issues leases and revokes them, in turns with the floor.
func (b *bench) rates(ctx context.Context, w *world.World, leases int) (r rates, err error) {
	w.Calls.Take()
	for round := range rounds {
		n := max(1, leases/rounds)
		b.tell("round %d of %d", round+1, rounds)
		if b.Rate == 0 { // the SDK alone would only be throttled
			made, removed, err := w.Floor.Run(ctx, b.Within, n, b.Requesters)
			if err != nil {
				return r, fmt.Errorf("the AWS SDK in a bare loop: %w", err)
			}
			r.made, r.removed = r.made.Join(made), r.removed.Join(removed)
		}
		if err := b.round(ctx, w, &r, n); err != nil {
			return r, err
		}
	}
	r.calls, r.looks, r.sts = w.Calls.Take()
	return r, nil
}

func (b *bench) round(ctx context.Context, w *world.World, r *rates, n int) error {
	marks := make([][]world.Stream, 3)
	look := func(i int) (err error) {
		if w.Away {
			return nil
		}
		if err := w.Quiet(ctx); err != nil {
			return err
		}
		marks[i], err = w.Stored(ctx)
		return err
	}
	if err := look(0); err != nil {
		return err
	}
	leases, issue, err := w.IssueMany(ctx, b.Within, n, b.Requesters, w.Hard, "{}")
	if err != nil {
		return err
	}
	if err := look(1); err != nil {
		return err
	}
	revoke, err := w.RevokeMany(ctx, leases, b.Requesters)
	if err != nil {
		return err
	}
	if err := look(2); err != nil {
		return err
	}
	n = len(leases.Names)
	r.issue, r.revoke, r.leases = r.issue.Join(issue), r.revoke.Join(revoke), r.leases+n
	if !w.Away {
		r.issueWrites, r.endWrite = world.WritesBetween(marks[0], marks[1], n), world.WritesBetween(marks[1], marks[2], n)
	}
	return nil
}

// floorOf is what AWS allows: as measured, or by its rate.
func (b *bench) floorOf(measured timing.Run) (rate float64, what string) {
	if b.Rate > 0 {
		return b.Rate / floor.CallsPerLease, "the calls a second that AWS takes, by 5"
	}
	if len(measured.Each) == 0 {
		return 0, ""
	}
	return measured.Rate(), sdkFloor
}

func (b *bench) rateFigure(name, what string, run, floor timing.Run, bound report.Bound) report.Figure {
	rate, floorWhat := b.floorOf(floor)
	return report.Figure{Name: name, What: what, Value: run.Rate(), Unit: "/s"}.WithFloorIf(rate > 0, rate, floorWhat).WithBound(bound.If(rate > 0))
}

// measureThroughput has as many leases as possible issued and revoked.
func (b *bench) measureThroughput(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Leases: b.Leases})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	_, _, warmSTS := w.Calls.Take()
	r, err := b.rates(ctx, w, b.Leases)
	if err != nil {
		return err
	}
	bound := report.RatioAtLeast(leastOfSDK).If(!b.Durable && w.Sim != nil)
	b.add(b.rateFigure("issue", "leases issued", r.issue, r.made, bound), b.rateFigure("revoke", "leases revoked", r.revoke, r.removed, bound))
	b.add(times(r.issue, "issue", "issue", nil, report.Bound{})...)
	b.add(times(r.revoke, "revoke", "revoke", nil, report.Bound{})...)
	if w.Away {
		return nil
	}
	b.add(computed(r.issue, "issue", "lease issued", r.made, sdkFloor), computed(r.revoke, "revoke", "lease revoked", r.removed, sdkFloor))
	b.add(report.Figure{Name: "calls", What: "calls to AWS a lease, all in all", Value: float64(r.calls) / float64(r.leases)}.
		WithFloor(2*floor.CallsPerLease, "AWS can't do without").WithBound(report.Exactly(2*floor.CallsPerLease).If(b.Rate == 0)),
		report.Figure{Name: "list_calls", What: "calls that list or look, for all of them", Value: float64(r.looks)}.
			WithFloor(0, "AWS can do without").WithBound(report.Exactly(0)),
		report.Figure{Name: "sts_calls", What: "calls to STS, for all of them", Value: float64(r.sts)}.
			WithFloor(1, "one an hour").WithBound(report.AtMost(1)),
		report.Figure{Name: "sts_calls_before", What: "calls to STS, from the broker's start to the first lease", Value: float64(warmSTS)})
	return b.writes(ctx, w, r)
}

// writes compares with what the writes to JetStream alone allow.
func (b *bench) writes(ctx context.Context, w *world.World, r rates) error {
	b.tell("the same writes with no broker")
	issue, err := w.BareWrites(ctx, b.Within, r.issueWrites, b.Leases, b.Requesters)
	if err != nil {
		return err
	}
	revoke, err := w.BareWrites(ctx, b.Within, r.endWrite, b.Leases, b.Requesters)
	if err != nil {
		return err
	}
	bound := report.AtLeast(leastDurable).Or(report.RatioAtLeast(leastOfWrites)).If(b.Durable && b.Rate == 0)
	b.add(writesFigure(r.issueWrites, "issue_writes", "writes to issue a lease"), writesFigure(r.endWrite, "revoke_writes", "writes to revoke one"),
		report.Figure{Name: "issue_by_writes", What: "leases issued", Value: r.issue.Rate(), Unit: "/s"}.WithFloor(issue.Rate(), writesFloor).WithBound(bound),
		report.Figure{Name: "revoke_by_writes", What: "leases revoked", Value: r.revoke.Rate(), Unit: "/s"}.WithFloor(revoke.Rate(), writesFloor))
	return nil
}

// writesFloor names the floor of what JetStream makes slow.
const writesFloor = "the same writes to JetStream, no broker"

// renewalsPerLease is how many renewals there are for each lease of --leases.
const renewalsPerLease = 8

// measureRenewals has as many renewals as possible made, of which AWS is not told.
func (b *bench) measureRenewals(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Leases: b.Requesters})
	if err != nil {
		return err
	}
	defer w.Close()
	if w.Soft == "" {
		return nil
	}
	leases, _, err := w.IssueMany(ctx, 0, b.Requesters, b.Requesters, w.Soft, "{}")
	if err != nil {
		return err
	}
	if err := w.Quiet(ctx); err != nil {
		return err
	}
	r, writes, err := b.renewMany(ctx, w, leases)
	if err != nil {
		return err
	}
	if _, err := w.RevokeMany(ctx, leases, b.Requesters); err != nil {
		return err
	}
	return b.renewFigures(ctx, w, r, writes)
}

func (b *bench) renewFigures(ctx context.Context, w *world.World, r timing.Run, writes world.Writes) error {
	f := report.Figure{Name: "renew", What: "renewals", Value: r.Rate(), Unit: "/s"}
	if !w.Away {
		floor, err := w.BareWrites(ctx, b.Within, writes, len(r.Each), b.Requesters)
		if err != nil {
			return err
		}
		f = f.WithFloor(floor.Rate(), writesFloor).WithBound(report.AtLeast(leastRenewals).If(!b.Durable))
		b.add(writesFigure(writes, "renew_writes", "writes to renew a lease"), computed(r, "renew", "renewal", floor, writesFloor))
	}
	b.add(f)
	b.add(times(r, "renew", "renewal", nil, report.Bound{})...)
	return nil
}

// renewMany has each requester renew a lease of its own again and again.
func (b *bench) renewMany(ctx context.Context, w *world.World, leases world.Leases) (all timing.Run, writes world.Writes, err error) {
	each := max(1, b.Leases*renewalsPerLease/len(leases.Names))
	var before, after []world.Stream
	if !w.Away {
		if before, err = w.Stored(ctx); err != nil {
			return all, nil, err
		}
	}
	b.tell("%d renewals", each*len(leases.Names))
	runs := make([]timing.Run, len(leases.Names))
	whole, err := timing.Repeat(ctx, len(runs), len(runs), func(ctx context.Context, i int) (err error) {
		runs[i], err = timing.RepeatWithin(ctx, rounds*b.Within, each, 1, func(ctx context.Context, _ int) error { return w.Renew(ctx, leases.Names[i]) })
		return err
	})
	if err != nil {
		return all, nil, err
	}
	for _, r := range runs {
		all = all.Join(r)
	}
	all.Took, all.CPU = whole.Took, whole.CPU
	if !w.Away {
		if after, err = w.Stored(ctx); err != nil {
			return all, nil, err
		}
		writes = world.WritesBetween(before, after, len(all.Each))
	}
	return all, writes, nil
}

// waves is how many times as many leases this part has: the requesters go together,
// in waves, and the last wave of a round, which few are left for, must not count much.
const waves = 4

// measureRequesters has many requesters ask an AWS that takes its time.
func (b *bench) measureRequesters(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Latency: b.Latency, Leases: waves * b.Leases})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	r, err := b.rates(ctx, w, waves*b.Leases)
	if err != nil {
		return err
	}
	asked := b.Requesters == 64 && b.Latency.Milliseconds() == 50 && b.Rate == 0 && w.Sim != nil
	issue := b.rateFigure("issue", "leases issued", r.issue, r.made, report.Bound{}).WithBound(report.AtLeast(leastRequesters).If(asked))
	b.add(issue, b.rateFigure("revoke", "leases revoked", r.revoke, r.removed, report.Bound{}))
	b.add(times(r.issue, "issue", "issue", floorIf(r.made), report.Bound{})...)
	b.add(times(r.revoke, "revoke", "revoke", floorIf(r.removed), report.Bound{})...)
	return nil
}
