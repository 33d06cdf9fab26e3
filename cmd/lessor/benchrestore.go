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

// measureRestore has a broker start that finds many leases, and one among them that
// fell due while there was no broker. NATS has a process of its own, so that this one's
// memory is the broker's.
func (b *bench) measureRestore(ctx context.Context) error {
	node, err := b.startNode(ctx)
	if err != nil {
		return err
	}
	defer node.close()
	w, err := b.world(ctx, benchNeeds{connect: node.connect, leases: 1})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return err
	}
	before := heap()
	end, err := b.leaveLeases(ctx, w)
	if err != nil {
		return err
	}
	b.tell("the load with no broker")
	floor, err := w.bareLoad(ctx)
	if err != nil {
		return err
	}
	select { // until the one is due
	case <-time.After(time.Until(end)):
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.restart(ctx, w, before, floor)
}

// leaveLeases writes many leases and issues one, which expires soon and is the last in
// the bucket; and stops the broker. It returns when that one ends.
func (b *bench) leaveLeases(ctx context.Context, w *benchWorld) (end time.Time, err error) {
	w.broker.schedule.Stop() // or it would know them all before it starts
	if err := b.fill(ctx, w, b.live, time.Now().Add(23*time.Hour)); err != nil {
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
func (b *bench) restart(ctx context.Context, w *benchWorld, before float64, floor benchRun) error {
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
	b.tell("a broker starts, with %d leases", b.live)
	most := peak()
	begun, used := time.Now(), cpuTime()
	started, err := w.addBroker(ctx, w.options)
	if err != nil {
		return err
	}
	err = benchUntil(ctx, func() (bool, error) { return started.schedule.Healthy() == nil, nil })
	loaded := benchRun{took: time.Since(begun), each: make([]time.Duration, b.live), cpu: cpuTime() - used}
	if err != nil {
		return err
	}
	var missed time.Duration
	select {
	case at := <-revoked:
		missed = at.Sub(begun)
	case <-ctx.Done():
		return fmt.Errorf("the lease that fell due is not revoked: %w", ctx.Err())
	}
	highest := most()
	b.restoreFigures(loaded, floor, missed, (heap()-before)/float64(b.live), (highest-before)/float64(b.live))
	return b.idle(ctx)
}

func (b *bench) restoreFigures(loaded, floor benchRun, missed time.Duration, memory, most float64) {
	big := b.live >= benchMany // with fewer, what a broker needs anyway is shared by few
	const bare = "reading the bucket, no broker"
	b.add(
		benchFigure{Name: "restored", What: "leases loaded by a broker that starts", Value: loaded.rate(), Unit: "/s"}.
			beside(floor.rate(), bare).within(atLeast(leastRestored).only(big)),
		benchFigure{Name: "restore_time", What: fmt.Sprintf("until all %d are", b.live), Value: milliseconds(loaded.took), Unit: "ms"}.
			beside(milliseconds(floor.took), bare),
		loaded.computed("restored", "lease loaded", floor, bare),
		benchFigure{Name: "missed", What: "until one is revoked that fell due before the start", Value: milliseconds(missed), Unit: "ms"}.
			within(atMost(milliseconds(mostMissed))),
		benchFigure{Name: "memory", What: "memory a live lease", Value: memory, Unit: "bytes"}.within(atMost(mostMemory).only(big)),
		benchFigure{Name: "memory_peak", What: "at most, while they are loaded", Value: most, Unit: "bytes"},
	)
}

// idle measures what a broker costs that has leases and nothing to do.
func (b *bench) idle(ctx context.Context) error {
	b.tell("nothing happens")
	used := cpuTime()
	select {
	case <-time.After(benchIdle):
	case <-ctx.Done():
		return ctx.Err()
	}
	if used >= 0 {
		b.add(benchFigure{Name: "idle", What: "CPU, when nothing happens", Value: 100 * (cpuTime() - used).Seconds() / benchIdle.Seconds(), Unit: "%"})
	}
	return nil
}
