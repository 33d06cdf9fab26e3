package awsiam

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNothingIsHeldBackUntilAWSThrottles(t *testing.T) {
	l := newLimiter(0)
	for range 10_000 {
		if err := l.wait(t.Context(), rankCreate); err != nil {
			t.Fatal(err)
		}
		l.answered(time.Now(), false)
	}
	if !math.IsInf(l.found, 1) {
		t.Fatalf("held back at %v without throttling", l.found)
	}
}

// The ceiling holds for the sum of all ranks, to the call.
func TestTheConfiguredRateHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(20)
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		for i := range 128 {
			go func() {
				for l.wait(ctx, rank(i)%ranks) == nil {
					calls.Add(1)
					l.answered(time.Now(), false)
				}
			}()
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if n := calls.Load(); n < 200 || n > 202 {
			t.Errorf("%d calls in 10 s, want 2 at once and 20 a second", n)
		}
		cancel()
		synctest.Wait()
		if l.queue.len() != 0 {
			t.Errorf("%d calls wait for nobody", l.queue.len())
		}
	})
}

func TestADeadlineThatCannotBeMetIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1)
		began := time.Now()
		wait := func(r rank, within time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			return l.wait(ctx, r)
		}
		if err := wait(rankTidy, time.Second); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			go func() { _ = wait(rankTidy, time.Hour) }()
		}
		synctest.Wait()
		for _, r := range []rank{rankTidy, rankRenew, rankCreate} {
			if err := wait(r, 5900*time.Millisecond); !errors.Is(err, errHeldBack) {
				t.Errorf("rank %d: %v", r, err)
			}
		}
		if err := wait(rankKeys, 900*time.Millisecond); !errors.Is(err, errHeldBack) {
			t.Errorf("a key: %v", err)
		}
		if time.Since(began) != 0 || l.queue.len() != 5 {
			t.Errorf("it took %s, and %d calls wait", time.Since(began), l.queue.len())
		}
		// One that can be met is.
		if err := wait(rankKeys, 1100*time.Millisecond); err != nil {
			t.Errorf("a key: %v", err)
		}
		if err := wait(rankTidy, 6100*time.Millisecond); err != nil {
			t.Errorf("the sixth: %v", err)
		}
	})
}

// While the rate is searched for, it is no reason to send anybody away that it is
// low now: it may be seven times as high in a second.
func TestARateThatIsNotKnownYetSendsOnlyTheHopelessAway(t *testing.T) {
	l := newLimiter(0)
	l.found, l.likely = 10, math.Inf(1)
	l.queue.add(100, rankCreate)
	if d := l.soonest(rankCreate, 1); d < time.Second || d > 2*time.Second {
		t.Errorf("100 calls at 10 a second take %s", d)
	}
	l.likely = 20
	if d := l.soonest(rankCreate, 1).Round(time.Second / 10); d != 5100*time.Millisecond {
		t.Errorf("100 calls at 10 a second, and soon 20, take %s", d)
	}
	l.likely = 0
	if d := l.soonest(rankCreate, 1).Round(time.Second / 10); d != 10100*time.Millisecond {
		t.Errorf("100 calls at 10 a second take %s", d)
	}
}

func TestACallThatGoesAwayTakesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1)
		if err := l.wait(t.Context(), rankKeys); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 10)
		for range cap(gone) {
			go func() { gone <- l.wait(ctx, rankKeys) }()
		}
		synctest.Wait()
		if !l.backlog() {
			t.Error("ten calls wait, and there is no backlog")
		}
		last := make(chan error, 1)
		go func() { last <- l.wait(t.Context(), rankKeys) }()
		time.Sleep(time.Second / 2)
		cancel()
		for range cap(gone) {
			if err := <-gone; !errors.Is(err, errHeldBack) || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := <-last; err != nil || time.Since(began).Round(time.Millisecond) != time.Second {
			t.Errorf("the last goes after %s: %v", time.Since(began), err)
		}
		if l.backlog() {
			t.Error("there is a backlog of nothing")
		}
	})
}

// A slot that comes when its call has just gone away is the next one's.
func TestASlotThatComesTooLateIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1)
		if err := l.wait(t.Context(), rankKeys); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		first, err := l.enter(t.Context(), rankKeys, began)
		if err != nil {
			t.Fatal(err)
		}
		second, err := l.enter(t.Context(), rankKeys, began)
		if err != nil {
			t.Fatal(err)
		}
		<-first.turn
		l.leave(first, time.Now())
		<-second.turn
		if d := time.Since(began).Round(time.Millisecond); d != time.Second {
			t.Errorf("the second goes after %s", d)
		}
	})
}
