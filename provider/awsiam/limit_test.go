package awsiam

import (
	"context"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func TestNothingIsHeldBackUntilAWSThrottles(t *testing.T) {
	l := newLimiter(0)
	for range 10_000 {
		if err := l.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.answered(false)
	}
	if l.found.Limit() != rate.Inf {
		t.Fatalf("held back at %v without throttling", l.found.Limit())
	}
}

func TestThrottlingLowersTheRateOnceForWhatIsOnItsWay(t *testing.T) {
	l := newLimiter(0)
	l.answered(false)
	for range 100 {
		l.answered(true) // a hundred calls were in flight
	}
	after := l.found.Limit()
	if after == rate.Inf || after < leastRate {
		t.Fatalf("the rate is %v", after)
	}
	l.throttledAt = l.throttledAt.Add(-2 * settle)
	for range 50 {
		l.answered(false)
	}
	grown := l.found.Limit()
	if grown <= after {
		t.Fatalf("the rate does not grow: %v after %v", grown, after)
	}
	l.answered(true)
	if now := l.found.Limit(); now >= grown || now < grown/2 {
		t.Fatalf("throttled again the rate went from %v to %v", grown, now)
	}
	proven := l.proven
	for l.found.Limit() < rate.Limit(proven) {
		l.answered(false)
	}
	before := l.found.Limit()
	l.answered(false)
	if step := l.found.Limit() - before; step <= 0 || step >= 1 {
		t.Fatalf("above what is proven one call adds %v", step)
	}
	l.throttledAt = l.throttledAt.Add(-2 * forgive)
	l.answered(false)
	if l.found.Limit() != rate.Inf {
		t.Fatal("the limit is not given up")
	}
}

func TestTheConfiguredRateHolds(t *testing.T) {
	l := newLimiter(10) // one at once, and then one each 100 ms
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.wait(ctx); err == nil {
		t.Fatal("two calls at once")
	}
}
