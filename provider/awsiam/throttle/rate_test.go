package throttle

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// service is a throttling service: a token bucket.
type service struct {
	mu          sync.Mutex
	rate, burst float64
	tokens      float64
	at          time.Time
	took        int // calls that were not throttled
	throttled   int
}

func newService(rate, burst float64) *service {
	return &service{rate: rate, burst: burst, tokens: burst, at: time.Now()}
}

func (m *service) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.tokens = min(m.burst, m.tokens+m.rate*now.Sub(m.at).Seconds())
	m.at = now
	if m.tokens < 1 {
		m.throttled++
		return false
	}
	m.tokens--
	m.took++
	return true
}

func (m *service) set(rate float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = rate
}

func (m *service) counts() (took, throttled int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.took, m.throttled
}

// call makes a call, and repeats it until it is accepted.
func (m *service) call(ctx context.Context, l *Limiter, p Priority) bool {
	for try := 1; l.wait(ctx, p) == nil; try++ {
		time.Sleep(40 * time.Millisecond)
		ok := m.take()
		l.Answered(!ok)
		if ok {
			return true
		}
		time.Sleep(min(100*time.Millisecond<<min(try-1, 10), 5*time.Second) * 3 / 4)
	}
	return false
}

// work makes calls with a number of workers until ctx ends or n calls were begun.
func (m *service) work(ctx context.Context, l *Limiter, workers int, n int64) {
	var wg sync.WaitGroup
	var begun atomic.Int64
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil && begun.Add(1) <= n {
				m.call(ctx, l, Cleanup)
			}
		})
	}
	wg.Wait()
}

// Ten thousand calls, as many as the deletion of 2,000 users, take at most 15 % more
// time than the service's rate requires, and at most 5 % more calls.
func TestManyCallsTakeLittleMoreThanTheRateRequires(t *testing.T) {
	for _, c := range []struct{ rate, burst, most float64 }{
		{10, 10, 1.05}, {20, 20, 1.05}, {50, 1, 1.05}, {50, 50, 1.05}, {200, 200, 1.05}, {1000, 1000, 1.05},
		{50, 500, 1.1}, // the burst looks like a higher rate
	} {
		t.Run(fmt.Sprintf("%v a second, %v at once", c.rate, c.burst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 10_000
				svc, l, began := newService(c.rate, c.burst), New(0), time.Now()
				svc.work(t.Context(), l, 128, calls)
				took, needed := time.Since(began), time.Duration(calls/c.rate*float64(time.Second))
				more, longer := float64(svc.took+svc.throttled)/calls, float64(took)/float64(needed)
				t.Logf("%d throttled: %.3f × the calls, %.3f × the time (%s)", svc.throttled, more, longer, took.Round(time.Second))
				if more > c.most || longer > 1.15 {
					t.Errorf("%.3f × the calls, %.3f × the time", more, longer)
				}
			})
		})
	}
}

// When the service accepts more calls, the rate follows; when calls are no longer
// throttled, the limit is dropped.
func TestRateFollowsTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, l := newService(50, 50), New(0)
		ctx, cancel := context.WithCancel(t.Context())
		go svc.work(ctx, l, 128, math.MaxInt64)
		flow := func(d time.Duration) float64 {
			before, _ := svc.counts()
			time.Sleep(d)
			after, _ := svc.counts()
			return float64(after-before) / d.Seconds()
		}
		time.Sleep(10 * time.Second)
		busy := flow(60 * time.Second)
		svc.set(10)
		time.Sleep(10 * time.Second)
		poor := flow(30 * time.Second)
		svc.set(500)
		time.Sleep(forgive + 10*time.Second)
		rich := flow(20 * time.Second)
		t.Logf("at 50, 10, 500 calls/s: %.1f, %.1f, %.1f", busy, poor, rich)
		if busy < 45 || poor < 9 || rich < 400 {
			t.Errorf("at 50, 10, 500 calls/s: %.1f, %.1f, %.1f", busy, poor, rich)
		}
		cancel()
		time.Sleep(2 * forgive)
		svc.call(t.Context(), l, Other)
		if !math.IsInf(l.estimate, 1) {
			t.Errorf("long after the last throttled call the rate is %.1f", l.estimate)
		}
	})
}

