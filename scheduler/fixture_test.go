package scheduler_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

// patience is how long a test waits for what must happen.
const patience = 15 * time.Second

// fixture is a NATS server with the lease bucket and the stream of reminders, and a
// clock for schedulers.
type fixture struct {
	t  testing.TB
	nc *nats.Conn
	js jetstream.JetStream
	kv jetstream.KeyValue
	ns messages.Namespace

	mu    sync.Mutex
	ahead time.Duration
}

// newFixture starts a server without streams.
func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t}
	s, err := embedded.Start(embedded.Options{})
	f.ok(err)
	t.Cleanup(s.Close)
	f.nc, err = s.Connect()
	f.ok(err)
	t.Cleanup(f.nc.Close)
	f.js, err = jetstream.New(f.nc)
	f.ok(err)
	return f
}

// newFixtureWithStreams starts a server with the bucket and the stream.
func newFixtureWithStreams(t testing.TB) *fixture {
	f := newFixture(t)
	f.makeBucket()
	f.makeStream()
	return f
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) makeBucket() {
	f.t.Helper()
	var err error
	f.kv, err = f.js.CreateKeyValue(f.t.Context(), jetstream.KeyValueConfig{Bucket: f.ns.LeaseBucket()})
	f.ok(err)
}

func (f *fixture) makeStream() {
	f.t.Helper()
	_, err := f.js.CreateStream(f.t.Context(), jetstream.StreamConfig{
		Name: f.ns.Stream(messages.VerbRevoke), Subjects: []string{f.ns.VerbFilter(messages.VerbRevoke)}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1,
	})
	f.ok(err)
}

// now is the schedulers' clock.
func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.ahead)
}

// advance moves the schedulers' clock.
func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ahead += d
}

// create returns a scheduler that has not been started.
func (f *fixture) create(change ...func(*scheduler.Config)) *scheduler.Scheduler {
	f.t.Helper()
	cfg := scheduler.Config{
		Conn: f.nc, Now: f.now, Tick: 5 * time.Millisecond, RemindAgain: time.Minute, RemindLongest: 4 * time.Minute,
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := scheduler.New(cfg)
	f.ok(err)
	f.t.Cleanup(s.Stop)
	return s
}

func (f *fixture) start(change ...func(*scheduler.Config)) *scheduler.Scheduler {
	f.t.Helper()
	s := f.create(change...)
	s.Start()
	return s
}

// startLoaded starts a scheduler and waits until it has loaded that many leases.
func (f *fixture) startLoaded(leases int, change ...func(*scheduler.Config)) *scheduler.Scheduler {
	f.t.Helper()
	s := f.start(change...)
	f.eventually("the leases are loaded", func() bool { return s.Healthy() == nil && s.Leases() == leases })
	return s
}

func resyncEvery(d time.Duration) func(*scheduler.Config) {
	return func(c *scheduler.Config) { c.Resync = d }
}

// lease returns a record of alice.ci that is due after a time.
func (f *fixture) lease(id string, in time.Duration) record.Record {
	return record.New(record.Plan{
		Name: messages.LeaseName{Identity: "alice", Secret: "ci", ID: id}, TTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(time.Hour),
	}, f.now(), record.Timing{Provision: in})
}

// message returns the message that stores a record.
func (f *fixture) message(r record.Record) *nats.Msg {
	f.t.Helper()
	data, err := r.Encode()
	f.ok(err)
	msg := nats.NewMsg("$KV." + f.ns.LeaseBucket() + "." + r.Name().String())
	msg.Data, msg.Header = data, r.Header()
	return msg
}

// put stores a record, as a broker does.
func (f *fixture) put(r record.Record) {
	f.t.Helper()
	_, err := f.js.PublishMsg(f.t.Context(), f.message(r))
	f.ok(err)
}

// putRaw stores a value without headers, as an operator does, and returns its
// revision.
func (f *fixture) putRaw(key string, value []byte) uint64 {
	f.t.Helper()
	revision, err := f.kv.Put(f.t.Context(), key, value)
	f.ok(err)
	return revision
}

// stream returns the stream of the lease bucket.
func (f *fixture) stream() jetstream.Stream {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), bucket.StreamName(f.ns.LeaseBucket()))
	f.ok(err)
	return s
}

func (f *fixture) eventually(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if holds() {
			return
		}
	}
	f.t.Fatalf("never: %s", what)
}

// reminders returns a consumer of the stream of reminders.
func (f *fixture) reminders() jetstream.Consumer {
	f.t.Helper()
	cons, err := f.js.CreateConsumer(f.t.Context(), f.ns.Stream(messages.VerbRevoke), jetstream.ConsumerConfig{Durable: "test", AckPolicy: jetstream.AckExplicitPolicy})
	f.ok(err)
	return cons
}

// take acknowledges the next reminder and returns the id of its lease, or "" if there
// is none within the wait.
func (f *fixture) take(cons jetstream.Consumer, wait time.Duration) (id string) {
	f.t.Helper()
	m, err := cons.Next(jetstream.FetchMaxWait(wait))
	if err != nil {
		return ""
	}
	if m.Headers().Get(messages.HeaderDue) == "" {
		f.t.Fatal("a command, not a reminder")
	}
	f.ok(m.DoubleAck(f.t.Context()))
	return m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
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

// loads returns how often all leases have been loaded.
func (l *logBook) loads() int { return strings.Count(l.String(), `"message":"leases loaded"`) }
