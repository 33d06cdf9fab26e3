package scheduler_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

const patience = 15 * time.Second

// bench is a NATS server with what a scheduler needs of it.
type bench struct {
	t  testing.TB
	nc *nats.Conn
	js jetstream.JetStream
	kv jetstream.KeyValue
	ns messages.Namespace

	mu  sync.Mutex
	fwd time.Duration
}

// logBook keeps what a scheduler logs.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t}
	s, err := embedded.Start(embedded.Options{})
	b.ok(err)
	t.Cleanup(s.Close)
	b.nc, err = s.Connect()
	b.ok(err)
	t.Cleanup(b.nc.Close)
	b.js, err = jetstream.New(b.nc)
	b.ok(err)
	return b
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// streams makes the bucket and the stream of reminders.
func (b *bench) streams() {
	b.t.Helper()
	_, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{
		Name: b.ns.Stream(messages.VerbRevoke), Subjects: []string{b.ns.VerbFilter(messages.VerbRevoke)}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1,
	})
	b.ok(err)
	b.kv, err = b.js.CreateKeyValue(b.t.Context(), jetstream.KeyValueConfig{Bucket: b.ns.LeaseBucket()})
	b.ok(err)
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.fwd)
}

func (b *bench) move(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fwd += d
}

func (b *bench) schedule(change ...func(*scheduler.Config)) *scheduler.Scheduler {
	b.t.Helper()
	cfg := scheduler.Config{
		Conn: b.nc, Now: b.now, Tick: 5 * time.Millisecond, RemindAgain: time.Minute, RemindLongest: 4 * time.Minute,
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := scheduler.Start(cfg)
	b.ok(err)
	b.t.Cleanup(s.Stop)
	return s
}

// lease is a record of a lease that is due.
func (b *bench) lease(id string, in time.Duration) record.Record {
	r := record.New(record.Plan{
		Name: messages.LeaseName{Identity: "alice", Secret: "ci", ID: id}, TTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(time.Hour),
	}, b.now(), record.Timing{Provision: in})
	return r
}

func (b *bench) put(r record.Record) {
	b.t.Helper()
	data, err := r.Encode()
	b.ok(err)
	_, err = b.kv.Put(b.t.Context(), r.Name().String(), data)
	b.ok(err)
}

func (b *bench) eventually(what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if holds() {
			return
		}
	}
	b.t.Fatalf("never: %s", what)
}

// take takes the next reminder off the stream, or returns "" when there is none
// for a moment.
func (b *bench) take(cons jetstream.Consumer, wait time.Duration) (lease string) {
	b.t.Helper()
	m, err := cons.Next(jetstream.FetchMaxWait(wait))
	if err != nil {
		return ""
	}
	if m.Headers().Get(messages.HeaderDue) == "" {
		b.t.Fatal("an order, and not a reminder")
	}
	b.ok(m.DoubleAck(b.t.Context()))
	name, err := messages.ParseLeaseName(m.Subject()[len(b.ns.Prefix()+".revoke."):])
	b.ok(err)
	return name.ID
}

func (b *bench) reminders() jetstream.Consumer {
	b.t.Helper()
	cons, err := b.js.CreateConsumer(b.t.Context(), b.ns.Stream(messages.VerbRevoke), jetstream.ConsumerConfig{Durable: "test", AckPolicy: jetstream.AckExplicitPolicy})
	b.ok(err)
	return cons
}

func TestAReminderComesWhenALeaseIsDueAndAgainUntilItsRecordChanges(t *testing.T) {
	b := newBench(t)
	b.streams()
	r := b.lease("one", time.Minute)
	b.put(r)
	s := b.schedule()
	cons := b.reminders()
	b.eventually("the lease is known", func() bool { return s.Healthy() == nil && s.Leases() == 1 })
	if id := b.take(cons, 50*time.Millisecond); id != "" {
		t.Fatal("a reminder before its time")
	}
	for _, wait := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute, 4 * time.Minute} {
		b.move(wait)
		if id := b.take(cons, patience); id != "one" {
			t.Fatalf("no reminder after %s more", wait)
		}
		if id := b.take(cons, 30*time.Millisecond); id != "" {
			t.Fatal("two reminders at once")
		}
	}
	next, err := r.TakeOver(record.Origin{}, b.now(), record.Timing{Provision: time.Hour})
	b.ok(err)
	b.put(next)
	b.eventually("the news is known", func() bool {
		b.move(time.Second)
		return b.take(cons, 10*time.Millisecond) == ""
	})
	b.move(30 * time.Minute)
	if id := b.take(cons, 50*time.Millisecond); id != "" {
		t.Fatal("a reminder of what the record said before")
	}
	b.move(31 * time.Minute)
	if id := b.take(cons, patience); id != "one" {
		t.Fatal("no reminder of the new due time")
	}
}

