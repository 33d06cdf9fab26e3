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
	minOfSDK      = 0.6 // of the rate of the SDK in a bare loop
	minOfWrites   = 0.8 // of the rate of the writes without a broker, if each is flushed
	minDurable    = 750 // leases a second, if each write is flushed
	minRequesters = 450 // leases a second, with 64 requesters and 50 ms
)

// rounds is how often the broker and the floor are measured in turn, because the speed of
// a machine varies.
const rounds = 3

// rates is the throughput of a broker, and that of the floor.
type rates struct {
	issue, revoke             timing.Run
	created, deleted          timing.Run // users, by the floor
	issueWrites, revokeWrites world.Writes
	calls, lists, sts         int // calls of the broker to AWS
	leases                    int
}

// measureRates issues and revokes leases, in turn with the floor.
func (b *bench) measureRates(ctx context.Context, w *world.World, leases int) (r rates, err error) {
	w.Calls.Take()
	for round := range rounds {
		n := max(1, leases/rounds)
		b.show("round %d of %d", round+1, rounds)
		if b.Rate == 0 { // otherwise the floor is that rate
			created, deleted, err := w.Floor.Run(ctx, b.Within, n, b.Requesters)
			if err != nil {
				return r, fmt.Errorf("the AWS SDK in a bare loop: %w", err)
			}
			r.created, r.deleted = r.created.Join(created), r.deleted.Join(deleted)
		}
		if err := b.measureRound(ctx, w, &r, n); err != nil {
			return r, err
		}
	}
	r.calls, r.lists, r.sts = w.Calls.Take()
	return r, nil
}

// measureRound issues and revokes n leases and adds the result to r.
func (b *bench) measureRound(ctx context.Context, w *world.World, r *rates, n int) error {
	streams := func() ([]world.Stream, error) {
		if w.Remote {
			return nil, nil
		}
		if err := w.Quiet(ctx); err != nil {
			return nil, err
		}
		return w.Streams(ctx)
	}
	before, err := streams()
	if err != nil {
		return err
	}
	leases, issue, err := w.IssueMany(ctx, b.Within, n, b.Requesters, w.Hard, "{}")
	if err != nil {
		return err
	}
	between, err := streams()
	if err != nil {
		return err
	}
	revoke, err := w.RevokeMany(ctx, leases, b.Requesters)
	if err != nil {
		return err
	}
	after, err := streams()
	if err != nil {
		return err
	}
	n = len(leases)
	r.issue, r.revoke, r.leases = r.issue.Join(issue), r.revoke.Join(revoke), r.leases+n
	r.issueWrites, r.revokeWrites = world.WritesBetween(before, between, n), world.WritesBetween(between, after, n)
	return nil
}

// awsFloor returns the rate of leases that AWS allows: that of the floor, or what --rate
// allows. The rate is 0 if it is not known.
func (b *bench) awsFloor(measured timing.Run) (rate float64, what string) {
	if b.Rate > 0 {
		return b.Rate / floor.CallsPerLease, "the calls a second that AWS accepts, by 5"
	}
	if len(measured.Each) == 0 {
		return 0, ""
	}
	return measured.Rate(), sdkFloor
}

func (b *bench) rateFigure(name, what string, run, floor timing.Run, bound report.Bound) report.Figure {
	rate, floorWhat := b.awsFloor(floor)
	return report.Figure{Name: name, What: what, Value: run.Rate(), Unit: "/s"}.WithFloorIf(rate > 0, rate, floorWhat).WithBound(bound)
}

// measureThroughput measures how many leases a broker issues and revokes if AWS has no
// latency.
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
	r, err := b.measureRates(ctx, w, b.Leases)
	if err != nil {
		return err
	}
	bound := report.RatioAtLeast(minOfSDK).If(!b.Durable && w.Sim != nil)
	b.add(b.rateFigure("issue", "leases issued", r.issue, r.created, bound), b.rateFigure("revoke", "leases revoked", r.revoke, r.deleted, bound))
	b.add(timeFigures(r.issue, "issue", "issue", nil, report.Bound{})...)
	b.add(timeFigures(r.revoke, "revoke", "revoke", nil, report.Bound{})...)
	if w.Remote {
		return nil
	}
	b.add(cpuFigure(r.issue, "issue", "lease issued", r.created, sdkFloor), cpuFigure(r.revoke, "revoke", "lease revoked", r.deleted, sdkFloor))
	b.addCallFigures(r, warmSTS)
	return b.addWriteFigures(ctx, w, r)
}

func (b *bench) addCallFigures(r rates, warmSTS int) {
	b.add(report.Figure{Name: "calls", What: "calls to AWS a lease, in total", Value: float64(r.calls) / float64(r.leases)}.
		WithFloor(2*floor.CallsPerLease, fewestCalls).WithBound(report.Exactly(2*floor.CallsPerLease).If(b.Rate == 0)),
		listFigure(r.lists),
		report.Figure{Name: "sts_calls", What: "calls to STS, for all of them", Value: float64(r.sts)}.
			WithFloor(1, "one an hour").WithBound(report.AtMost(1)),
		report.Figure{Name: "sts_calls_before", What: "calls to STS, from the broker's start to the first lease", Value: float64(warmSTS)})
}

// addWriteFigures compares the broker with the writes to JetStream without a broker.
func (b *bench) addWriteFigures(ctx context.Context, w *world.World, r rates) error {
	b.show("the same writes with no broker")
	issue, err := w.BareWrites(ctx, b.Within, r.issueWrites, b.Leases, b.Requesters)
	if err != nil {
		return err
	}
	revoke, err := w.BareWrites(ctx, b.Within, r.revokeWrites, b.Leases, b.Requesters)
	if err != nil {
		return err
	}
	bound := report.AtLeast(minDurable).Or(report.RatioAtLeast(minOfWrites)).If(b.Durable && b.Rate == 0)
	b.add(writesFigure(r.issueWrites, "issue_writes", "writes to issue a lease"), writesFigure(r.revokeWrites, "revoke_writes", "writes to revoke one"),
		report.Figure{Name: "issue_by_writes", What: "leases issued", Value: r.issue.Rate(), Unit: "/s"}.WithFloor(issue.Rate(), writesFloor).WithBound(bound),
		report.Figure{Name: "revoke_by_writes", What: "leases revoked", Value: r.revoke.Rate(), Unit: "/s"}.WithFloor(revoke.Rate(), writesFloor))
	return nil
}

// waves is how many times as many leases the part requesters issues. The requesters work
// in waves; in the last wave of a round only some of them have work left, which must not
// count much.
const waves = 4

// measureRequesters measures how many leases a broker issues and revokes if AWS has
// latency.
func (b *bench) measureRequesters(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Latency: b.Latency, Leases: waves * b.Leases})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	r, err := b.measureRates(ctx, w, waves*b.Leases)
	if err != nil {
		return err
	}
	bounded := b.Requesters == 64 && b.Latency.Milliseconds() == 50 && b.Rate == 0 && w.Sim != nil
	b.add(b.rateFigure("issue", "leases issued", r.issue, r.created, report.AtLeast(minRequesters).If(bounded)),
		b.rateFigure("revoke", "leases revoked", r.revoke, r.deleted, report.Bound{}))
	b.add(timeFigures(r.issue, "issue", "issue", measured(r.created), report.Bound{})...)
	b.add(timeFigures(r.revoke, "revoke", "revoke", measured(r.deleted), report.Bound{})...)
	return nil
}
