package consumer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
	"github.com/lessorhq/lessor/scheduler"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// clock is the world's time, which runs as the real one does and can be moved.
type clock struct {
	mu  sync.Mutex
	fwd time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.fwd)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fwd += d
}

// logBook keeps what brokers log.
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

// world is a NATS server and an AWS account, on which brokers run. When the test
// is over it looks for every secret access key that AWS issued in all that was
// kept and logged.
type world struct {
	t      testing.TB
	server *embedded.Server
	dir    string
	sim    *iamsim.Sim
	aws    *iamsim.Server
	keyID  string
	secret string
	seed   []byte // of the broker's key
	keys   *messages.Keyring
	clock  *clock
	logs   *logBook
	shared func(keyID string) bool // whether brokers share a key that calls are signed with; nil: none
	ns     messages.Namespace
	nc     *nats.Conn // the test's own
	js     jetstream.JetStream
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{}, logs: &logBook{}}
	w.sim = iamsim.New(iamsim.Options{Now: w.clock.now})
	w.keyID, w.secret = w.sim.AddPrincipal("broker")
	w.sim.AddGroup("deployers")
	var err error
	w.aws, err = w.sim.Start()
	w.ok(err)
	t.Cleanup(func() { _ = w.aws.Close() })
	seed, err := messages.NewKey()
	w.ok(err)
	w.seed = seed
	w.keys, err = messages.ParseKeyring(seed)
	w.ok(err)
	w.startNATS()
	t.Cleanup(w.searchSecrets)
	return w
}

func (w *world) startNATS(change ...func(*embedded.Options)) {
	w.t.Helper()
	o := embedded.Options{StoreDir: w.dir, Listen: "127.0.0.1:0"}
	for _, f := range change {
		f(&o)
	}
	var err error
	w.server, err = embedded.Start(o)
	w.ok(err)
	server := w.server
	w.t.Cleanup(server.Close)
	w.nc = w.connect()
	w.js, err = jetstream.New(w.nc)
	w.ok(err)
}

func (w *world) connect(opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	nc, err := w.server.Connect(opts...)
	w.ok(err)
	w.t.Cleanup(nc.Close)
	return nc
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ctx is for one operation of the test.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// config is a broker that is quick about everything that takes its time in the
// real world.
func (w *world) config(nc *nats.Conn) consumer.Config {
	return consumer.Config{
		Conn: nc, Namespace: w.ns, Keys: w.keys, Now: w.clock.now,
		Provider: awsiam.New(awsiam.Options{
			Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(w.keyID, w.secret, ""),
			Backoff: func(int) time.Duration { return 5 * time.Millisecond },
		}),
		Log:     zerolog.New(w.logs).Level(zerolog.DebugLevel),
		Workers: consumer.Workers{Request: 16, Renew: 4, Revoke: 16, Confirm: 2},
		Streams: consumer.Streams{AckWait: 500 * time.Millisecond}, NoRespondersWait: 100 * time.Millisecond, ProbeEvery: 10 * time.Millisecond,
		RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond,
		MinTTL: messages.Duration(time.Second), Reserve: 1,
	}
}

// broker is a consumer and a scheduler on a connection of their own.
type broker struct {
	*consumer.Consumer
	sched *scheduler.Scheduler
	nc    *nats.Conn
	once  sync.Once
}

func (w *world) broker(change ...func(*consumer.Config)) *broker {
	w.t.Helper()
	b, err := w.tryBroker(w.connect(), change...)
	w.ok(err)
	return b
}

func (w *world) tryBroker(nc *nats.Conn, change ...func(*consumer.Config)) (*broker, error) {
	cfg := w.config(nc)
	sched, err := scheduler.New(scheduler.Config{
		Conn: nc, Namespace: cfg.Namespace, Log: cfg.Log, Now: cfg.Now,
		Tick: 10 * time.Millisecond, RemindAgain: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	cfg.Index = sched
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cons, err := consumer.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := cons.Start(ctx); err != nil {
		return nil, err
	}
	sched.Start()
	b := &broker{Consumer: cons, sched: sched, nc: nc}
	w.t.Cleanup(b.stop)
	return b, nil
}

// stop ends the broker in good order.
func (b *broker) stop() {
	b.once.Do(func() {
		b.sched.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.Stop(ctx)
		b.nc.Close()
	})
}

// plainSecret is the definition that most tests use.
const plainSecret = `{"name":"ci","default_ttl":"1h","max_ttl":"24h","aws":{
	"groups":["deployers"],"managed_policies":["arn:aws:iam::aws:policy/ReadOnlyAccess"],
	"inline_policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}}}`

func (w *world) put(b *broker, definition string) {
	w.t.Helper()
	d, err := messages.DecodeDynamicSecret([]byte(definition))
	w.ok(err)
	_, err = b.Secrets().Put(w.ctx(), d, "test")
	w.ok(err)
}

// publish puts a message on a stream as a program in the broker's account does,
// and returns where its answers come.
func (w *world) publish(subject, body string, header ...string) *nats.Subscription {
	w.t.Helper()
	inbox := w.nc.NewInbox()
	sub, err := w.nc.SubscribeSync(inbox)
	w.ok(err)
	w.publishFor(inbox, subject, body, header...)
	return sub
}

func (w *world) publishFor(replyTo, subject, body string, header ...string) {
	w.t.Helper()
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	if replyTo != "" {
		msg.Header.Set(messages.HeaderReplyTo, replyTo)
	}
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	for {
		_, err := w.js.PublishMsg(w.ctx(), msg)
		if err == nil || !strings.Contains(err.Error(), "per subject") {
			w.ok(err)
			return
		}
		time.Sleep(time.Millisecond) // one pending message a lease; the last is about to be acknowledged
	}
}

// answer waits for the next answer, and for its message.
func (w *world) answer(sub *nats.Subscription) (messages.Reply, *nats.Msg) {
	w.t.Helper()
	msg, err := sub.NextMsg(patience)
	if err != nil {
		w.t.Fatalf("no answer: %v\n%s", err, w.logs)
	}
	r, err := messages.DecodeReply(msg.Data)
	w.ok(err)
	return r, msg
}

// ask requests a lease directly and returns the delivery.
func (w *world) ask(secret, body string, header ...string) messages.Reply {
	w.t.Helper()
	r, _ := w.answer(w.publish(w.ns.Request("alice", secret), body, header...))
	return r
}

// lease is ask for where it must succeed.
func (w *world) lease(secret, body string, header ...string) messages.Reply {
	w.t.Helper()
	r := w.ask(secret, body, header...)
	if r.Kind != messages.KindCredentials {
		w.t.Fatalf("no credentials: %+v %v\n%s", r, r.Error, w.logs)
	}
	return r
}

// refused is ask for where it must fail with a code.
func (w *world) refused(r messages.Reply, code messages.Code) {
	w.t.Helper()
	if r.Kind != messages.KindError || r.Error.Code != code {
		w.t.Fatalf("want error %s, have %+v %v\n%s", code, r, r.Error, w.logs)
	}
}

// leftBehind are leases of [plainSecret] whose broker has been stopped.
func (w *world) leftBehind(n int, request string) []messages.Reply {
	w.t.Helper()
	b := w.broker()
	w.put(b, plainSecret)
	leases := make([]messages.Reply, n)
	for i := range leases {
		leases[i] = w.lease("ci", request)
	}
	w.quiet()
	b.stop()
	return leases
}

// record reads a lease's record from the bucket.
func (w *world) record(name string) (record.Record, bool) {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket())
	w.ok(err)
	e, err := kv.Get(w.ctx(), name)
	if err != nil {
		return record.Record{}, false
	}
	r, err := record.Decode(e.Value())
	w.ok(err)
	return r, true
}

// records reads all records.
func (w *world) records() []record.Record {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket())
	w.ok(err)
	watch, err := kv.WatchAll(w.ctx())
	w.ok(err)
	defer func() { _ = watch.Stop() }()
	var all []record.Record
	for e := range watch.Updates() {
		if e == nil {
			break
		}
		if e.Operation() != jetstream.KeyValuePut {
			continue
		}
		r, err := record.Decode(e.Value())
		w.ok(err)
		all = append(all, r)
	}
	return all
}

// eventually waits until the condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.t.Fatalf("never: %s\n%s\n%s", what, w.dump(), w.logs)
}

