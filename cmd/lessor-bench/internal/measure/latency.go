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

// The most operations that are measured one after another.
const (
	singleLeases = 15
	softRenewals = 200 // without a call to AWS
)

// singles returns how many leases are measured one after another.
func (b *bench) singles() int { return min(singleLeases, b.Leases) }

// Bounds of latency.
const (
	maxTrips      = 2.2 // round trips to AWS of an issue, and of a revocation
	maxRenewTrips = 1.2
	maxSoftRenew  = 5 // milliseconds, without a call to AWS
)

// measureLatency measures one lease after another.
func (b *bench) measureLatency(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Latency: b.Latency, LogCalls: true, Leases: b.singles()})
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
	return b.expiryLag(ctx, w)
}

// latencyFloors are the floors of the three operations; nil if AWS can't be reached.
type latencyFloors struct {
	issue, renew, revoke *timing.Run
	calls                float64 // to create a user; as many delete it
}

func (b *bench) latencyFloor(ctx context.Context, w *world.World) (l latencyFloors, err error) {
	if w.Floor == nil {
		return l, nil
	}
	b.show("the floor")
	before := w.SimulatedCalls()
	created, deleted, err := w.Floor.Run(ctx, 0, b.singles(), 1)
	if err != nil {
		return l, err
	}
	l.calls = float64(w.SimulatedCalls()-before) / float64(2*b.singles())
	u, err := w.Floor.Create(ctx)
	if err != nil {
		return l, err
	}
	extended, err := timing.Repeat(ctx, b.singles(), 1, func(ctx context.Context, _ int) error { return w.Floor.PutPolicy(ctx, u.Name) })
	if err != nil {
		return l, err
	}
	l.issue, l.renew, l.revoke = &created, &extended, &deleted
	return l, w.Floor.Delete(ctx, u)
}

// latencyHard measures leases with hard expiry, and their calls to AWS.
func (b *bench) latencyHard(ctx context.Context, w *world.World, floor latencyFloors) error {
	b.show("issue, renew, revoke")
	leases := make([]string, b.singles())
	issue, issueCalls, err := b.oneByOne(ctx, w, func(ctx context.Context, i int) (err error) {
		leases[i], err = w.Issue(ctx, w.Hard, "{}")
		return err
	})
	if err != nil {
		return err
	}
	renew, renewCalls, err := b.oneByOne(ctx, w, func(ctx context.Context, i int) error { return w.Renew(ctx, leases[i]) })
	if err != nil {
		return err
	}
	revoke, revokeCalls, err := b.oneByOne(ctx, w, func(ctx context.Context, i int) error { return w.Revoke(ctx, leases[i]) })
	if err != nil {
		return err
	}
	simulated := w.Sim != nil && b.Latency > 0
	trips := func(most float64) report.Bound {
		return report.AtMost(most * timing.Milliseconds(b.Latency)).If(simulated)
	}
	b.add(timeFigures(issue, "issue", "issue", floor.issue, trips(maxTrips))...)
	b.add(timeFigures(renew, "renew", "renew, with hard expiry", floor.renew, trips(maxRenewTrips))...)
	b.add(timeFigures(revoke, "revoke", "revoke", floor.revoke, trips(maxTrips))...)
	if w.Sim == nil {
		return nil
	}
	b.add(issueCalls.figures("issue", "to issue a lease", floor.calls, 2)...)
	b.add(renewCalls.figures("renew", "to renew one, with hard expiry", 1, 1)...)
	b.add(revokeCalls.figures("revoke", "to revoke one", floor.calls, 2)...)
	b.add(listFigure(issueCalls.lists + renewCalls.lists + revokeCalls.lists))
	return nil
}

// listFigure is the number of List and Get calls of all leases of a part.
func listFigure(calls int) report.Figure {
	return report.Figure{Name: "list_calls", What: "List and Get calls, for all of them", Value: float64(calls)}.
		WithFloor(0, "none are needed").WithBound(report.Exactly(0))
}

// fewestCalls is what the floor of a number of calls is.
const fewestCalls = "the fewest that AWS needs"

// callCost is the calls to AWS of an operation.
type callCost struct {
	calls float64 // on average
	trips int     // calls that followed one another, at most
	lists int     // List and Get calls, of all operations
}

func (c callCost) figures(name, what string, calls, trips float64) []report.Figure {
	return []report.Figure{
		report.Figure{Name: name + "_calls", What: "calls to AWS " + what, Value: c.calls}.WithFloor(calls, fewestCalls).WithBound(report.Exactly(calls)),
		report.Figure{Name: name + "_round_trips", What: "of which one after another", Value: float64(c.trips)}.
			WithFloor(trips, fewestCalls).WithBound(report.Exactly(trips)),
	}
}

// oneByOne calls do for one lease after another and counts the calls to AWS of each.
func (b *bench) oneByOne(ctx context.Context, w *world.World, do func(context.Context, int) error) (run timing.Run, cost callCost, err error) {
	w.Calls.Take()
	for i := range b.singles() {
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
	calls, lists, _ := w.Calls.Take()
	cost.calls, cost.lists = float64(calls)/float64(b.singles()), lists
	return run, cost, nil
}

// latencySoft measures renewals without hard expiry, which make no call to AWS.
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
	b.add(timeFigures(renew, "renew_soft", "renew, without hard expiry", nil, report.AtMost(maxSoftRenew).If(!w.Remote))...)
	return w.Revoke(ctx, lease)
}

// expiryLag measures how late leases end that expire. A remote broker does not report it.
func (b *bench) expiryLag(ctx context.Context, w *world.World) error {
	if w.Remote {
		return nil
	}
	b.show("leases expire")
	const ttl = 2 * time.Second
	_, _, err := w.IssueMany(ctx, 0, b.singles(), b.Requesters, w.Hard, fmt.Sprintf(`{"ttl":%q}`, messages.Duration(ttl)))
	if err != nil {
		return err
	}
	lag := timing.Run{Took: ttl}
	for range b.singles() {
		select {
		case late := <-w.ExpiryLags():
			lag.Each = append(lag.Each, late)
		case <-ctx.Done():
			return fmt.Errorf("leases do not expire: %w", ctx.Err())
		}
	}
	for _, f := range timeFigures(lag, "expiry_lag", "from a lease's expiry to its deletion", nil, report.Bound{}) {
		b.add(f.WithFloorIf(w.Sim != nil, timing.Milliseconds(2*b.Latency), "two round trips to AWS"))
	}
	return nil
}
