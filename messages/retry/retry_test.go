package retry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/retry"
)

func TestBackoffDoublesUpToMax(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		min, max time.Duration
		want     []time.Duration
	}{
		{"doubles", 1, 100, []time.Duration{1, 2, 4, 8, 16, 32, 64, 100, 100}},
		{"constant", 5, 5, []time.Duration{5, 5, 5}},
		{"max below min", 5, 3, []time.Duration{3, 3, 3}},
		{"no min", 0, 3, []time.Duration{0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := retry.Backoff{Min: c.min, Max: c.max}
			for round := range 2 {
				var got []time.Duration
				for range c.want {
					got = append(got, b.Next())
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("round %d: the waits are %v, want %v", round, got, c.want)
				}
				b.Reset()
			}
		})
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	if err := retry.Sleep(ctx, 0); err != nil {
		t.Errorf("a wait of 0: %v", err)
	}
	cancel()
	if err := retry.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
	b := retry.Backoff{Min: time.Hour, Max: time.Hour}
	if err := b.Sleep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Backoff.Sleep after the context ended: %v", err)
	}
}
