package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
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

// scaled is a bench with many leases, of which the last that was written falls due
// first.
func scaled(t testing.TB, leases int, due func(i int) time.Duration) *bench {
	b := newBench(t)
	b.streams()
	b.state()
	js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncMaxPending(8192), jetstream.WithPublishAsyncTimeout(5*time.Minute),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { t.Error(err) }))
	b.ok(err)
	for i := range leases {
		r := b.fullLease(i, due(i))
		data, err := r.Encode()
		b.ok(err)
		msg := nats.NewMsg("$KV." + b.ns.LeaseBucket() + "." + r.Name().String())
		msg.Data = data
		_, err = js.PublishMsgAsync(msg, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithStallWait(5*time.Minute)) // as brokers write them
		b.ok(err)
	}
	<-js.PublishAsyncComplete()
	return b
}

// fullLease is an active lease with all that most have: about 850 bytes.
func (b *bench) fullLease(i int, due time.Duration) record.Record {
	identity, secret := fmt.Sprintf("team-%03d", i%1000), fmt.Sprintf("secret-%d", i%10)
	now := b.now().Add(-10 * time.Minute)
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
	r.Due = b.now().Add(due)
	return r
}

// taken is time by the clock and by the CPU.
type taken struct{ clock, cpu time.Duration }

func timed(do func()) taken {
	begun, used := time.Now(), scheduler.CPUTime()
	do()
	return taken{time.Since(begun), scheduler.CPUTime() - used}
}

// start starts a scheduler that nothing else holds.
func (b *bench) start(change func(*scheduler.Config)) *scheduler.Scheduler {
	b.t.Helper()
	cfg := scheduler.Config{Conn: b.nc, Now: b.now}
	change(&cfg)
	s, err := scheduler.Start(cfg)
	b.ok(err)
	return s
}

// bareLoad reads the bucket as a watch does, and does nothing with it.
func (b *bench) bareLoad() {
	w, err := b.kv.WatchAll(b.t.Context())
	b.ok(err)
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	b.ok(w.Stop())
	go func() {
		for range w.Updates() {
		}
	}()
}

func (b *bench) loaded(s *scheduler.Scheduler) {
	b.t.Helper()
	for end := time.Now().Add(15 * time.Minute); s.Healthy() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal(s.Healthy())
		}
	}
}

// BenchmarkRestore starts a scheduler on a bucket with many leases. The floor is the
// same watch with nothing behind it. The lease that fell due meanwhile is the last that
// was written, and its reminder is awaited with a calendar and without. Idle is what
// scheduler and server together use of a CPU while nothing happens but one patrol after
// another.
func BenchmarkRestore(b *testing.B) {
	for _, scale := range scales {
		b.Run(scale.name, func(b *testing.B) {
			w := scaled(b, scale.leases, func(i int) time.Duration { return time.Duration(scale.leases-i)*time.Millisecond + 12*time.Hour })
			plain := func(c *scheduler.Config) { c.Tick, c.Patrol = 0, time.Hour }
			var floor, load taken
			for b.Loop() {
				floor = timed(w.bareLoad)
				load = timed(func() {
					s := w.start(plain)
					defer s.Stop()
					w.loaded(s)
				})
			}
			s := w.start(func(c *scheduler.Config) {
				c.Tick, c.Patrol, c.Calendar, c.CalendarEvery = 0, time.Millisecond, 1, 10*time.Millisecond
			})
			w.loaded(s)
			w.marked()
			spent := timed(func() { time.Sleep(5 * time.Second) })
			idle := 100 * spent.cpu.Seconds() / spent.clock.Seconds()
			s.Stop()

			w.move(12*time.Hour + time.Millisecond)
			with := w.reminded(plain)
			state, err := w.js.KeyValue(b.Context(), w.ns.StateBucket())
			w.ok(err)
			w.ok(state.Delete(b.Context(), "due-mark"))
			stream, err := w.js.Stream(b.Context(), w.ns.Stream(messages.VerbRevoke))
			w.ok(err)
			w.ok(stream.Purge(b.Context()))
			without := w.reminded(plain)

			n := float64(scale.leases)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/load.clock.Seconds(), "leases/s")
			b.ReportMetric(n/floor.clock.Seconds(), "floor_leases/s")
			b.ReportMetric(load.cpu.Seconds()*1e6/n, "cpu-µs/lease")
			b.ReportMetric(floor.cpu.Seconds()*1e6/n, "floor_cpu-µs/lease")
			b.ReportMetric(idle, "idle_cpu_%")
			b.ReportMetric(with.clock.Seconds(), "due_s")
			b.ReportMetric(with.cpu.Seconds(), "due_cpu-s")
			b.ReportMetric(without.clock.Seconds(), "due_without_calendar_s")
		})
	}
}

// marked waits until there is a calendar.
func (b *bench) marked() {
	b.t.Helper()
	state, err := b.js.KeyValue(b.t.Context(), b.ns.StateBucket())
	b.ok(err)
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := state.Get(b.t.Context(), "due-mark"); err == nil {
			return
		}
	}
	b.t.Fatal("there is no calendar")
}

// reminded is how long after its start a scheduler reminds of a lease.
func (b *bench) reminded(change func(*scheduler.Config)) taken {
	b.t.Helper()
	sub, err := b.nc.SubscribeSync(b.ns.VerbFilter(messages.VerbRevoke))
	b.ok(err)
	defer func() { _ = sub.Unsubscribe() }()
	var s *scheduler.Scheduler
	took := timed(func() {
		s = b.start(change)
		_, err = sub.NextMsg(15 * time.Minute)
	})
	b.ok(err)
	s.Stop()
	return took
}

// BenchmarkAllDueAtOnce has a hundred thousand leases fall due in the same second. It
// reports how long it takes until the stream has all reminders, and how late they came.
func BenchmarkAllDueAtOnce(b *testing.B) {
	const leases = 100_000
	w := scaled(b, leases, func(i int) time.Duration { return time.Hour + time.Duration(i%1000)*time.Millisecond })
	s := w.start(func(c *scheduler.Config) { c.Tick = 0 })
	w.loaded(s)
	stream, err := w.js.Stream(b.Context(), w.ns.Stream(messages.VerbRevoke))
	w.ok(err)
	for b.Loop() {
		var mu sync.Mutex
		var late []time.Duration
		all := make(chan struct{})
		var due time.Time
		sub, err := w.nc.Subscribe(w.ns.VerbFilter(messages.VerbRevoke), func(*nats.Msg) {
			mu.Lock()
			defer mu.Unlock()
			if late = append(late, time.Since(due)); len(late) == leases {
				close(all)
			}
		})
		w.ok(err)
		w.ok(sub.SetPendingLimits(-1, -1))
		due = time.Now()
		took := timed(func() {
			w.move(time.Hour + time.Second)
			<-all
			for {
				info, err := stream.Info(b.Context())
				w.ok(err)
				if info.State.Msgs == leases {
					break
				}
			}
		})
		slices.Sort(late)
		b.ReportMetric(took.clock.Seconds(), "s")
		b.ReportMetric(took.cpu.Seconds(), "cpu-s")
		b.ReportMetric(late[len(late)/2].Seconds(), "lag_p50_s")
		b.ReportMetric(late[len(late)*99/100].Seconds(), "lag_p99_s")
		w.ok(sub.Unsubscribe())
		w.ok(stream.Purge(b.Context()))
		if b.N > 1 {
			b.Fatal("run it with -benchtime 1x")
		}
	}
}
