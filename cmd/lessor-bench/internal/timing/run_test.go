//go:build unix

package timing

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestRepeatWithinStartsNothingAfterTheLimit checks that the calls that were started are
// those with the lowest numbers, and that all of them are made without a limit.
func TestRepeatWithinStartsNothingAfterTheLimit(t *testing.T) {
	t.Parallel()
	var done [100]bool
	do := func(_ context.Context, i int) error { done[i] = true; return nil }
	r, err := RepeatWithin(t.Context(), time.Nanosecond, len(done), 2, do)
	if err != nil || len(r.Each) != 2 || !done[0] || !done[1] || done[2] {
		t.Errorf("%d calls, %v: %v", len(r.Each), done, err)
	}
	if r, err = RepeatWithin(t.Context(), 0, len(done), 2, do); err != nil || len(r.Each) != len(done) || slices.Contains(done[:], false) {
		t.Errorf("%d calls, %v: %v", len(r.Each), done, err)
	}
	refused := errors.New("no")
	if _, err = Repeat(t.Context(), 10, 2, func(context.Context, int) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
}

// TestQuantilesOfJoinedRuns checks the quantiles and the rate of runs whose times are not
// sorted.
func TestQuantilesOfJoinedRuns(t *testing.T) {
	t.Parallel()
	var r Run
	for i := 100; i > 0; i-- {
		r = r.Join(Run{Took: time.Millisecond, Each: []time.Duration{time.Duration(i)}})
	}
	if r.Quantile(0.5) != 51 || r.Quantile(0.99) != 100 || r.Quantile(1) != 100 || r.Rate() != 1000 || (Run{}).Quantile(0.5) != 0 {
		t.Errorf("%d, %d, %d; %g/s", r.Quantile(0.5), r.Quantile(0.99), r.Quantile(1), r.Rate())
	}
}
