package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// benchIdle is how long a broker is watched that has nothing to do.
const benchIdle = 2 * time.Second

// benchRestored is what the start of a broker cost that found many leases.
type benchRestored struct {
	leases        int
	loaded, floor benchRun
	missed        time.Duration // until the lease that fell due before is revoked
	memory, peak  float64       // bytes a lease: once all are known, and at most until then
	idle          time.Duration // that it computed in benchIdle; negative: nobody knows
}

// measureRestore has a broker start that finds many leases.
func (b *bench) measureRestore(ctx context.Context) error {
	r, err := b.restore(ctx, b.live)
	if err == nil {
		b.add(r.figures()...)
	}
	return err
}

// restore has a broker start that finds so many leases, and one more that fell due
// while there was no broker. NATS has a process of its own, so that this one's memory
// is the broker's.
func (b *bench) restore(ctx context.Context, leases int) (benchRestored, error) {
	r := benchRestored{leases: leases}
	node, err := b.startNode(ctx)
	if err != nil {
		return r, err
	}
	defer node.close()
	w, err := b.world(ctx, benchNeeds{connect: node.connect, leases: 1})
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return r, err
	}
	before := heap()
	end, err := b.leaveLeases(ctx, w, leases)
	if err != nil {
		return r, err
	}
	b.tell("the load with no broker")
	if r.floor, err = w.bareLoad(ctx); err != nil {
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
func (b *bench) leaveLeases(ctx context.Context, w *benchWorld, n int) (end time.Time, err error) {
	w.broker.schedule.Stop() // or it would know them all before it starts
	if err := b.fill(ctx, w, n, time.Now().Add(23*time.Hour)); err != nil {
		return end, err
	}
	r, err := w.ask(ctx, w.ns.API("request", w.identity, w.hard), `{"ttl":"2s"}`)
	if err != nil {
		return end, err
	}
	if err := w.quiet(ctx); err != nil {
		return end, err
	}
	return r.Lease.ExpiresAt, w.broker.Stop(ctx)
}

// restart starts a broker and measures how it gets to know the leases.
func (b *bench) restart(ctx context.Context, w *benchWorld, before float64, r *benchRestored) error {
	revoked := make(chan time.Time, 1)
	sub, err := w.nc.Subscribe(w.ns.Event(messages.LeaseName{Identity: w.identity, Secret: w.hard, ID: "*"}, messages.EventRevoked), func(*nats.Msg) {
		select {
		case revoked <- time.Now():
		default: // it is told once
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // goes with the connection
	if err := w.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	b.tell("a broker starts, with %d leases", r.leases)
	most := peak()
	begun, used := time.Now(), cpuTime()
	started, err := w.addBroker(ctx, w.options)
	if err != nil {
		return err
	}
	err = benchUntil(ctx, func() (bool, error) { return started.schedule.Healthy() == nil, nil })
	r.loaded = benchRun{took: time.Since(begun), many: r.leases, cpu: cpuTime() - used}
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
	r.memory = (heap() - before) / float64(r.leases)
	return nil
}

func (r benchRestored) figures() []benchFigure {
	big := r.leases >= benchMany // with fewer, what a broker needs anyway is shared by few
	const bare = "reading the bucket, no broker"
	all := []benchFigure{
		benchFigure{Name: "restored", What: "leases loaded by a broker that starts", Value: r.loaded.rate(), Unit: "/s"}.
			beside(r.floor.rate(), bare).within(atLeast(leastRestored).only(big)),
		benchFigure{Name: "restore_time", What: fmt.Sprintf("until all %d are", r.leases), Value: milliseconds(r.loaded.took), Unit: "ms"}.
			beside(milliseconds(r.floor.took), bare),
		r.loaded.computed("restored", "lease loaded", r.floor, bare),
		benchFigure{Name: "missed", What: "until one is revoked that fell due before the start", Value: milliseconds(r.missed), Unit: "ms"}.
			within(atMost(milliseconds(mostMissed))),
		benchFigure{Name: "memory", What: "memory a live lease", Value: r.memory, Unit: "bytes"}.within(atMost(mostMemory).only(big)),
		benchFigure{Name: "memory_peak", What: "at most, while they are loaded", Value: r.peak, Unit: "bytes"},
	}
	if r.idle >= 0 {
		all = append(all, benchFigure{Name: "idle", What: "CPU, when nothing happens", Value: 100 * r.idle.Seconds() / benchIdle.Seconds(), Unit: "%"})
	}
	return all
}

// idle measures what a broker costs that has leases and nothing to do.
func (b *bench) idle(ctx context.Context, r *benchRestored) error {
	b.tell("nothing happens")
	used := cpuTime()
	select {
	case <-time.After(benchIdle):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.idle = -1
	if used >= 0 {
		r.idle = cpuTime() - used
	}
	return nil
}
