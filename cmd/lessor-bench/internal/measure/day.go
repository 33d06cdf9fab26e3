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

// hoursOfDay is how often the clock is advanced by an hour.
const hoursOfDay = 24

// maxDayRatio is the bound of the CPU time of a lease at the end of the day, divided by
// that at its beginning.
const maxDayRatio = 1.25

// measureDay issues leases and advances the brokers' clock by an hour, so that they expire
// together, for each hour of a day. NATS keeps what a broker keeps for a day: the
// tombstones of the leases, and the events.
func (b *bench) measureDay(ctx context.Context) error {
	leases := max(1, b.Day/hoursOfDay)
	w, err := b.world(ctx, world.Config{Leases: leases})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	var hours []timing.Run
	for h := range hoursOfDay {
		b.show("hour %d of %d", h+1, hoursOfDay)
		run, err := b.hour(ctx, w, leases)
		if err != nil {
			return fmt.Errorf("hour %d: %w", h+1, err)
		}
		hours = append(hours, run)
	}
	// The first hour includes what is created once.
	early, late := hours[1].Join(hours[2]).Join(hours[3]), hours[hoursOfDay-3].Join(hours[hoursOfDay-2]).Join(hours[hoursOfDay-1])
	const floor = "the same in hours 2 to 4"
	b.add(
		cpuFigure(late, "late", fmt.Sprintf("of %d leases, issued and expired, in hours 22 to 24", leases*hoursOfDay), early, floor).
			WithBound(report.RatioAtMost(maxDayRatio).If(b.Day >= DefaultDay)),
		report.Figure{Name: "late_time", What: "time for each of them", Value: microsecondsEach(late), Unit: "µs"}.WithFloor(microsecondsEach(early), floor),
		report.Figure{Name: "memory", What: "memory of everything at the end, NATS and simulator included", Value: world.Heap() / (1 << 20), Unit: "MiB"},
	)
	return nil
}

func microsecondsEach(r timing.Run) float64 {
	return float64(r.Took.Microseconds()) / float64(r.Count())
}

// hour issues n leases, advances the clock by an hour and waits until all have ended.
func (b *bench) hour(ctx context.Context, w *world.World, n int) (timing.Run, error) {
	begin, used := time.Now(), timing.CPUTime()
	if _, _, err := w.IssueMany(ctx, 0, n, b.Requesters, w.Hard, `{"ttl":"1h"}`); err != nil {
		return timing.Run{}, err
	}
	w.Ahead.Add(int64(time.Hour))
	err := poll.Until(ctx, world.Poll, func() (bool, error) { return w.Sim.UserCount() == 0, nil })
	if err == nil {
		err = w.Quiet(ctx)
	}
	return timing.Run{Took: time.Since(begin), Untimed: n, CPU: timing.CPUTime() - used}, err
}
