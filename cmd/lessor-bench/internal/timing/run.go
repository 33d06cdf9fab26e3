package timing

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run is how long things took.
type Run struct {
	Took    time.Duration   // all of it
	Each    []time.Duration // one by one
	Untimed int             // that were not timed one by one
	CPU     time.Duration   // that this process computed meanwhile; 0: nobody knows
}

// Repeat does something n times, some of them at once.
func Repeat(ctx context.Context, n, atOnce int, do func(ctx context.Context, i int) error) (Run, error) {
	return RepeatWithin(ctx, 0, n, atOnce, do)
}

// RepeatWithin is benchLoad for no longer than it may take: after that nothing more
// is begun. The first of the n are done then. 0 is as long as it takes.
func RepeatWithin(ctx context.Context, within time.Duration, n, atOnce int, do func(ctx context.Context, i int) error) (Run, error) {
	r := Run{Each: make([]time.Duration, n)}
	var next atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	begun, used := time.Now(), CPUTime()
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
				r.Each[i] = time.Since(one)
				if within > 0 && time.Since(begun) > within {
					return nil
				}
			}
		})
	}
	err := all.Wait()
	r.Each = r.Each[:min(n, int(next.Load()))]
	r.Took, r.CPU = time.Since(begun), CPUTime()-used
	return r, err
}

// Join joins two runs that were not at the same time.
func (r Run) Join(other Run) Run {
	return Run{r.Took + other.Took, slices.Concat(r.Each, other.Each), r.Untimed + other.Untimed, r.CPU + other.CPU}
}

// Count is how many there were.
func (r Run) Count() int { return len(r.Each) + r.Untimed }

// Rate is how many there were a second.
func (r Run) Rate() float64 { return float64(r.Count()) / r.Took.Seconds() }

// Quantile is the time that this share of them took at most: at(0.5) is the median.
func (r Run) Quantile(share float64) time.Duration {
	if len(r.Each) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Each))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