func TestAnEndedLeaseIsForgotten(t *testing.T) {
	b := newBench(t)
	b.streams()
	s := b.schedule()
	r := b.lease("one", time.Hour)
	b.put(r)
	b.put(b.lease("two", time.Hour))
	b.eventually("the leases are known", func() bool { return s.Leases() == 2 })
	tomb, err := r.Fail(messages.Errorf(messages.CodeInternal, "x"), true, b.now(), record.Timing{})
	b.ok(err)
	b.put(tomb)
	b.eventually("one is forgotten", func() bool { return s.Leases() == 1 })
	b.ok(b.kv.Delete(t.Context(), "alice.ci.two"))
	b.eventually("both are forgotten", func() bool { return s.Leases() == 0 })
}

func TestManySchedulersRemindOnce(t *testing.T) {
	b := newBench(t)
	b.streams()
	for range 3 {
		b.schedule()
	}
	cons := b.reminders()
	const n = 200
	for i := range n {
		b.put(b.lease(fmt.Sprintf("l%d", i), time.Minute))
	}
	b.move(time.Minute)
	stream, err := b.js.Stream(t.Context(), b.ns.Stream(messages.VerbRevoke))
	b.ok(err)
	b.eventually("there is a reminder of each", func() bool {
		info, err := stream.Info(t.Context())
		b.ok(err)
		if info.State.Msgs > n {
			t.Fatalf("%d reminders of %d leases", info.State.Msgs, n)
		}
		return info.State.Msgs == n
	})
	seen := map[string]bool{}
	for range n {
		seen[b.take(cons, patience)] = true
	}
	if len(seen) != n {
		t.Fatalf("%d of %d leases were reminded of", len(seen), n)
	}
}

// badRecords are values at keys of the lease bucket that no broker can read.
func badRecords(t *testing.T, good record.Record) map[string][]byte {
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"alice.ci.damaged": []byte(`{"v":1,`),
		"alice.ci.newer":   []byte(`{"v":99,"due":"2020-01-01T00:00:00Z","state":"active"}`),
		"alice.ci.empty":   {},
		"alice.ci.unknown": bytes.Replace(data, []byte(`"v":1,`), []byte(`"v":1,"colour":"red",`), 1),
		"alice.ci.another": data,
		"alice.ci.junk":    bytes.Repeat([]byte("junk"), 1<<18-64),
		"stray":            data,
	}
}

// TestABadRecordIsSetAside: it stops nothing else, is told once, is never due, and
// counts as a lease until it can be read.
func TestABadRecordIsSetAside(t *testing.T) {
	b := newBench(t)
	b.streams()
	good := b.lease("good", time.Minute)
	bad := badRecords(t, good)
	for key, value := range bad {
		_, err := b.kv.Put(t.Context(), key, value)
		b.ok(err)
	}
	b.put(good)
	var log logBook
	s := b.schedule(func(c *scheduler.Config) {
		c.Patrol = 10 * time.Millisecond
		c.Log = zerolog.New(&log)
	})
	cons := b.reminders()
	b.eventually("the leases are loaded", func() bool { return s.Healthy() == nil })
	b.move(time.Minute)
	if id := b.take(cons, patience); id != "good" {
		t.Fatalf("reminded of %q", id)
	}
	b.eventually("they are met again and again", func() bool { return strings.Count(log.String(), `"message":"the index is as the bucket"`) > 3 })
	if n := strings.Count(log.String(), `"message":"leases loaded"`); n != 1 {
		t.Errorf("all leases were read %d times", n)
	}
	if n := s.Counts(); n != (scheduler.Counts{Provisioning: 1, Unreadable: len(bad)}) || s.Leases() != 1 {
		t.Errorf("counted %+v", n)
	}
	if _, ofSecret, _ := s.Live("alice", "ci"); ofSecret != len(bad) { // without stray, with good
		t.Errorf("%d leases of the secret are counted", ofSecret)
	}
	for key := range bad {
		if n := strings.Count(log.String(), `"lease":"`+key+`"`); n != 1 {
			t.Errorf("%s is told %d times", key, n)
		}
	}
	if n := len(log.String()); n > 100_000 {
		t.Errorf("the log has %d bytes", n)
	}

	// One is put right, one is given up, one is written again and still wrong.
	b.put(b.lease("damaged", 2*time.Hour))
	b.ok(b.kv.Delete(t.Context(), "stray"))
	_, err := b.kv.Put(t.Context(), "alice.ci.empty", []byte("null"))
	b.ok(err)
	b.eventually("the news is known", func() bool {
		return s.Counts() == scheduler.Counts{Provisioning: 2, Unreadable: len(bad) - 2} && strings.Count(log.String(), `"lease":"alice.ci.empty"`) == 2
	})
	b.move(3 * time.Hour)
	seen := map[string]bool{}
	b.eventually("both are due", func() bool {
		seen[b.take(cons, 10*time.Millisecond)] = true
		return seen["damaged"]
	})
	for id := range seen {
		if id != "" && id != "good" && id != "damaged" {
			t.Errorf("reminded of %s", id)
		}
	}
	// And one that could be read can't be any more: nobody is reminded of it.
	_, err = b.kv.Put(t.Context(), "alice.ci.good", []byte("{}"))
	b.ok(err)
	b.eventually("it is set aside", func() bool { return s.Counts().Unreadable == len(bad)-1 })
}

