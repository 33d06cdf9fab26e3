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

// idleTime is how long a broker is watched that has nothing to do.
const idleTime = 2 * time.Second

// restored is what the start of a broker cost that found many leases.
type restored struct {
	leases        int
	loaded, floor timing.Run
	missed        time.Duration // until the lease that fell due before is revoked
	memory, peak  float64       // bytes a lease: once all are known, and at most until then
	idle          time.Duration // that it computed in benchIdle; negative: nobody knows
}

// measureRestore has a broker start that finds many leases.
func (b *bench) measureRestore(ctx context.Context) error {
	r, err := b.restore(ctx, b.Live)
	if err == nil {
		b.add(r.figures()...)
	}
	return err
}

// restore has a broker start that finds so many leases, and one more that fell due
// while there was no broker. NATS has a process of its own, so that this one's memory
// is the broker's.
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
	end, err := b.leaveLeases(ctx, w, leases)
	if err != nil {
		return r, err
	}
	b.tell("the load with no broker")
	if r.floor, err = w.BareLoad(ctx); err != nil {
		return r, err
	}
	select { // until the one is due
	case <-time.After(time.Until(end)):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	if err := b.restart(ctx, w, before, &r); err != nil {
		return r, err
	}
	return r, b.idle(ctx, &r)
}

// leaveLeases writes many leases and issues one, which expires soon and is the last in
// the bucket. Then it stops the broker. It returns when that one ends.
func (b *bench) leaveLeases(ctx context.Context, w *world.World, n int) (end time.Time, err error) {
	w.Broker.Scheduler.Stop() // or it would know them all before it starts
	if err := b.fill(ctx, w, n, time.Now().Add(23*time.Hour)); err != nil {
		return end, err
	}
	r, err := w.Ask(ctx, w.NS.API("request", w.Identity, w.Hard), `{"ttl":"2s"}`)
	if err != nil {
		return end, err
	}
	if err := w.Quiet(ctx); err != nil {
		return end, err
	}
	return r.Lease.ExpiresAt, w.Broker.Stop(ctx)
}

// restart starts a broker and measures how it gets to know the leases.
func (b *bench) restart(ctx context.Context, w *world.World, before float64, r *restored) error {
	revoked := make(chan time.Time, 1)
	sub, err := w.Conn.Subscribe(w.NS.Event(messages.LeaseName{Identity: w.Identity, Secret: w.Hard, ID: "*"}, messages.EventRevoked), func(*nats.Msg) {
		select {
		case revoked <- time.Now():
		default: // it is told once
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // goes with the connection
	if err := w.Conn.FlushWithContext(ctx); err != nil {
		return err
	}
	b.tell("a broker starts, with %d leases", r.leases)
	most := world.Peak()
	begun, used := time.Now(), timing.CPUTime()
	started, err := w.AddBroker(ctx)
	if err != nil {
		return err
	}
	err = poll.Until(ctx, world.Poll, func() (bool, error) { return started.Scheduler.Healthy() == nil, nil })
	r.loaded = timing.Run{Took: time.Since(begun), Untimed: r.leases, CPU: timing.CPUTime() - used}
	if err != nil {
		return err
	}
	select {
	case at := <-revoked:
		r.missed = at.Sub(begun)
	case <-ctx.Done():
		return fmt.Errorf("the lease that fell due is not revoked: %w", ctx.Err())
	}
	r.peak = (most() - before) / float64(r.leases)
	r.memory = (world.Heap() - before) / float64(r.leases)
	return nil
}

func (r restored) figures() []report.Figure {
	big := r.leases >= DefaultLeases // with fewer, what a broker needs anyway is shared by few
	const bare = "reading the bucket, no broker"
	all := []report.Figure{
		report.Figure{Name: "restored", What: "leases loaded by a broker that starts", Value: r.loaded.Rate(), Unit: "/s"}.
			WithFloor(r.floor.Rate(), bare).WithBound(report.AtLeast(leastRestored).If(big)),
		report.Figure{Name: "restore_time", What: fmt.Sprintf("until all %d are", r.leases), Value: timing.Milliseconds(r.loaded.Took), Unit: "ms"}.
			WithFloor(timing.Milliseconds(r.floor.Took), bare),
		computed(r.loaded, "restored", "lease loaded", r.floor, bare),
		report.Figure{Name: "missed", What: "until one is revoked that fell due before the start", Value: timing.Milliseconds(r.missed), Unit: "ms"}.
			WithBound(report.AtMost(timing.Milliseconds(mostMissed))),
		report.Figure{Name: "memory", What: "memory a live lease", Value: r.memory, Unit: "bytes"}.WithBound(report.AtMost(mostMemory).If(big)),
		report.Figure{Name: "memory_peak", What: "at most, while they are loaded", Value: r.peak, Unit: "bytes"},
	}
	if r.idle >= 0 {
		all = append(all, report.Figure{Name: "idle", What: "CPU, when nothing happens", Value: 100 * r.idle.Seconds() / idleTime.Seconds(), Unit: "%"})
	}
	return all
}

// idle measures what a broker costs that has leases and nothing to do.
func (b *bench) idle(ctx context.Context, r *restored) error {
	b.tell("nothing happens")
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

// Bounds of a start with many leases.
const (
	leastRestored = 100_000         // leases a second
	mostMemory    = 250             // bytes a lease
	mostMissed    = 2 * time.Second // until a lease is revoked that fell due meanwhile
)