// Three brokers, of which two start later, get similar shares.
func TestBrokersShareAnAccountFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := newService(50, 50)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var done [3]atomic.Int64
		start := func(i int) {
			l := New(0)
			for range 128 {
				go func() {
					for svc.call(ctx, l, Cleanup) {
						done[i].Add(1)
					}
				}()
			}
		}
		start(0)
		time.Sleep(time.Minute)
		start(1)
		start(2)
		time.Sleep(2 * time.Minute)
		var before [3]int64
		for i := range done {
			before[i] = done[i].Load()
		}
		took, throttled := svc.counts()
		time.Sleep(5 * time.Minute)
		tookThen, throttledThen := svc.counts()
		var share [3]float64
		for i := range done {
			share[i] = float64(done[i].Load()-before[i]) / 300
		}
		wasted := float64(throttledThen-throttled) / float64(tookThen-took)
		t.Logf("calls/s of each: %.1f; throttled: %.3f of all", share, wasted)
		if wasted > 0.05 {
			t.Errorf("%.3f of all calls are throttled", wasted)
		}
		for _, s := range share {
			if s < 10 {
				t.Errorf("calls/s of each: %.1f", share)
			}
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestThrottledCallsSentBeforeADecreaseAreIgnored(t *testing.T) {
	l, now := New(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	for range 100 {
		l.answered(now, true) // they were all in flight
	}
	if l.estimate != 100*firstEstimate || !math.IsInf(l.target, 1) {
		t.Fatalf("the rate is %v", l.estimate)
	}
	l.answered(now.Add(settle-1), false)
	if l.estimate != 100*firstEstimate {
		t.Fatal("the rate rises while throttled calls may still be in flight")
	}
}

// Calls accepted before the first throttled one may have been a burst: they do not
// count for the next estimate.
func TestRateIsMeasuredAnewAfterTheFirstThrottledCall(t *testing.T) {
	l, now := New(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	l.answered(now, true)
	for range 10 {
		l.answered(now.Add(settle/2), false)
	}
	l.answered(now.Add(2*settle), true) // ten in half a second
	if want := 20 * decrease; math.Abs(l.estimate-want) > 0.01 {
		t.Errorf("the rate is %v, not %v", l.estimate, want)
	}
}

// The service accepts few calls for a second. The rate is soon what it was before.
func TestRateRecoversFromADip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, l := newService(100, 100), New(0)
		ctx, cancel := context.WithCancel(t.Context())
		go svc.work(ctx, l, 128, math.MaxInt64)
		time.Sleep(time.Minute)
		svc.set(15)
		time.Sleep(time.Second)
		svc.set(100)
		time.Sleep(3 * time.Second)
		before, _ := svc.counts()
		time.Sleep(10 * time.Second)
		after, _ := svc.counts()
		if n := after - before; n < 600 {
			t.Errorf("%d calls in 10 s", n)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestUnusedRateDoesNotRise(t *testing.T) {
	l, now := New(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	l.answered(now, true)
	now = now.Add(2 * window)
	for range 20 {
		now = now.Add(window)
		l.answered(now, false)
	}
	if l.estimate != 100*firstEstimate {
		t.Errorf("one call a second has raised the rate to %v", l.estimate)
	}
}

func TestRateDoesNotFallBelowTheMinimum(t *testing.T) {
	l, now := New(0), time.Now()
	for range 100 {
		now = now.Add(settle)
		l.answered(now, true)
	}
	if l.estimate != minRate {
		t.Errorf("the rate is %v", l.estimate)
	}
}