func TestLeasesAreCountedByTheirState(t *testing.T) {
	b := newBench(t)
	b.streams()
	s := b.schedule()
	begun := b.lease("begun", time.Hour)
	ending := b.lease("ending", time.Hour)
	ending.State = messages.StateRevoking
	failing := b.lease("failing", time.Hour)
	failing.State, failing.TeardownError, failing.TeardownTries = messages.StateRevoking, "AWS answered DeleteUser with AccessDenied", 1
	ended := b.lease("ended", time.Hour)
	ended.State, ended.Due = messages.StateRevoked, time.Time{}
	working := b.lease("active", time.Hour)
	working.State = messages.StateActive
	for _, r := range []record.Record{begun, ending, failing, ended, working} {
		b.put(r)
	}
	want := scheduler.Counts{Provisioning: 1, Active: 1, Revoking: 2, Failing: 1}
	b.eventually("they are counted", func() bool { return s.Counts() == want })
	failing.TeardownError = ""
	b.put(failing)
	want.Failing = 0
	b.eventually("one is tried again", func() bool { return s.Counts() == want })
}

// TestAPatrolFindsWhatThereIsNoMore: a purge leaves no marker, so no watch tells.
func TestAPatrolFindsWhatThereIsNoMore(t *testing.T) {
	b := newBench(t)
	b.streams()
	s := b.schedule(func(c *scheduler.Config) { c.Patrol = 20 * time.Millisecond })
	b.put(b.lease("one", time.Hour))
	b.eventually("the lease is known", func() bool { return s.Leases() == 1 })
	stream, err := b.js.Stream(t.Context(), "KV_"+b.ns.LeaseBucket())
	b.ok(err)
	b.ok(stream.Purge(t.Context()))
	b.eventually("it is forgotten", func() bool { return s.Leases() == 0 })
}

func TestTheBucketMayComeLater(t *testing.T) {
	b := newBench(t)
	s := b.schedule()
	b.eventually("it says what is wrong", func() bool { return s.Healthy() != nil })
	b.streams()
	b.put(b.lease("one", time.Minute))
	cons := b.reminders()
	b.eventually("the lease is known", func() bool { return s.Healthy() == nil && s.Leases() == 1 })
	b.move(time.Minute)
	if id := b.take(cons, patience); id != "one" {
		t.Fatal("no reminder")
	}
}

// TestAReminderThatDoesNotGetThroughIsTriedAgain: the stream is away when the
// lease falls due.
func TestAReminderThatDoesNotGetThroughIsTriedAgain(t *testing.T) {
	b := newBench(t)
	b.streams()
	s := b.schedule(func(c *scheduler.Config) { c.RemindAgain = time.Hour })
	b.put(b.lease("one", time.Minute))
	b.eventually("the lease is known", func() bool { return s.Leases() == 1 })
	b.ok(b.js.DeleteStream(t.Context(), b.ns.Stream(messages.VerbRevoke)))
	b.move(2 * time.Minute)
	refused := make(chan struct{})
	sub, err := b.nc.Subscribe("lessor.revoke.>", func(*nats.Msg) { close(refused) })
	b.ok(err)
	b.ok(sub.AutoUnsubscribe(1))
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatal("no reminder was published")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: b.ns.Stream(messages.VerbRevoke), Subjects: []string{b.ns.VerbFilter(messages.VerbRevoke)}, Retention: jetstream.WorkQueuePolicy,
	})
	b.ok(err)
	cons := b.reminders()
	b.eventually("a reminder", func() bool {
		b.move(time.Second)
		return b.take(cons, 20*time.Millisecond) == "one"
	})
}

