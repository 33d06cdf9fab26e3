package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// returning connects as a broker does: it finds the server again.
func (w *world) returning(url string, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	w.ok(err)
	w.t.Cleanup(nc.Close)
	return nc
}

// watchful looks after its streams all the time.
func watchful(c *consumer.Config) { c.ChoresEvery = 50 * time.Millisecond }

// steady is a watchful broker that finds its server again.
func (w *world) steady(change ...func(*consumer.Config)) *broker {
	w.t.Helper()
	b, err := w.tryBroker(w.returning(w.server.URL()), append([]func(*consumer.Config){watchful}, change...)...)
	w.ok(err)
	return b
}

// stopNATS stops the server, and says where it was.
func (w *world) stopNATS() (address string) {
	address = strings.TrimPrefix(w.server.URL(), "nats://")
	w.nc.Close()
	w.server.Close()
	return address
}

// says waits until the broker's health has these words; "" waits until it is well.
func (w *world) says(b *broker, words string) {
	w.t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		last = errors.Join(b.Healthy(ctx), b.sched.Healthy())
		cancel()
		if words == "" && last == nil || words != "" && last != nil && strings.Contains(last.Error(), words) {
			return
		}
	}
	w.t.Fatalf("the broker does not say %q but %v\n%s", words, last, w.logs)
}

// created is how many users were ever asked for.
func (w *world) created() int {
	n := 0
	for _, c := range w.sim.Calls() {
		if c.Action == "CreateUser" {
			n++
		}
	}
	return n
}

// deleted are the users whose keys were deleted, in the order in which that began.
func (w *world) deleted() []string {
	var users []string
	for _, c := range w.sim.Calls() {
		if c.Action == "DeleteAccessKey" && !slices.Contains(users, c.User) {
			users = append(users, c.User)
		}
	}
	return users
}

// lines is how many lines of the log have the words.
func (w *world) lines(words string) int { return strings.Count(w.logs.String(), words) }

// door asks at the front door and returns the answer, or the error.
func (w *world) door(subject string) (messages.Reply, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msg, err := w.nc.RequestWithContext(ctx, subject, nil)
	if err != nil {
		return messages.Reply{}, err
	}
	r, err := messages.DecodeReply(msg.Data)
	w.ok(err)
	return r, nil
}

// everyUserHasALease compares AWS with the bucket.
func (w *world) everyUserHasALease() {
	w.t.Helper()
	known := map[string]bool{}
	for _, r := range w.records() {
		if !r.State.Ended() {
			known[r.User.Name] = true
		}
	}
	for _, u := range w.sim.Users() {
		if !known[u.Name] {
			w.t.Errorf("no lease knows the user %s", u.Name)
		}
	}
}

// TestNATSIsAwayForAnHour: what falls due meanwhile is dead at AWS by itself, and is
// ended when NATS is back, the longest due first. The rest lives.
func TestNATSIsAwayForAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady(func(c *consumer.Config) { c.Workers.Revoke = 1 })
	w.put(b, plainSecret)
	due := map[string]messages.Reply{}
	for _, ttl := range []string{"40m", "10m", "50m", "20m", "30m", "15m"} {
		due[ttl] = w.lease("ci", `{"ttl":"`+ttl+`"}`)
	}
	lives := w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	address := w.stopNATS()
	w.says(b, "NATS: ")
	w.clock.move(35 * time.Minute)
	if !w.works(due["40m"].Credentials) || w.works(due["30m"].Credentials) {
		t.Error("AWS does not go by the leases' ends while NATS is away")
	}
	w.clock.move(25 * time.Minute)
	for ttl, r := range due {
		if w.works(r.Credentials) {
			t.Errorf("the key of a lease of %s works after an hour", ttl)
		}
	}
	if !w.works(lives.Credentials) {
		t.Error("a key does not work before its lease ends")
	}
	if n := w.sim.UserCount(); n != len(due)+1 {
		t.Errorf("%d users while NATS is away", n)
	}

	w.startNATS(func(o *embedded.Options) { o.Listen = address })
	w.eventually("what fell due is over", func() bool { return w.sim.UserCount() == 1 })
	w.says(b, "")
	w.alive(lives)
	var want []string
	for _, ttl := range []string{"10m", "15m", "20m", "30m", "40m", "50m"} {
		want = append(want, due[ttl].Credentials.Username)
	}
	if got := w.deleted(); !slices.Equal(got, want) {
		t.Errorf("ended in the order\n%q, not\n%q", got, want)
	}
	for _, r := range due {
		if rec := w.state(r.Lease.Name, messages.StateRevoked); rec.Reason != messages.ReasonExpired {
			t.Errorf("%s: %s", r.Lease.Name, rec.Reason)
		}
	}
	if n := w.lines("a reminder did not get through"); n > 1 {
		t.Errorf("%d lines about reminders", n)
	}
	w.lease("ci", "{}")
}

