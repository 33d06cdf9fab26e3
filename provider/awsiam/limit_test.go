package awsiam

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

// awsModel is an account that throttles, in the time of a test: a bucket of tokens.
type awsModel struct {
	mu          sync.Mutex
	rate, burst float64
	tokens      float64
	at          time.Time
	took        int // calls that were not throttled
	throttled   int
}

func newAWSModel(rate, burst float64) *awsModel {
	return &awsModel{rate: rate, burst: burst, tokens: burst, at: time.Now()}
}

func (m *awsModel) take() bool {
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

func (m *awsModel) set(rate float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = rate
}

func (m *awsModel) counts() (took, throttled int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.took, m.throttled
}

// call makes a call until it gets through, as the SDK does.
func (m *awsModel) call(ctx context.Context, l *limiter, r rank) bool {
	for try := 1; l.wait(ctx, r) == nil; try++ {
		time.Sleep(40 * time.Millisecond)
		ok := m.take()
		l.answered(time.Now(), !ok)
		if ok {
			return true
		}
		time.Sleep(backoff(try))
	}
	return false
}

// work keeps an account busy until ctx ends or n calls have got through.
func (m *awsModel) work(ctx context.Context, l *limiter, workers int, n int64) {
	var wg sync.WaitGroup
	var begun atomic.Int64
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil && begun.Add(1) <= n {
				m.call(ctx, l, rankTidy)
			}
		})
	}
	wg.Wait()
}

// Ten thousand calls are what 2,000 users take to delete.
func TestAMassOfCallsTakesHardlyLongerThanAWSMakesIt(t *testing.T) {
	for _, c := range []struct{ rate, burst, most float64 }{
		{10, 10, 1.05}, {20, 20, 1.05}, {50, 1, 1.05}, {50, 50, 1.05}, {200, 200, 1.05}, {1000, 1000, 1.05},
		{50, 500, 1.1}, // the burst looks like a rate, and then does not last
	} {
		t.Run(fmt.Sprintf("%v a second, %v at once", c.rate, c.burst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 10_000
				aws, l, began := newAWSModel(c.rate, c.burst), newLimiter(0), time.Now()
				aws.work(t.Context(), l, 128, calls)
				took, needed := time.Since(began), time.Duration(calls/c.rate*float64(time.Second))
				more, longer := float64(aws.took+aws.throttled)/calls, float64(took)/float64(needed)
				t.Logf("%d throttled: %.3f × the calls, %.3f × the time (%s)", aws.throttled, more, longer, took.Round(time.Second))
				if more > c.most || longer > 1.15 {
					t.Errorf("%.3f × the calls, %.3f × the time", more, longer)
				}
			})
		})
	}
}

// AWS takes more after a while: then more is sent, and at last nothing is held back.
func TestTheRateRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws, l := newAWSModel(50, 50), newLimiter(0)
		ctx, cancel := context.WithCancel(t.Context())
		go aws.work(ctx, l, 128, math.MaxInt64)
		flow := func(d time.Duration) float64 {
			before, _ := aws.counts()
			time.Sleep(d)
			after, _ := aws.counts()
			return float64(after-before) / d.Seconds()
		}
		time.Sleep(10 * time.Second)
		busy := flow(60 * time.Second)
		aws.set(10)
		time.Sleep(10 * time.Second)
		poor := flow(30 * time.Second)
		aws.set(500)
		time.Sleep(forgive + 10*time.Second)
		rich := flow(20 * time.Second)
		t.Logf("at 50, 10, 500 calls/s: %.1f, %.1f, %.1f", busy, poor, rich)
		if busy < 45 || poor < 9 || rich < 400 {
			t.Errorf("at 50, 10, 500 calls/s: %.1f, %.1f, %.1f", busy, poor, rich)
		}
		cancel()
		time.Sleep(2 * forgive)
		aws.call(t.Context(), l, rankCreate)
		if !math.IsInf(l.found, 1) {
			t.Errorf("long after the throttling the rate is %.1f", l.found)
		}
	})
}

// Three brokers, of which one comes later, end up with about the same.
func TestBrokersShareAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := newAWSModel(50, 50)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var done [3]atomic.Int64
		start := func(i int) {
			l := newLimiter(0)
			for range 128 {
				go func() {
					for aws.call(ctx, l, rankTidy) {
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
		took, throttled := aws.counts()
		time.Sleep(5 * time.Minute)
		tookThen, throttledThen := aws.counts()
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

func TestThrottlingLowersTheRateOnceForWhatIsOnItsWay(t *testing.T) {
	l, now := newLimiter(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	for range 100 {
		l.answered(now, true) // a hundred calls were in flight
	}
	if l.found != 100*guess || !math.IsInf(l.likely, 1) {
		t.Fatalf("the rate is %v", l.found)
	}
	l.answered(now.Add(settle-1), false)
	if l.found != 100*guess {
		t.Fatal("the rate grows while throttled calls may be on their way")
	}
}

// What got through at once before AWS first throttled, out of a burst that it allows, says
// nothing of what it takes from then on.
func TestTheRateIsMeasuredAnewOnceAWSThrottles(t *testing.T) {
	l, now := newLimiter(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	l.answered(now, true)
	for range 10 {
		l.answered(now.Add(settle/2), false)
	}
	l.answered(now.Add(2*settle), true) // ten in half a second
	if want := 20 * decrease; math.Abs(l.found-want) > 0.01 {
		t.Errorf("the rate is %v, not %v", l.found, want)
	}
}

// AWS was slow for a moment, and few calls got through: the rate is soon what it was.
func TestADipIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws, l := newAWSModel(100, 100), newLimiter(0)
		ctx, cancel := context.WithCancel(t.Context())
		go aws.work(ctx, l, 128, math.MaxInt64)
		time.Sleep(time.Minute)
		aws.set(15)
		time.Sleep(time.Second)
		aws.set(100)
		time.Sleep(3 * time.Second)
		before, _ := aws.counts()
		time.Sleep(10 * time.Second)
		after, _ := aws.counts()
		if n := after - before; n < 600 {
			t.Errorf("%d calls in 10 s", n)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestARateThatIsNotMadeUseOfDoesNotGrow(t *testing.T) {
	l, now := newLimiter(0), time.Now()
	for range 100 {
		l.answered(now, false)
	}
	l.answered(now, true)
	now = now.Add(2 * measure)
	for range 20 {
		now = now.Add(measure)
		l.answered(now, false)
	}
	if l.found != 100*guess {
		t.Errorf("one call a second has raised the rate to %v", l.found)
	}
}

func TestTheRateNeverFallsToNothing(t *testing.T) {
	l, now := newLimiter(0), time.Now()
	for range 100 {
		now = now.Add(settle)
		l.answered(now, true)
	}
	if l.found != leastRate {
		t.Errorf("the rate is %v", l.found)
	}
}