func TestTheRateIsNotKnownBeforeTheLeasesAre(t *testing.T) {
	b := newBench(t)
	s := b.schedule() // there is no bucket yet
	name := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "1"}
	if _, known := s.Admit(name, 1, 1); known {
		t.Error("it counts, and knows nothing")
	}
	if _, known := s.Room("alice", "ci", 1); known {
		t.Error("it counts, and knows nothing")
	}
}

// TestAPatrolFindsWhatTheIndexHasMissed: a lease, and the end of one, that the watch
// has not told of.
func TestAPatrolFindsWhatTheIndexHasMissed(t *testing.T) {
	b := newBench(t)
	b.streams()
	for i := range 20 {
		b.put(b.lease(fmt.Sprintf("l%d", i), time.Hour))
	}
	s := b.schedule(func(c *scheduler.Config) { c.Patrol = 20 * time.Millisecond })
	b.eventually("the leases are known", func() bool { return s.Healthy() == nil && s.Leases() == 20 })
	s.Lose("alice.ci.l7")
	b.eventually("it is learnt again", func() bool { return s.Knows("alice.ci.l7") })
	s.Dream("alice.ci.dream", b.now().Add(time.Hour), 3)
	b.eventually("the index is mended", func() bool {
		return s.Leases() == 20 && s.Knows("alice.ci.l7") && !s.Knows("alice.ci.dream")
	})
}

// TestAPatrolLeavesAloneWhatChanges: leases come, change and go while it looks.
func TestAPatrolLeavesAloneWhatChanges(t *testing.T) {
	b := newBench(t)
	b.streams()
	var log logBook
	s := b.schedule(func(c *scheduler.Config) { c.Patrol, c.Log = time.Millisecond, zerolog.New(&log) })
	b.eventually("the leases are loaded", func() bool { return s.Healthy() == nil })
	for i := 0; i < 300 || strings.Count(log.String(), `"message":"the index is as the bucket"`) < 5; i++ {
		r := b.lease(fmt.Sprintf("l%d", i%30), time.Hour)
		if i%3 == 2 {
			r.State, r.Due = messages.StateRevoked, time.Time{}
		}
		b.put(r)
	}
	if strings.Contains(log.String(), "the index is not as the bucket") {
		t.Error("all leases were read again for nothing")
	}
}

// TestABucketThatWasMadeAnewIsReadAnew: its revisions begin again.
func TestABucketThatWasMadeAnewIsReadAnew(t *testing.T) {
	b := newBench(t)
	b.streams()
	for range 5 {
		b.put(b.lease("one", time.Hour))
	}
	s := b.schedule(func(c *scheduler.Config) { c.Patrol = 20 * time.Millisecond })
	b.eventually("the lease is known", func() bool { return s.Healthy() == nil && s.Leases() == 1 })
	b.ok(b.js.DeleteKeyValue(t.Context(), b.ns.LeaseBucket()))
	var err error
	b.kv, err = b.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: b.ns.LeaseBucket()})
	b.ok(err)
	b.put(b.lease("two", time.Hour))
	b.eventually("the new bucket is read", func() bool { return s.Knows("alice.ci.two") && !s.Knows("alice.ci.one") })
}

func TestARecordIsCurrentAsFarAsTheWatchHasTold(t *testing.T) {
	b := newBench(t)
	b.streams()
	s := b.schedule()
	r := b.lease("a", time.Hour)
	b.put(r)
	revision := func() uint64 {
		e, err := b.kv.Get(t.Context(), r.Name().String())
		b.ok(err)
		return e.Revision()
	}
	first := revision()
	b.eventually("the first is told", func() bool { return s.Knows(r.Name().String()) })
	if !s.Current(r.Name(), first) {
		t.Error("the revision that was told is not current")
	}
	if !s.Current(r.Name(), first+1) {
		t.Error("a revision that can't have been told yet is not current")
	}
	b.put(r)
	b.eventually("the second is told", func() bool { return !s.Current(r.Name(), first) })
	if !s.Current(r.Name(), revision()) {
		t.Error("the second is not current")
	}
	b.put(b.lease("other", time.Hour))
	b.eventually("something later is told", func() bool { return !s.Current(r.Name(), revision()+1) })
	if !s.Current(r.Name(), revision()) {
		t.Error("another lease's record has made this one's old")
	}
	b.ok(b.kv.Delete(t.Context(), r.Name().String()))
	b.eventually("its end is told", func() bool { return !s.Current(r.Name(), first+1) })
}
