package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// partDay is the name of the part that simulates a day.
const partDay = "day"

// hoursOfADay is how often the clock is moved.
const hoursOfADay = 24

// mostOfADay is how many times as much a lease may cost at the end of the day as at its
// beginning: as far as the machine is as fast then.
const mostOfADay = 1.25

// measureDay has leases issued for an hour, hour after hour, and moves the brokers'
// clock: all of an hour expire together. NATS keeps what there was of them, as it does
// for a day, and the events.
func (b *bench) measureDay(ctx context.Context) error {
	each := max(1, b.Day/hoursOfADay)
	w, err := b.world(ctx, world.Config{Leases: each})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	var hours []timing.Run
	for h := range hoursOfADay {
		b.tell("hour %d of %d", h+1, hoursOfADay)
		run, err := b.hour(ctx, w, each)
		if err != nil {
			return fmt.Errorf("hour %d: %w", h+1, err)
		}
		hours = append(hours, run)
	}
	// The first hour pays for what is made once.
	early, late := hours[1].Join(hours[2]).Join(hours[3]), hours[hoursOfADay-3].Join(hours[hoursOfADay-2]).Join(hours[hoursOfADay-1])
	const floor = "the same in hours 2 to 4"
	b.add(
		computed(late, "late", fmt.Sprintf("of %d leases, issued and expired, in hours 22 to 24", each*hoursOfADay), early, floor).
			WithBound(report.RatioAtMost(mostOfADay).If(b.Day >= DefaultDay)),
		report.Figure{Name: "late_time", What: "time for each of them", Value: micros(late), Unit: "µs"}.WithFloor(micros(early), floor),
		report.Figure{Name: "memory", What: "memory of everything at the end, NATS and simulator included", Value: world.Heap() / (1 << 20), Unit: "MiB"},
	)
	return nil
}

func micros(r timing.Run) float64 { return float64(r.Took.Microseconds()) / float64(r.Count()) }

// hour has leases issued, and expire.
func (b *bench) hour(ctx context.Context, w *world.World, n int) (timing.Run, error) {
	begun, used := time.Now(), timing.CPUTime()
	if _, _, err := w.IssueMany(ctx, 0, n, b.Requesters, w.Hard, `{"ttl":"1h"}`); err != nil {
		return timing.Run{}, err
	}
	w.Ahead.Add(int64(time.Hour))
	err := poll.Until(ctx, world.Poll, func() (bool, error) { return w.Sim.UserCount() == 0, nil })
	if err == nil {
		err = w.Quiet(ctx)
	}
	return timing.Run{Took: time.Since(begun), Untimed: n, CPU: timing.CPUTime() - used}, err
}
