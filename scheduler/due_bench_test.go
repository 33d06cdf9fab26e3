package scheduler_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/scheduler"
)

// BenchmarkAllDueAtOnce has a hundred thousand leases fall due in the same second. It
// reports how long it takes until all reminders are published, how late they come, and
// how long the passes of the tick take. Run it with -benchtime 1x.
func BenchmarkAllDueAtOnce(b *testing.B) {
	const leases = 100_000
	f := newFilledFixture(b, leases, func(i int) time.Duration { return time.Hour + time.Duration(i%1000)*time.Millisecond })
	s := f.startPlain(func(c *scheduler.Config) { c.Tick = time.Hour }) // the benchmark ticks
	defer s.Stop()
	f.waitLoaded(s)
	var mu sync.Mutex
	var late []time.Duration
	all := make(chan struct{})
	var due time.Time
	sub, err := f.nc.Subscribe(f.ns.VerbFilter(messages.VerbRevoke), func(*nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if late = append(late, time.Since(due)); len(late) == leases {
			close(all)
		}
	})
	f.ok(err)
	f.ok(sub.SetPendingLimits(-1, -1))
	var passes []time.Duration
	for b.Loop() {
		f.advance(time.Hour + time.Second)
		due = time.Now()
		took := measure(func() {
			for t := time.NewTicker(200 * time.Millisecond); ; <-t.C {
				for more := true; more; {
					begun := time.Now()
					more = s.RunOnce(b.Context())
					passes = append(passes, time.Since(begun))
				}
				select {
				case <-all:
					return
				default:
				}
			}
		})
		slices.Sort(late)
		slices.Sort(passes)
		b.ReportMetric(took.clock.Seconds(), "s")
		b.ReportMetric(took.cpu.Seconds(), "cpu-s")
		b.ReportMetric(late[0].Seconds(), "lag_min_s")
		b.ReportMetric(late[len(late)/2].Seconds(), "lag_p50_s")
		b.ReportMetric(late[len(late)*99/100].Seconds(), "lag_p99_s")
		b.ReportMetric(1000*passes[len(passes)/2].Seconds(), "pass_p50_ms")
		b.ReportMetric(1000*passes[len(passes)-1].Seconds(), "pass_max_ms")
	}
}