func (w *world) dump() string {
	var b strings.Builder
	for _, r := range w.records() {
		data, _ := json.Marshal(r)
		b.WriteString(string(data) + "\n")
	}
	for _, u := range w.sim.Users() {
		data, _ := json.Marshal(u)
		b.WriteString(string(data) + "\n")
	}
	return b.String()
}

// state waits until the lease is in a state.
func (w *world) state(name string, s messages.State) record.Record {
	w.t.Helper()
	var rec record.Record
	w.eventually("lease "+name+" is "+string(s), func() bool {
		r, ok := w.record(name)
		rec = r
		return ok && r.State == s
	})
	return rec
}

// events returns the events of a lease, in order; "" is all.
func (w *world) events(lease string) []messages.Event {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx(), w.ns.EventStream())
	w.ok(err)
	info, err := s.Info(w.ctx())
	w.ok(err)
	var all []messages.Event
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(w.ctx(), seq)
		w.ok(err)
		e, err := messages.DecodeEvent(m.Data)
		w.ok(err)
		if lease == "" || e.Subject == lease {
			all = append(all, e)
		}
	}
	return all
}

// told waits until the lease's events are of these types, in this order.
func (w *world) told(lease string, types ...messages.EventType) {
	w.t.Helper()
	var have []string
	want := make([]string, len(types))
	for i, t := range types {
		want[i] = "lessor.lease." + string(t)
	}
	w.eventually("events "+strings.Join(want, " "), func() bool {
		have = nil
		for _, e := range w.events(lease) {
			have = append(have, e.Type)
		}
		return strings.Join(have, " ") == strings.Join(want, " ")
	})
}

// quiet waits until no message is left on the verbs' streams.
func (w *world) quiet() {
	w.t.Helper()
	w.eventually("the streams are empty", w.empty)
}

// empty says whether no message is left on the verbs' streams.
func (w *world) empty() bool {
	w.t.Helper()
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		s, err := w.js.Stream(w.ctx(), w.ns.Stream(v))
		w.ok(err)
		if s.CachedInfo().State.Msgs > 0 {
			return false
		}
	}
	return true
}

// searchSecrets looks for every issued secret in the store, the logs and the
// events.
func (w *world) searchSecrets() {
	w.t.Helper()
	for _, where := range w.leaks() {
		w.t.Errorf("a secret access key is in clear in %s", where)
	}
}

// leaks is where a secret access key stands in clear.
func (w *world) leaks() []string {
	w.t.Helper()
	secrets := w.sim.IssuedSecrets()
	var found []string
	search := func(where string, data []byte) {
		for _, s := range secrets {
			if bytes.Contains(data, []byte(s)) {
				found = append(found, where)
			}
		}
	}
	search("the log", []byte(w.logs.String()))
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files go away while the server runs
		}
		if data, err := os.ReadFile(path); err == nil {
			search(path, data)
		}
		return nil
	})
	w.ok(err)
	return found
}
