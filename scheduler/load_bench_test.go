package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

var scales = []struct {
	name   string
	leases int
}{{"10k", 10_000}, {"100k", 100_000}, {"1M", 1_000_000}}

// newFilledFixture returns a fixture whose bucket has that many leases.
func newFilledFixture(t testing.TB, leases int, due func(i int) time.Duration) *fixture {
	f := newFixtureWithStreams(t)
	js, err := jetstream.New(f.nc, jetstream.WithPublishAsyncMaxPending(8192), jetstream.WithPublishAsyncTimeout(5*time.Minute),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { t.Error(err) }))
	f.ok(err)
	for i := range leases {
		_, err = js.PublishMsgAsync(f.message(f.fullLease(i, due(i))), jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithStallWait(5*time.Minute))
		f.ok(err)
	}
	<-js.PublishAsyncComplete()
	return f
}

// fullLease returns an active lease with what most leases have: about 850 bytes.
func (f *fixture) fullLease(i int, due time.Duration) record.Record {
	identity, secret := fmt.Sprintf("team-%03d", i%1000), fmt.Sprintf("secret-%d", i%10)
	now := f.now().Add(-10 * time.Minute)
	r := record.New(record.Plan{
		Name:       messages.LeaseName{Identity: identity, Secret: secret, ID: record.LeaseID(identity, secret, "", uint64(i), now)},
		Origin:     record.Origin{Sequence: uint64(i), Stored: now, Fingerprint: strings.Repeat("f", 26)},
		Connection: "default-eu-central-1", Region: "eu-central-1",
		User: record.User{
			Name: fmt.Sprintf("lessor-%s-%016d", identity, i), Path: "/lessor/ci/", Groups: []string{"deployers"},
			ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, HardExpiry: messages.HardExpiryLease,
			InlinePolicy: []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`),
		},
		TTL: messages.Duration(time.Hour), DefaultTTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(24 * time.Hour),
	}, now, record.Timing{})
	r.State, r.IssuedAt, r.DeliveredAt = messages.StateActive, r.StartedAt, r.StartedAt
	r.AccessKeyID = fmt.Sprintf("AKIA%016d", i)
	r.Due = f.now().Add(due)
	return r
}

// cost is time by the clock and by the CPU.
type cost struct{ clock, cpu time.Duration }

func measure(do func()) cost {
	begun, used := time.Now(), scheduler.CPUTime()
	do()
	return cost{time.Since(begun), scheduler.CPUTime() - used}
}

// startPlain starts a scheduler with its defaults. The caller stops it.
func (f *fixture) startPlain(change func(*scheduler.Config)) *scheduler.Scheduler {
	f.t.Helper()
	cfg := scheduler.Config{Conn: f.nc, Now: f.now}
	change(&cfg)
	s, err := scheduler.New(cfg)
	f.ok(err)
	s.Start()
	return s
}

func defaults(*scheduler.Config) {}

// bareLoad reads the bucket and does nothing with what it reads.
func (f *fixture) bareLoad() {
	w, err := f.kv.WatchAll(f.t.Context())
	f.ok(err)
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	f.ok(w.Stop())
	go func() {
		for range w.Updates() { // nats.go would block on it
		}
	}()
}

// waitLoaded waits longer than a test would.
func (f *fixture) waitLoaded(s *scheduler.Scheduler) {
	f.t.Helper()
	for end := time.Now().Add(15 * time.Minute); s.Healthy() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatal(s.Healthy())
		}
	}
}

// BenchmarkLoad starts a scheduler on a bucket with many leases. The floor is the same
// watch without a scheduler. Overdue is how long it takes until the lease that is
// overdue and is read last gets its reminder. The CPU includes the server's.
func BenchmarkLoad(b *testing.B) {
	for _, scale := range scales {
		b.Run(scale.name, func(b *testing.B) {
			f := newFilledFixture(b, scale.leases, func(i int) time.Duration { return time.Duration(scale.leases-i)*time.Millisecond + 12*time.Hour })
			var floor, load cost
			for b.Loop() {
				floor = measure(f.bareLoad)
				load = measure(func() {
					s := f.startPlain(defaults)
					defer s.Stop()
					f.waitLoaded(s)
				})
			}
			f.advance(12*time.Hour + time.Millisecond)
			overdue := f.firstReminder()

			n := float64(scale.leases)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/load.clock.Seconds(), "leases/s")
			b.ReportMetric(n/floor.clock.Seconds(), "floor_leases/s")
			b.ReportMetric(load.cpu.Seconds()*1e6/n, "cpu-µs/lease")
			b.ReportMetric(floor.cpu.Seconds()*1e6/n, "floor_cpu-µs/lease")
			b.ReportMetric(overdue.clock.Seconds(), "overdue_s")
		})
	}
}

// firstReminder is how long after its start a scheduler publishes a reminder.
func (f *fixture) firstReminder() cost {
	f.t.Helper()
	sub, err := f.nc.SubscribeSync(f.ns.VerbFilter(messages.VerbRevoke))
	f.ok(err)
	defer func() { _ = sub.Unsubscribe() }()
	var s *scheduler.Scheduler
	took := measure(func() {
		s = f.startPlain(defaults)
		_, err = sub.NextMsg(15 * time.Minute)
	})
	f.ok(err)
	s.Stop()
	return took
}

// BenchmarkIdle reports what scheduler and server use of a CPU while nothing is due,
// what a resync takes, and what both are together with a resync every 5 minutes.
func BenchmarkIdle(b *testing.B) {
	for _, scale := range scales {
		b.Run(scale.name, func(b *testing.B) {
			f := newFilledFixture(b, scale.leases, func(int) time.Duration { return 12 * time.Hour })
			s := f.startPlain(resyncEvery(time.Hour))
			defer s.Stop()
			f.waitLoaded(s)
			var quiet, resync cost
			for b.Loop() {
				quiet = measure(func() { time.Sleep(30 * time.Second) })
				resync = measure(s.Resync)
			}
			part := quiet.cpu.Seconds() / quiet.clock.Seconds()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*part, "%_without_resync")
			b.ReportMetric(resync.cpu.Seconds(), "cpu-s/resync")
			b.ReportMetric(resync.clock.Seconds(), "s/resync")
			b.ReportMetric(100*(part+resync.cpu.Seconds()/(5*time.Minute).Seconds()), "%_with_resyncs")
		})
	}
}
