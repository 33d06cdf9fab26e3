package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// How often each is measured at most, one after another.
const (
	benchSingles = 15
	benchRenewed = 200 // where AWS is not asked
)

// singly is how many leases there are one after another.
func (b *bench) singly() int { return min(benchSingles, b.leases) }

// Bounds of latency, in round trips to AWS.
const (
	mostTrips      = 2.2 // of an issue, and of a revocation
	mostRenewTrips = 1.2
	mostRenewMS    = 5 // where AWS is not asked
)

// measureLatency measures one lease after another.
func (b *bench) measureLatency(ctx context.Context) error {
	w, err := b.world(ctx, benchNeeds{latency: b.latency, log: true, leases: b.singly()})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
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

// warm issues a lease and revokes it: connections are made, and the broker has got its
// own credentials.
func (w *benchWorld) warm(ctx context.Context) error {
	lease, err := w.issue(ctx, w.hard, "{}")
	if err != nil {
		return fmt.Errorf("the first lease: %w", err)
	}
	if err := w.revoke(ctx, lease); err != nil {
		return fmt.Errorf("the first lease: %w", err)
	}
	if _, _, err := w.floor.run(ctx, 0, 1, 1); err != nil {
		return fmt.Errorf("the AWS SDK in a bare loop: %w", err)
	}
	return w.quiet(ctx)
}

// benchLatencies are the floors of the three; nil where they could not be measured.
type benchLatencies struct {
	issue, renew, revoke *benchRun
	calls                float64 // to make a user, as to remove it
}

func (b *bench) latencyFloor(ctx context.Context, w *benchWorld) (l benchLatencies, err error) {
	if w.floor == nil {
		return l, nil
	}
	b.tell("the floor")
	before := w.simulatedCalls()
	made, removed, err := w.floor.run(ctx, 0, b.singly(), 1)
	if err != nil {
		return l, err
	}
	l.calls = float64(w.simulatedCalls()-before) / float64(2*b.singly())
	u, err := w.floor.create(ctx)
	if err != nil {
		return l, err
	}
	renewed, err := benchLoad(ctx, b.singly(), 1, func(ctx context.Context, _ int) error { return w.floor.putPolicy(ctx, u.name) })
	if err != nil {
		return l, err
	}
	l.issue, l.renew, l.revoke = &made, &renewed, &removed
	return l, w.floor.remove(ctx, u)
}

// simulatedCalls is how many calls AWS has seen, as far as it is simulated.
func (w *benchWorld) simulatedCalls() int {
	if w.sim == nil {
		return 0
	}
	return len(w.sim.Calls())
}

// latencyHard measures leases whose end AWS enforces, and what they ask of AWS.
func (b *bench) latencyHard(ctx context.Context, w *benchWorld, floor benchLatencies) error {
	b.tell("issue, renew, revoke")
	leases := benchLeases{names: make([]string, b.singly())}
	issue, issued, err := b.singles(ctx, w, func(ctx context.Context, i int) (err error) {
		leases.names[i], err = w.issue(ctx, w.hard, "{}")
		return err
	})
	if err != nil {
		return err
	}
	renew, renewed, err := b.singles(ctx, w, func(ctx context.Context, i int) error { return w.renew(ctx, leases.names[i]) })
	if err != nil {
		return err
	}
	revoke, revoked, err := b.singles(ctx, w, func(ctx context.Context, i int) error { return w.revoke(ctx, leases.names[i]) })
	if err != nil {
		return err
	}
	slow := w.sim != nil && b.latency > 0
	b.add(issue.times("issue", "issue", floor.issue, atMost(mostTrips*milliseconds(b.latency)).only(slow))...)
	b.add(renew.times("renew", "renew, with hard expiry", floor.renew, atMost(mostRenewTrips*milliseconds(b.latency)).only(slow))...)
	b.add(revoke.times("revoke", "revoke", floor.revoke, atMost(mostTrips*milliseconds(b.latency)).only(slow))...)
	if w.sim == nil {
		return nil
	}
	b.add(issued.figures("issue", "to issue a lease", floor.calls, 2)...)
	b.add(renewed.figures("renew", "to renew one, with hard expiry", 1, 1)...)
	b.add(revoked.figures("revoke", "to revoke one", floor.calls, 2)...)
	b.add(benchFigure{Name: "list_calls", What: "calls that list or look, for all of them", Value: float64(issued.looks + renewed.looks + revoked.looks)}.
		beside(0, "AWS can do without").within(exactly(0)))
	return nil
}

// benchCost is what things asked of AWS.
type benchCost struct {
	calls float64 // of each
	trips int     // round trips, at most
	looks int     // calls that list or look, of all
}

func (c benchCost) figures(name, what string, calls, trips float64) []benchFigure {
	return []benchFigure{
		benchFigure{Name: name + "_calls", What: "calls to AWS " + what, Value: c.calls}.beside(calls, "AWS can't do without").within(exactly(calls)),
		benchFigure{Name: name + "_round_trips", What: "of which one after another", Value: float64(c.trips)}.
			beside(trips, "AWS can't do without").within(exactly(trips)),
	}
}

// singles does one thing after another and looks at what each asks of AWS.
func (b *bench) singles(ctx context.Context, w *benchWorld, do func(context.Context, int) error) (run benchRun, cost benchCost, err error) {
	w.calls.take()
	for i := range b.singly() {
		if w.sim != nil {
			w.sim.ResetCalls()
		}
		one, err := benchLoad(ctx, 1, 1, func(ctx context.Context, _ int) error { return do(ctx, i) })
		if err == nil {
			err = w.quiet(ctx)
		}
		if err != nil {
			return run, cost, err
		}
		run = run.and(one)
		if w.sim != nil {
			cost.trips = max(cost.trips, iamsim.Depth(w.sim.Calls()))
		}
	}
	calls, looks, _ := w.calls.take()
	cost.calls, cost.looks = float64(calls)/float64(b.singly()), looks
	return run, cost, nil
}

// latencySoft measures renewals of which AWS is not told.
func (b *bench) latencySoft(ctx context.Context, w *benchWorld) error {
	if w.soft == "" {
		return nil
	}
	lease, err := w.issue(ctx, w.soft, "{}")
	if err != nil {
		return err
	}
	renew, err := benchLoad(ctx, min(benchRenewed, benchRenewalsEach*b.leases), 1, func(ctx context.Context, _ int) error { return w.renew(ctx, lease) })
	if err != nil {
		return err
	}
	b.add(renew.times("renew_soft", "renew, without hard expiry", nil, atMost(mostRenewMS).only(!w.away))...)
	return w.revoke(ctx, lease)
}

// expiry measures how late leases end that nobody revokes.
func (b *bench) expiry(ctx context.Context, w *benchWorld) error {
	if w.away {
		return nil // how late a lease ended, only its broker knows
	}
	b.tell("leases expire")
	const ttl = 2 * time.Second
	_, _, err := w.issueMany(ctx, 0, b.singly(), b.requesters, w.hard, fmt.Sprintf(`{"ttl":%q}`, messages.Duration(ttl)))
	if err != nil {
		return err
	}
	lag := benchRun{took: ttl}
	for range b.singly() {
		select {
		case late := <-w.late.lags:
			lag.each = append(lag.each, late)
		case <-ctx.Done():
			return fmt.Errorf("leases do not expire: %w", ctx.Err())
		}
	}
	floor := benchRun{each: []time.Duration{2 * b.latency}}
	for _, f := range lag.times("expiry_lag", "from a lease's end to its user's", nil, benchBound{}) {
		b.add(f.besideIf(w.sim != nil, milliseconds(floor.at(1)), "two round trips to AWS"))
	}
	return nil
}