// TestStreamsAreDeletedByHand: what carries work is made again, and the leases go on.
func TestStreamsAreDeletedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	lives := w.lease("ci", `{"ttl":"23h"}`)
	w.quiet()
	n := w.ns
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		w.ok(w.js.DeleteConsumer(w.ctx(), n.Stream(v), n.Consumer(v)))
		w.goesOn(b, lives)
		w.ok(w.js.DeleteStream(w.ctx(), n.Stream(v)))
		w.goesOn(b, lives)
	}
	w.ok(w.js.DeleteStream(w.ctx(), n.EventStream()))
	w.lease("ci", `{"ttl":"1m"}`) // it waits for where its event is kept
	w.eventually("the event stream is there again", func() bool {
		_, err := w.js.Stream(w.ctx(), n.EventStream())
		return err == nil
	})
	w.goesOn(b, lives)
	if made := w.lines("is made anew; requesters may ask again"); made != 5 {
		t.Errorf("%d lines about 5 streams that were made again", made)
	}
	w.quiet()
	w.alive(lives)
}

// goesOn leases, confirms, renews and revokes, and lets a lease expire, as soon as all
// streams and consumers are there again.
func (w *world) goesOn(b *broker, lives messages.Reply) {
	w.t.Helper()
	w.eventually("streams and consumers are there", func() bool {
		for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
			if _, err := w.js.Consumer(w.ctx(), w.ns.Stream(v), w.ns.Consumer(v)); err != nil {
				return false
			}
		}
		return true
	})
	w.says(b, "")
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`)
	r, delivery := w.answer(sub)
	if r.Kind != messages.KindCredentials {
		w.t.Fatalf("%+v %v", r, r.Error)
	}
	w.ok(delivery.Respond(nil))
	w.eventually("it is confirmed", func() bool {
		rec, _ := w.record(r.Lease.Name)
		return rec.Settled()
	})
	if a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)); a.Kind != messages.KindRenewed {
		w.t.Fatalf("%+v %v", a, a.Error)
	}
	if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), "")); a.Kind != messages.KindRevoked {
		w.t.Fatalf("%+v %v", a, a.Error)
	}
	expires := w.lease("ci", `{"ttl":"1m"}`)
	w.clock.move(time.Minute)
	w.state(expires.Lease.Name, messages.StateRevoked)
	w.alive(lives)
}

// TestTheLeaseBucketIsDeletedByHand: that is told, nothing is made or ended, no broker
// puts an empty bucket in its place, and all goes on when a person has restored it.
func TestTheLeaseBucketIsDeletedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	due, lives := w.lease("ci", `{"ttl":"10m"}`), w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	kept := map[string][]byte{}
	kv, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket())
	w.ok(err)
	for _, r := range w.records() {
		e, err := kv.Get(w.ctx(), r.Name().String())
		w.ok(err)
		kept[e.Key()] = e.Value()
	}
	w.ok(w.js.DeleteKeyValue(w.ctx(), w.ns.LeaseBucket()))
	w.says(b, "the lease bucket is gone")
	w.clock.move(time.Hour)
	made := w.created()
	w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	w.eventually("both were tried", func() bool {
		log := w.logs.String()
		return strings.Contains(log, `"request_id":"request:3"`) && strings.Contains(log, `"lease":"`+due.Lease.Name+`","error":"read`)
	})
	// Another one does not start on what is left.
	waits := make(chan error, 1)
	starting := make(chan error, 1)
	ctx, cancel := context.WithCancel(w.ctx())
	cfg := w.config(w.connect())
	cfg.Waiting = func(why error) {
		select {
		case waits <- why:
		default:
		}
	}
	go func() { _, err := consumer.New(ctx, cfg); starting <- err }()
	select {
	case why := <-waits:
		if !strings.Contains(why.Error(), "the lease bucket is gone") {
			t.Errorf("a start without the bucket waits for %v", why)
		}
	case err := <-starting:
		t.Fatalf("a start without the bucket does not wait: %v", err)
	}
	cancel()
	if err := <-starting; err == nil {
		t.Error("a broker has started without the leases")
	}
	if _, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Fatalf("an empty bucket has taken the place of the leases: %v", err)
	}
	if w.created() != made || w.sim.UserCount() != 2 {
		t.Errorf("%d users made and %d there without a bucket", w.created()-made, w.sim.UserCount())
	}
	if n := w.lines("trouble with JetStream"); n > 4 {
		t.Errorf("%d lines about one trouble", n)
	}

	kv, err = w.js.CreateKeyValue(w.ctx(), jetstream.KeyValueConfig{Bucket: w.ns.LeaseBucket()})
	w.ok(err)
	for key, value := range kept {
		_, err := kv.Put(w.ctx(), key, value)
		w.ok(err)
	}
	w.state(due.Lease.Name, messages.StateRevoked)
	w.says(b, "")
	w.quiet()
	w.state(lives.Lease.Name, messages.StateActive)
	if !w.works(lives.Credentials) {
		t.Error("a lease does not live on")
	}
	w.everyUserHasALease()
}

