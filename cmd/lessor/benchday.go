package main

import (
	"context"
	"fmt"
	"time"
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
	each := max(1, b.day/hoursOfADay)
	w, err := b.world(ctx, benchNeeds{leases: each})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return err
	}
	var hours []benchRun
	for h := range hoursOfADay {
		b.tell("hour %d of %d", h+1, hoursOfADay)
		run, err := b.hour(ctx, w, each)
		if err != nil {
			return fmt.Errorf("hour %d: %w", h+1, err)
		}
		hours = append(hours, run)
	}
	// The first hour pays for what is made once.
	early, late := hours[1].and(hours[2]).and(hours[3]), hours[hoursOfADay-3].and(hours[hoursOfADay-2]).and(hours[hoursOfADay-1])
	const floor = "the same in hours 2 to 4"
	b.add(
		late.computed("late", fmt.Sprintf("of %d leases, issued and expired, in hours 22 to 24", each*hoursOfADay), early, floor).
			within(ratioAtMost(mostOfADay).only(b.day >= benchDay)),
		benchFigure{Name: "late_time", What: "time for each of them", Value: micros(late), Unit: "µs"}.beside(micros(early), floor),
		benchFigure{Name: "memory", What: "memory of everything at the end, NATS and simulator included", Value: heap() / (1 << 20), Unit: "MiB"},
	)
	return nil
}

func micros(r benchRun) float64 { return float64(r.took.Microseconds()) / float64(r.count()) }

// hour has leases issued, and expire.
func (b *bench) hour(ctx context.Context, w *benchWorld, n int) (benchRun, error) {
	begun, used := time.Now(), cpuTime()
	if _, _, err := w.issueMany(ctx, 0, n, b.requesters, w.hard, `{"ttl":"1h"}`); err != nil {
		return benchRun{}, err
	}
	w.ahead.Add(int64(time.Hour))
	err := benchUntil(ctx, func() (bool, error) { return w.sim.UserCount() == 0, nil })
	if err == nil {
		err = w.quiet(ctx)
	}
	return benchRun{took: time.Since(begun), many: n, cpu: cpuTime() - used}, err
}
