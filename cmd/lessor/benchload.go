package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// benchRun is how long things took.
type benchRun struct {
	took time.Duration   // all of it
	each []time.Duration // one by one
	many int             // that were not timed one by one
	cpu  time.Duration   // that this process computed meanwhile; 0: nobody knows
}

// benchLoad does something n times, some of them at once.
func benchLoad(ctx context.Context, n, atOnce int, do func(ctx context.Context, i int) error) (benchRun, error) {
	return benchLoadWithin(ctx, 0, n, atOnce, do)
}

// benchLoadWithin is benchLoad for no longer than it may take: after that nothing more
// is begun. The first of the n are done then. 0 is as long as it takes.
func benchLoadWithin(ctx context.Context, within time.Duration, n, atOnce int, do func(ctx context.Context, i int) error) (benchRun, error) {
	r := benchRun{each: make([]time.Duration, n)}
	var next atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	begun, used := time.Now(), cpuTime()
	for range min(n, atOnce) {
		all.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				one := time.Now()
				if err := do(ctx, i); err != nil {
					return err
				}
				r.each[i] = time.Since(one)
				if within > 0 && time.Since(begun) > within {
					return nil
				}
			}
		})
	}
	err := all.Wait()
	r.each = r.each[:min(n, int(next.Load()))]
	r.took, r.cpu = time.Since(begun), cpuTime()-used
	return r, err
}

// and joins two runs that were not at the same time.
func (r benchRun) and(other benchRun) benchRun {
	return benchRun{r.took + other.took, slices.Concat(r.each, other.each), r.many + other.many, r.cpu + other.cpu}
}

// count is how many there were.
func (r benchRun) count() int { return len(r.each) + r.many }

// rate is how many there were a second.
func (r benchRun) rate() float64 { return float64(r.count()) / r.took.Seconds() }

// computed is the figure of how long this process computed for each: NATS, AWS and
// requesters included, as far as they are in it. On a machine that others use, too, it
// tells more than the time does.
func (r benchRun) computed(name, what string, floor benchRun, floorWhat string) benchFigure {
	each := func(r benchRun) float64 { return float64(r.cpu.Microseconds()) / max(1, float64(r.count())) }
	return benchFigure{Name: name + "_cpu", What: "CPU time for each " + what, Value: each(r), Unit: "µs"}.
		besideIf(floor.cpu > 0, each(floor), floorWhat)
}

// at is the time that this share of them took at most: at(0.5) is the median.
func (r benchRun) at(share float64) time.Duration {
	if len(r.each) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.each))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// times are the figures of how long one takes, beside the same with no broker; floor
// may be nil.
func (r benchRun) times(name, what string, floor *benchRun, bound benchBound) []benchFigure {
	figure := func(at float64, name, what string) benchFigure {
		f := benchFigure{Name: name, What: what, Value: milliseconds(r.at(at)), Unit: "ms"}
		if floor != nil {
			f = f.beside(milliseconds(floor.at(at)), benchSDK)
		}
		return f
	}
	return []benchFigure{
		figure(0.5, name+"_p50", what+", p50").within(bound),
		figure(0.99, name+"_p99", what+", p99"),
	}
}

// benchSDK names the floor of what AWS makes slow.
const benchSDK = "the same calls of the SDK, no broker"

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// benchLeases are leases that a part has.
type benchLeases struct {
	names []string
}

// issueMany issues n leases, or as many as can be begun in time, as the requesters do.
func (w *benchWorld) issueMany(ctx context.Context, within time.Duration, n, atOnce int, secret, body string) (benchLeases, benchRun, error) {
	all := benchLeases{names: make([]string, n)}
	r, err := benchLoadWithin(ctx, within, n, atOnce, func(ctx context.Context, i int) (err error) {
		all.names[i], err = w.issue(ctx, secret, body)
		return err
	})
	all.names = all.names[:len(r.each)]
	return all, r, err
}

func (w *benchWorld) revokeMany(ctx context.Context, l benchLeases, atOnce int) (benchRun, error) {
	return benchLoad(ctx, len(l.names), atOnce, func(ctx context.Context, i int) error { return w.revoke(ctx, l.names[i]) })
}

// quiet waits until the brokers have written down all that they have answered.
func (w *benchWorld) quiet(ctx context.Context) error {
	if w.away {
		return nil
	}
	return benchUntil(ctx, func() (bool, error) {
		state, err := w.stored(ctx)
		for _, s := range state {
			if s.queue && s.waiting > 0 {
				return false, err
			}
		}
		return err == nil, err
	})
}

// benchUntil waits until something is so.
func benchUntil(ctx context.Context, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it took too long: %w", errors.Join(ctx.Err(), err))
		case <-time.After(2 * time.Millisecond):
		}
	}
}
