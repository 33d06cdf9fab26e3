package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
	"github.com/lessorhq/lessor/messages"
)

// Bounds of a start with many leases.
const (
	minLoaded  = 100_000 // leases a second
	maxMemory  = 400     // bytes a lease
	fewLeases  = 100_000
	manyLeases = 1_000_000
	// Until the overdue lease is revoked, with that many live leases.
	maxOverdueFew  = 2 * time.Second
	maxOverdueMany = 8 * time.Second
)

// idleTime is how long the CPU time of an idle broker is measured.
const idleTime = 2 * time.Second

// restored is what the start of a broker with many leases cost.
type restored struct {
	leases        int
	loaded, floor timing.Run
	overdue       time.Duration // until the lease that was due before the start is revoked
	memory, peak  float64       // bytes a lease: when all are loaded, and at most until then
	idle          time.Duration // CPU time within idleTime; negative: not known
}

// measureRestore measures the start of a broker with many leases.
func (b *bench) measureRestore(ctx context.Context) error {
	r, err := b.restore(ctx, b.Live)
	if err == nil {
		b.add(r.figures()...)
	}
	return err
}

// restore starts a broker with the given number of live leases, and one more that became
// due while no broker was running. NATS has a process of its own, so that the memory of
// this process is the broker's.
func (b *bench) restore(ctx context.Context, leases int) (restored, error) {
	r := restored{leases: leases}
	node, err := world.StartNode(ctx, b.Durable)
	if err != nil {
		return r, err
	}
	defer node.Close()
	w, err := b.world(ctx, world.Config{Connect: node.Connect, Leases: 1})
	if err != nil {
		return r, err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return r, err
	}
	before := world.Heap()
	expiry, err := b.leaveLeases(ctx, w, leases)
	if err != nil {
		return r, err
	}
	b.show("reading the bucket with no broker")
	if r.floor, err = w.BareLoad(ctx); err != nil {
		return r, err
	}
	select { // until the one lease is due
	case <-time.After(time.Until(expiry)):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	if err := b.restart(ctx, w, before, &r); err != nil {
		return r, err
	}
	return r, b.measureIdle(ctx, &r)
}

// leaveLeases writes the records of n live leases and issues one more with a short TTL,
// which is the last record of the bucket. Then it stops the broker. It returns when that
// lease expires.
func (b *bench) leaveLeases(ctx context.Context, w *world.World, n int) (expiry time.Time, err error) {
	w.Broker.Scheduler.Stop() // its index would be part of the memory before the start
	if err := b.fill(ctx, w, n, time.Now().Add(23*time.Hour)); err != nil {
		return expiry, err
	}
	r, err := w.Request(ctx, w.NS.API("request", w.Identity, w.Hard), `{"ttl":"2s"}`)
	if err != nil {
		return expiry, err
	}
	if err := w.Quiet(ctx); err != nil {
		return expiry, err
	}
	return r.Lease.ExpiresAt, w.Broker.Stop(ctx)
}

// restart starts a broker and measures until it has loaded all leases and has revoked the
// overdue one. Before is the heap without leases, in bytes.
func (b *bench) restart(ctx context.Context, w *world.World, before float64, r *restored) error {
	revoked := make(chan time.Time, 1)
	sub, err := w.Conn.Subscribe(w.NS.Event(messages.LeaseName{Identity: w.Identity, Secret: w.Hard, ID: "*"}, messages.EventRevoked), func(*nats.Msg) {
		select {
		case revoked <- time.Now():
		default: // only the first event counts
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // its connection is closed later
	if err := w.Conn.FlushWithContext(ctx); err != nil {
		return err
	}
	b.show("a broker starts, with %d leases", r.leases)
	peak := world.PeakHeap()
	begin, used := time.Now(), timing.CPUTime()
	started, err := w.AddBroker(ctx)
	if err != nil {
		return err
	}
	err = poll.Until(ctx, world.Poll, func() (bool, error) { return started.Scheduler.Healthy() == nil, nil })
	r.loaded = timing.Run{Took: time.Since(begin), Untimed: r.leases, CPU: timing.CPUTime() - used}
	if err != nil {
		return err
	}
	select {
	case at := <-revoked:
		r.overdue = at.Sub(begin)
	case <-ctx.Done():
		return fmt.Errorf("the overdue lease is not revoked: %w", ctx.Err())
	}
	r.peak = (peak() - before) / float64(r.leases)
	r.memory = (world.Heap() - before) / float64(r.leases)
	return nil
}

// measureIdle measures the CPU time of a broker that has leases and nothing to do.
func (b *bench) measureIdle(ctx context.Context, r *restored) error {
	b.show("the broker is idle")
	used := timing.CPUTime()
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.idle = -1
	if used >= 0 {
		r.idle = timing.CPUTime() - used
	}
	return nil
}

func (r restored) figures() []report.Figure {
	enough := r.leases >= fewLeases // with fewer, most of the cost is that of a broker without leases
	const bare = "reading the bucket, no broker"
	all := []report.Figure{
		report.Figure{Name: "restored", What: "leases loaded by a broker that starts", Value: r.loaded.Rate(), Unit: "/s"}.
			WithFloor(r.floor.Rate(), bare).WithBound(report.AtLeast(minLoaded).If(enough)),
		report.Figure{Name: "restore_time", What: fmt.Sprintf("until all %d are loaded", r.leases), Value: timing.Milliseconds(r.loaded.Took), Unit: "ms"}.
			WithFloor(timing.Milliseconds(r.floor.Took), bare),
		cpuFigure(r.loaded, "restored", "lease loaded", r.floor, bare),
		report.Figure{Name: "missed", What: "until the overdue lease is revoked", Value: timing.Milliseconds(r.overdue), Unit: "ms"}.
			WithBound(overdueBound(r.leases)),
		report.Figure{Name: "memory", What: "memory a live lease", Value: r.memory, Unit: "bytes"}.WithBound(report.AtMost(maxMemory).If(enough)),
		report.Figure{Name: "memory_peak", What: "at most, during the load", Value: r.peak, Unit: "bytes"},
	}
	if r.idle >= 0 {
		all = append(all, report.Figure{Name: "idle", What: "CPU when idle", Value: 100 * r.idle.Seconds() / idleTime.Seconds(), Unit: "%"})
	}
	return all
}

// overdueBound is the bound of the time until the overdue lease is revoked.
func overdueBound(leases int) report.Bound {
	switch {
	case leases <= fewLeases:
		return report.AtMost(timing.Milliseconds(maxOverdueFew))
	case leases <= manyLeases:
		return report.AtMost(timing.Milliseconds(maxOverdueMany))
	}
	return report.Bound{}
}
