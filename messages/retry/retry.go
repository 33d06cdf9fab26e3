// Package retry waits: once ([Sleep]), or longer each time ([Backoff]).
package retry

import (
	"context"
	"time"
)

// Sleep waits for d. It returns ctx's error if ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Backoff waits Min first, and twice as long each time after that, up to Max. It is
// not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration

	next time.Duration
}

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	wait := max(b.next, b.Min)
	b.next = min(2*wait, b.Max)
	return min(wait, b.Max)
}

// Sleep waits for [Backoff.Next]. It returns ctx's error if ctx ends first.
func (b *Backoff) Sleep(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Reset makes the next wait Min again.
func (b *Backoff) Reset() { b.next = 0 }
