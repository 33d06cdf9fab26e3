package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// How often each is measured at most, one after another.
const (
	singleLeases = 15
	softRenewals = 200 // where AWS is not asked
)

// singly is how many leases there are one after another.
func (b *bench) singly() int { return min(singleLeases, b.Leases) }

// Bounds of latency, in round trips to AWS.
const (
	mostTrips      = 2.2 // of an issue, and of a revocation
	mostRenewTrips = 1.2
	mostRenewMS    = 5 // where AWS is not asked
)

// measureLatency measures one lease after another.
func (b *bench) measureLatency(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Latency: b.Latency, Log: true, Leases: b.singly()})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	floor, err := b.latencyFloor(ctx, w)
	if err != nil {
		return err
	}
	if err := b.latencyHard(ctx, w, floor); err != nil {
		return err
	}
	if err := b.latencySoft(ctx, w); err != nil {
		return err
	}
	return b.expiry(ctx, w)
}

// latencyFloors are the floors of the three; nil where they could not be measured.
type latencyFloors struct {
	issue, renew, revoke *timing.Run
	calls                float64 // to make a user, as to remove it
}

func (b *bench) latencyFloor(ctx context.Context, w *world.World) (l latencyFloors, err error) {
	if w.Floor == nil {
		return l, nil
	}
	b.tell("the floor")
	before := w.SimulatedCalls()
	made, removed, err := w.Floor.Run(ctx, 0, b.singly(), 1)
	if err != nil {
		return l, err
	}
	l.calls = float64(w.SimulatedCalls()-before) / float64(2*b.singly())
	u, err := w.Floor.Create(ctx)
	if err != nil {
		return l, err
	}
	renewed, err := timing.Repeat(ctx, b.singly(), 1, func(ctx context.Context, _ int) error { return w.Floor.PutPolicy(ctx, u.Name) })
	if err != nil {
		return l, err
	}
	l.issue, l.renew, l.revoke = &made, &renewed, &removed
	return l, w.Floor.Remove(ctx, u)
}

// latencyHard measures leases whose end AWS enforces, and what they ask of AWS.
func (b *bench) latencyHard(ctx context.Context, w *world.World, floor latencyFloors) error {
	b.tell("issue, renew, revoke")
	leases := world.Leases{Names: make([]string, b.singly())}
	issue, issued, err := b.singles(ctx, w, func(ctx context.Context, i int) (err error) {
		leases.Names[i], err = w.Issue(ctx, w.Hard, "{}")
		return err
	})
	if err != nil {
		return err
	}
	renew, renewed, err := b.singles(ctx, w, func(ctx context.Context, i int) error { return w.Renew(ctx, leases.Names[i]) })
	if err != nil {
		return err
	}
	revoke, revoked, err := b.singles(ctx, w, func(ctx context.Context, i int) error { return w.Revoke(ctx, leases.Names[i]) })
	if err != nil {
		return err
	}
	slow := w.Sim != nil && b.Latency > 0
	b.add(times(issue, "issue", "issue", floor.issue, report.AtMost(mostTrips*timing.Milliseconds(b.Latency)).If(slow))...)
	b.add(times(renew, "renew", "renew, with hard expiry", floor.renew, report.AtMost(mostRenewTrips*timing.Milliseconds(b.Latency)).If(slow))...)
	b.add(times(revoke, "revoke", "revoke", floor.revoke, report.AtMost(mostTrips*timing.Milliseconds(b.Latency)).If(slow))...)
	if w.Sim == nil {
		return nil
	}
	b.add(issued.figures("issue", "to issue a lease", floor.calls, 2)...)
	b.add(renewed.figures("renew", "to renew one, with hard expiry", 1, 1)...)
	b.add(revoked.figures("revoke", "to revoke one", floor.calls, 2)...)
	b.add(report.Figure{Name: "list_calls", What: "calls that list or look, for all of them", Value: float64(issued.looks + renewed.looks + revoked.looks)}.
		WithFloor(0, "AWS can do without").WithBound(report.Exactly(0)))
	return nil
}

// cost is what things asked of AWS.
type cost struct {
	calls float64 // of each
	trips int     // round trips, at most
	looks int     // calls that list or look, of all
}

func (c cost) figures(name, what string, calls, trips float64) []report.Figure {
	return []report.Figure{
		report.Figure{Name: name + "_calls", What: "calls to AWS " + what, Value: c.calls}.WithFloor(calls, "AWS can't do without").WithBound(report.Exactly(calls)),
		report.Figure{Name: name + "_round_trips", What: "of which one after another", Value: float64(c.trips)}.
			WithFloor(trips, "AWS can't do without").WithBound(report.Exactly(trips)),
	}
}

// singles does one thing after another and looks at what each asks of AWS.
func (b *bench) singles(ctx context.Context, w *world.World, do func(context.Context, int) error) (run timing.Run, cost cost, err error) {
	w.Calls.Take()
	for i := range b.singly() {
		if w.Sim != nil {
			w.Sim.ResetCalls()
		}
		one, err := timing.Repeat(ctx, 1, 1, func(ctx context.Context, _ int) error { return do(ctx, i) })
		if err == nil {
			err = w.Quiet(ctx)
		}
		if err != nil {
			return run, cost, err
		}
		run = run.Join(one)
		if w.Sim != nil {
			cost.trips = max(cost.trips, iamsim.Depth(w.Sim.Calls()))
		}
	}
	calls, looks, _ := w.Calls.Take()
	cost.calls, cost.looks = float64(calls)/float64(b.singly()), looks
	return run, cost, nil
}

// latencySoft measures renewals of which AWS is not told.
func (b *bench) latencySoft(ctx context.Context, w *world.World) error {
	if w.Soft == "" {
		return nil
	}
	lease, err := w.Issue(ctx, w.Soft, "{}")
	if err != nil {
		return err
	}
	renew, err := timing.Repeat(ctx, min(softRenewals, renewalsPerLease*b.Leases), 1, func(ctx context.Context, _ int) error { return w.Renew(ctx, lease) })
	if err != nil {
		return err
	}
	b.add(times(renew, "renew_soft", "renew, without hard expiry", nil, report.AtMost(mostRenewMS).If(!w.Away))...)
	return w.Revoke(ctx, lease)
}

// expiry measures how late leases end that nobody revokes.
func (b *bench) expiry(ctx context.Context, w *world.World) error {
	if w.Away {
		return nil // how late a lease ended, only its broker knows
	}
	b.tell("leases expire")
	const ttl = 2 * time.Second
	_, _, err := w.IssueMany(ctx, 0, b.singly(), b.Requesters, w.Hard, fmt.Sprintf(`{"ttl":%q}`, messages.Duration(ttl)))
	if err != nil {
		return err
	}
	lag := timing.Run{Took: ttl}
	for range b.singly() {
		select {
		case late := <-w.Late.Lags:
			lag.Each = append(lag.Each, late)
		case <-ctx.Done():
			return fmt.Errorf("leases do not expire: %w", ctx.Err())
		}
	}
	floor := timing.Run{Each: []time.Duration{2 * b.Latency}}
	for _, f := range times(lag, "expiry_lag", "from a lease's end to its user's", nil, report.Bound{}) {
		b.add(f.WithFloorIf(w.Sim != nil, timing.Milliseconds(floor.Quantile(1)), "two round trips to AWS"))
	}
	return nil
}
