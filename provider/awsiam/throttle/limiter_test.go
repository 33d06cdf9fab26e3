package throttle

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wait waits for a slot of a priority.
func (l *Limiter) wait(ctx context.Context, p Priority) error { return l.Wait(WithPriority(ctx, p)) }

func TestNoCallWaitsUntilTheServiceThrottles(t *testing.T) {
	l := New(0)
	for range 10_000 {
		if err := l.wait(t.Context(), Other); err != nil {
			t.Fatal(err)
		}
		l.Answered(false)
	}
	if rate := l.State().Rate; !math.IsInf(rate, 1) {
		t.Fatalf("the rate is limited to %v although no call was throttled", rate)
	}
}

// The ceiling is kept by the sum of all priorities, to the call.
func TestCeilingHoldsForAllPrioritiesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(20)
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		for i := range 128 {
			go func() {
				for l.wait(ctx, Priority(i)%priorities) == nil {
					calls.Add(1)
					l.Answered(false)
				}
			}()
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if n := calls.Load(); n < 200 || n > 202 {
			t.Errorf("%d calls in 10 s, want 2 at once and 20 a second", n)
		}
		cancel()
		synctest.Wait()
		if n := l.State().Backlog(); n != 0 {
			t.Errorf("%d calls are left in the queue", n)
		}
	})
}

func TestDeadlineThatCannotBeMetFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1)
		began := time.Now()
		wait := func(p Priority, within time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			return l.wait(ctx, p)
		}
		if err := wait(Cleanup, time.Second); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			go func() { _ = wait(Cleanup, time.Hour) }()
		}
		synctest.Wait()
		for _, p := range []Priority{Cleanup, Renewal, Other} {
			if err := wait(p, 5900*time.Millisecond); !errors.Is(err, ErrNotInTime) {
				t.Errorf("priority %d: %v", p, err)
			}
		}
		if err := wait(EndAccess, 900*time.Millisecond); !errors.Is(err, ErrNotInTime) {
			t.Errorf("a call that ends access: %v", err)
		}
		if n := l.State().Backlog(); time.Since(began) != 0 || n != 5 {
			t.Errorf("after %s, %d calls wait", time.Since(began), n)
		}
		// Deadlines that can be met.
		if err := wait(EndAccess, 1100*time.Millisecond); err != nil {
			t.Errorf("a call that ends access: %v", err)
		}
		if err := wait(Cleanup, 6100*time.Millisecond); err != nil {
			t.Errorf("the sixth call: %v", err)
		}
	})
}

// While the rate rises fast, its present value is no reason to refuse a call: the
// rate may be seven times as high in a second.
func TestWaitingTimeAllowsForARisingRate(t *testing.T) {
	l := New(0)
	l.estimate, l.target = 10, math.Inf(1)
	l.queue.add(100, Other)
	if d := l.soonest(Other, 1); d < time.Second || d > 2*time.Second {
		t.Errorf("100 calls at 10 a second and rising take %s", d)
	}
	l.target = 20
	if d := l.soonest(Other, 1).Round(time.Second / 10); d != 5100*time.Millisecond {
		t.Errorf("100 calls at 10 a second, and 20 soon, take %s", d)
	}
	l.target = 0
	if d := l.soonest(Other, 1).Round(time.Second / 10); d != 10100*time.Millisecond {
		t.Errorf("100 calls at 10 a second take %s", d)
	}
}

func TestCancelledCallTakesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1)
		if err := l.wait(t.Context(), EndAccess); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := make(chan error, 10)
		for range cap(cancelled) {
			go func() { cancelled <- l.wait(ctx, EndAccess) }()
		}
		synctest.Wait()
		if !l.Backlog() {
			t.Error("ten calls wait, and there is no backlog")
		}
		last := make(chan error, 1)
		go func() { last <- l.wait(t.Context(), EndAccess) }()
		time.Sleep(time.Second / 2)
		cancel()
		for range cap(cancelled) {
			if err := <-cancelled; !errors.Is(err, ErrNotInTime) || !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := <-last; err != nil || time.Since(began).Round(time.Millisecond) != time.Second {
			t.Errorf("the last call gets its slot after %s: %v", time.Since(began), err)
		}
		if l.Backlog() {
			t.Error("no call waits, and there is a backlog")
		}
	})
}

// A slot that was granted to a call just before it left goes to the next one.
func TestSlotOfACallThatLeavesIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1)
		ctx := WithPriority(t.Context(), EndAccess)
		if err := l.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		first, err := l.enter(ctx, began)
		if err != nil {
			t.Fatal(err)
		}
		second, err := l.enter(ctx, began)
		if err != nil {
			t.Fatal(err)
		}
		<-first.granted
		l.leave(first, time.Now())
		<-second.granted
		if d := time.Since(began).Round(time.Millisecond); d != time.Second {
			t.Errorf("the second call gets its slot after %s", d)
		}
	})
}

func TestCallThatMustNotWaitFailsAtOnce(t *testing.T) {
	l := New(1)
	if err := l.Wait(WithoutWaiting(t.Context())); err != nil {
		t.Fatal(err)
	}
	err := l.Wait(WithoutWaiting(t.Context()))
	if e, ok := errors.AsType[*WaitError](err); !ok || e.Wait <= 0 || e.Wait > time.Second {
		t.Errorf("got %v", err)
	}
	if l.Backlog() {
		t.Error("it waits")
	}
}
