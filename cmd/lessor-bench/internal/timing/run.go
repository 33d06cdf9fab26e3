// Package timing measures how long operations take, and the CPU time of this process.
package timing

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run is how long a number of operations took.
type Run struct {
	// Took is the time from the start of the first to the end of the last.
	Took time.Duration
	// Each is the time of each operation.
	Each []time.Duration
	// Untimed is the number of operations that are not in Each.
	Untimed int
	// CPU is the CPU time that this process used meanwhile; 0 is not known.
	CPU time.Duration
}

// Repeat calls do n times, with i from 0 to n-1, and up to atOnce of the calls at the same
// time. It returns the first error.
func Repeat(ctx context.Context, n, atOnce int, do func(ctx context.Context, i int) error) (Run, error) {
	return RepeatWithin(ctx, 0, n, atOnce, do)
}

// RepeatWithin is Repeat with a time limit: after it, no call is started. The calls that
// were made are those with the lowest i. A limit of 0 is none.
func RepeatWithin(ctx context.Context, limit time.Duration, n, atOnce int, do func(ctx context.Context, i int) error) (Run, error) {
	r := Run{Each: make([]time.Duration, n)}
	var next atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	begin, used := time.Now(), CPUTime()
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
				if limit > 0 && time.Since(begin) > limit {
					return nil
				}
			}
		})
	}
	err := all.Wait()
	r.Each = r.Each[:min(n, int(next.Load()))]
	r.Took, r.CPU = time.Since(begin), CPUTime()-used
	return r, err
}

// Join returns the sum of two runs that were not at the same time.
func (r Run) Join(other Run) Run {
	return Run{r.Took + other.Took, slices.Concat(r.Each, other.Each), r.Untimed + other.Untimed, r.CPU + other.CPU}
}

// Count returns the number of operations.
func (r Run) Count() int { return len(r.Each) + r.Untimed }

// Rate returns the operations a second.
func (r Run) Rate() float64 { return float64(r.Count()) / r.Took.Seconds() }

// Quantile returns the time that the given share of the operations took at most:
// Quantile(0.5) is the median. It returns 0 if no operation was timed.
func (r Run) Quantile(share float64) time.Duration {
	if len(r.Each) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Each))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// Milliseconds returns d in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
