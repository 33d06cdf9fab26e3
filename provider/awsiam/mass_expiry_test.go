package awsiam

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// massExpiry deletes the users of leases with 128 workers. It returns the calls and the time
// that this takes, as multiples of what is needed at a rate.
func massExpiry(t testing.TB, b *fixture, leases int, perSecond float64) (calls, duration float64) {
	needed := 5 * leases
	deletions := b.addLeased(leases)
	b.ResetCalls()
	var wg sync.WaitGroup
	var next, failed atomic.Int64
	began := time.Now()
	for range 128 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(leases); i = next.Add(1) - 1 {
				for b.account.Delete(t.Context(), deletions[i]) != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	b.expectGone()
	throttled := 0
	for _, c := range b.Calls() {
		if c.Code == "Throttling" {
			throttled++
		}
	}
	calls = float64(len(b.Calls())) / float64(needed)
	duration = took.Seconds() * perSecond / float64(needed)
	t.Logf("%d leases at %.0f calls/s: %.3f × the calls (%d throttled), %.3f × the time (%s); %d deletions repeated",
		leases, perSecond, calls, throttled, duration, took.Round(time.Millisecond), failed.Load())
	return calls, duration
}

// Once the rate is known, few calls are throttled. Up to four calls of each worker are needed
// to find it, so that the first mass expiry is logged only, as is the time.
func TestMassExpiryTakesFewMoreCallsThanNeeded(t *testing.T) {
	b := newFixture(t, func(o *Options) { o.Backoff = nil })
	const perSecond = 500
	b.SetFaults(iamsim.Faults{Rate: perSecond, Burst: 50})
	massExpiry(t, b, 150, perSecond)
	if calls, _ := massExpiry(t, b, 250, perSecond); calls > 1.3 {
		t.Errorf("%.3f × the calls", calls)
	}
}

// BenchmarkMassExpiry ends 2,000 leases at 50 calls a second. It takes more than three
// minutes.
func BenchmarkMassExpiry(b *testing.B) {
	for range b.N {
		fixture := newFixture(b, func(o *Options) { o.Backoff = nil })
		fixture.SetFaults(iamsim.Faults{Rate: 50})
		calls, duration := massExpiry(b, fixture, 2000, 50)
		b.ReportMetric(calls, "calls/needed")
		b.ReportMetric(duration, "time/needed")
	}
}