// TestNoBucketIsMadeAgain: an empty one would look like one in which there never was
// anything.
func TestNoBucketIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	w.ok(w.js.DeleteKeyValue(w.ctx(), w.ns.SecretBucket()))
	w.says(b, "restore it from a backup")
	asked, err := w.nc.SubscribeSync("$JS.API.STREAM.INFO.KV_" + w.ns.SecretBucket())
	w.ok(err)
	for range 4 { // streams are made when they are missed for the second time
		_, err := asked.NextMsg(patience)
		w.ok(err)
	}
	if _, err := w.js.KeyValue(w.ctx(), w.ns.SecretBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the bucket is there again: %v", err)
	}
}

// TestJetStreamHasNoRoom: there is no new lease, those that end do, and new ones are
// given again when there is room.
func TestJetStreamHasNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stopNATS()
	w.startNATS(func(o *embedded.Options) {
		o.Configure = func(o *server.Options) { o.JetStreamMaxStore = 512 << 10 }
	})
	b := w.steady()
	w.put(b, plainSecret)
	due, unwanted, lives := w.lease("ci", `{"ttl":"10m"}`), w.lease("ci", `{"ttl":"1h"}`), w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	w.eventually("the broker has its reserve", func() bool { return b.HasReserve() })
	w.clock.move(3 * time.Minute) // a user that AWS does not show is looked for again as long as it is young
	_, err := w.js.CreateStream(w.ctx(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"others"}})
	w.ok(err)
	for _, size := range []int{16 << 10, 256, 1} {
		for {
			if _, err = w.js.Publish(w.ctx(), "others", make([]byte, size)); err != nil {
				break
			}
		}
	}
	made := w.created()
	if r, err := w.door(w.ns.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Fatalf("a request where there is no room: %+v %v %v", r, r.Error, err)
	}
	w.says(b, "JetStream has no room left")
	w.eventually("a lease is revoked", func() bool {
		name := nameOf(w, unwanted)
		r, err := w.door(w.ns.API("revoke", name.Identity, name.Secret, name.ID))
		w.ok(err)
		return r.Kind == messages.KindRevoked
	})
	w.clock.move(15 * time.Minute)
	w.state(due.Lease.Name, messages.StateRevoked)
	asked := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`) // in the room that was made
	w.says(b, "JetStream has no room left")
	w.alive(lives)
	if w.created() != made {
		t.Errorf("%d users made without room for their records", w.created()-made)
	}

	w.ok(w.js.DeleteStream(w.ctx(), "OTHERS"))
	w.says(b, "")
	if r, _ := w.answer(asked); r.Kind != messages.KindCredentials {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.everyUserHasALease()
	if n := w.lines("trouble with JetStream"); n > 8 {
		t.Errorf("%d lines about one trouble", n)
	}
}

// inCluster puts the world on three servers.
func (w *world) inCluster() *embedded.Cluster {
	w.t.Helper()
	cluster, err := embedded.StartCluster(3, w.dir+"/cluster", embedded.ClusterOptions{Timeout: 15 * time.Second})
	w.ok(err)
	w.t.Cleanup(cluster.Close)
	w.nc, err = cluster.Connect(0)
	w.ok(err)
	w.t.Cleanup(w.nc.Close)
	w.js, err = jetstream.New(w.nc)
	w.ok(err)
	return cluster
}

// TestTheQuorumIsLost stops two of three servers, and starts them again.
func TestTheQuorumIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cluster := w.inCluster()
	b, err := w.tryBroker(w.returning(cluster.URLs(0)), watchful, func(c *consumer.Config) { c.Replicas = 3; c.AckWait = 2 * time.Second })
	w.ok(err)
	w.put(b, plainSecret)
	due, lives := w.lease("ci", `{"ttl":"10m"}`), w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	made := w.created()
	cluster.Stop(1)
	cluster.Stop(2)
	w.says(b, "a majority of its servers is away")
	w.clock.move(15 * time.Minute)
	if w.works(due.Credentials) {
		t.Error("the key works after its end")
	}
	if r, err := w.door(w.ns.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("a request without a quorum: %+v %v %v", r, r.Error, err)
	}
	// A server that led may go on answering what needs no write.
	if r := w.admin(messages.AdminDelete, `{"name":"nothing"}`); r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable || !r.Error.Retryable {
		t.Errorf("an operator without a quorum: %+v %v", r, r.Error)
	}
	if w.created() != made || w.sim.UserCount() != 2 {
		t.Errorf("%d users made and %d there without a quorum", w.created()-made, w.sim.UserCount())
	}
	for node := 1; node <= 2; node++ {
		if err := cluster.Restart(node); err != nil {
			t.Log(err) // the broker may be well before the servers have told one another all
		}
	}
	w.says(b, "")
	w.eventually("what fell due is over", func() bool {
		rec, _ := w.record(due.Lease.Name)
		return rec.State == messages.StateRevoked
	})
	if rec, _ := w.record(lives.Lease.Name); rec.State != messages.StateActive || !w.works(lives.Credentials) {
		t.Error("a lease does not live on")
	}
	w.everyUserHasALease()
	if n := w.lines("trouble with JetStream"); n > 8+4 { // once for each stream and consumer, at most
		t.Errorf("%d lines about one trouble", n)
	}
}

// TestBrokersStartBeforeJetStreamHasALeader: two at once, while two of three servers
// are not there.
func TestBrokersStartBeforeJetStreamHasALeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cluster := w.inCluster()
	cluster.Stop(1)
	cluster.Stop(2)
	type result struct {
		b   *broker
		err error
	}
	waits, results := make(chan struct{}, 2), make(chan result, 2)
	for range 2 {
		var once sync.Once
		nc := w.returning(cluster.URLs(0))
		go func() {
			b, err := w.tryBroker(nc, watchful, func(c *consumer.Config) {
				c.Replicas = 3
				c.Waiting = func(why error) {
					if strings.Contains(why.Error(), "JetStream does not answer") {
						once.Do(func() { waits <- struct{}{} })
					}
				}
			})
			results <- result{b, err}
		}()
	}
	for range 2 {
		select {
		case <-waits:
		case r := <-results:
			t.Fatalf("a broker does not wait for a leader: %v", r.err)
		}
	}
	for node := 1; node <= 2; node++ {
		if err := cluster.Restart(node); err != nil {
			t.Log(err) // the brokers may be up before the servers have told one another all
		}
	}
	for range 2 {
		r := <-results
		w.ok(r.err)
		w.put(r.b, plainSecret)
	}
	w.alive(w.lease("ci", "{}"))
}

// startCutter dials, and once cuts the line in place of the last question of a start:
// whether the server has heard of the admin service.
type startCutter struct{ asked, cut atomic.Bool }

func (c *startCutter) Dial(network, address string) (net.Conn, error) {
	nc, err := net.Dial(network, address)
	return &startCutConn{Conn: nc, by: c}, err
}

type startCutConn struct {
	net.Conn
	by *startCutter
}

func (c *startCutConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("SUB lessor.admin.")) {
		c.by.asked.Store(true)
	}
	if c.by.asked.Load() && bytes.Contains(p, []byte("PING\r\n")) && c.by.cut.CompareAndSwap(false, true) {
		_ = c.Close()
	}
	return c.Conn.Write(p)
}

// TestALineIsCutAtTheEndOfAStart: the broker starts all the same.
func TestALineIsCutAtTheEndOfAStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &startCutter{}
	b, err := w.tryBroker(w.returning(w.server.URL(), nats.SetCustomDialer(c)))
	w.ok(err)
	if !c.cut.Load() {
		t.Fatal("the line was not cut")
	}
	w.put(b, plainSecret)
	w.alive(w.lease("ci", "{}"))
}

// cutter dials, and cuts what it has dialed.
type cutter struct {
	mu   sync.Mutex
	last net.Conn
}

func (c *cutter) Dial(network, address string) (net.Conn, error) {
	nc, err := net.Dial(network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nc
	return nc, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.last.Close()
}

// TestAWorkerHasOnePull: also after its line has stalled, or was cut. A message that
// came to a second one would wait for the end of AckWait beside the one in hand. The
// worker that is looked at gets no message: what it asks for is all its own doing.
func TestAWorkerHasOnePull(t *testing.T) {
	t.Parallel()
	const verb = messages.VerbRenew
	// start runs a broker on a dialer. What it returns waits for a pull on another
	// inbox than the first: only so is the one before given up, wherever it is.
	start := func(w *world, heartbeat time.Duration, opts ...nats.Option) (b *broker, anew func()) {
		sub, err := w.nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + w.ns.Stream(verb) + "." + w.ns.Consumer(verb))
		w.ok(err)
		w.ok(w.nc.Flush())
		pull := func(what string, wait time.Duration) (inbox string) {
			msg, err := sub.NextMsg(wait)
			if err != nil {
				w.t.Fatalf("no pull %s: %v\n%s", what, err, w.logs)
			}
			return msg.Reply
		}
		b, err = w.tryBroker(w.returning(w.server.URL(), opts...), func(c *consumer.Config) {
			c.Workers = consumer.Workers{Request: 1, Renew: 1, Revoke: 1, Confirm: 1}
			c.PullHeartbeat = heartbeat
		})
		w.ok(err)
		w.put(b, plainSecret)
		first := pull("at the start", patience)
		return b, func() {
			w.t.Helper()
			for end := time.Now().Add(patience); pull("on a new inbox", time.Until(end)) == first; {
			}
			w.eventually("only one pull waits at the server", func() bool {
				cons, err := w.js.Consumer(w.ctx(), w.ns.Stream(verb), w.ns.Consumer(verb))
				w.ok(err)
				return cons.CachedInfo().NumWaiting == 1
			})
			w.lease("ci", "{}")
		}
	}
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := newSleeper()
		_, anew := start(w, 500*time.Millisecond, nats.SetCustomDialer(s))
		wake := sync.OnceFunc(s.wake)
		t.Cleanup(wake) // or a broker that failed the test could not be stopped
		const stalled = `"verb":"` + string(verb) + `","message":"a pull has stalled`
		before := w.lines(stalled)
		s.sleep()
		w.eventually("the pull has stalled", func() bool { return w.lines(stalled) > before })
		wake()
		anew()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := &cutter{}
		b, anew := start(w, 5*time.Second, nats.SetCustomDialer(c), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
		back := b.nc.StatusChanged(nats.CONNECTED)
		c.cut()
		<-back
		anew()
	})
}
