package consumer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lessorhq/lessor/consumer"
)

// Whoever comes while a run is under way must not have that one: what it reads may be
// older than he is. All who come share the next.
func TestAShareBeganAfterItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s consumer.Sharing
		var runs atomic.Int64
		gate := make(chan struct{})
		run := func(context.Context) (any, error) {
			n := runs.Add(1)
			<-gate
			return n, nil
		}
		ask := func() (any, error) { return s.Do(t.Context(), "it", run) }
		var got [5]any
		var all sync.WaitGroup
		all.Go(func() { got[0], _ = ask() })
		synctest.Wait() // the first run is under way
		for i := 1; i < len(got); i++ {
			all.Go(func() { got[i], _ = ask() })
		}
		synctest.Wait()
		close(gate)
		all.Wait()
		if got[0] != int64(1) {
			t.Errorf("the first has run %v", got[0])
		}
		for i, n := range got[1:] {
			if n != int64(2) {
				t.Errorf("who came %d. while the first run was under way has run %v, want 2", i+1, n)
			}
		}
		if n := runs.Load(); n != 2 {
			t.Errorf("there were %d runs", n)
		}
	})
}

func TestSharersOfDifferentThingsDoNotWaitForEachOther(t *testing.T) {
	var s consumer.Sharing
	within, err := s.Do(t.Context(), "one", func(ctx context.Context) (any, error) {
		return s.Do(ctx, "other", func(context.Context) (any, error) { return "done", nil })
	})
	if within != "done" || err != nil {
		t.Errorf("got %v, %v", within, err)
	}
}

// Who goes away must not take the run, which he was the first to want, from the others.
func TestASharerMayGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s consumer.Sharing
		gate := make(chan struct{})
		run := func(ctx context.Context) (any, error) {
			<-gate
			return "done", ctx.Err()
		}
		var all sync.WaitGroup
		ask := func(ctx context.Context) (err error) { _, err = s.Do(ctx, "it", run); return err }
		var gone, stayed error
		all.Go(func() { _ = ask(t.Context()) })
		synctest.Wait() // from here on it is the next run
		leaving, leave := context.WithCancel(t.Context())
		all.Go(func() { gone = ask(leaving) })
		synctest.Wait()
		all.Go(func() { stayed = ask(t.Context()) })
		synctest.Wait()
		leave()
		synctest.Wait()
		if !errors.Is(gone, context.Canceled) {
			t.Errorf("who went away has %v", gone)
		}
		close(gate)
		all.Wait()
		if stayed != nil {
			t.Errorf("who stayed has %v", stayed)
		}
	})
}
