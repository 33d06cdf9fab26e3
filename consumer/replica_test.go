package consumer_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// sleeper is the dialer of a broker whose process is stopped and continued, as
// by SIGSTOP and SIGCONT: what it says and hears waits meanwhile.
type sleeper struct {
	mu    sync.Mutex
	awake chan struct{} // closed while it is
}

func newSleeper() *sleeper {
	s := &sleeper{awake: make(chan struct{})}
	close(s.awake)
	return s
}

func (s *sleeper) sleep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = make(chan struct{})
}

func (s *sleeper) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.awake)
}

func (s *sleeper) wait() {
	s.mu.Lock()
	awake := s.awake
	s.mu.Unlock()
	<-awake
}

func (s *sleeper) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &sleepyConn{Conn: c, s: s}, err
}

type sleepyConn struct {
	net.Conn
	s *sleeper
}

func (c *sleepyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.wait()
	return n, err
}

func (c *sleepyConn) Write(p []byte) (int, error) {
	c.s.wait()
	return c.Conn.Write(p)
}

// TestAStalledWorkerFindsItselfReplaced stops a broker at each of its calls to
// AWS, lets another take over and finish, and wakes the first.
func TestAStalledWorkerFindsItselfReplaced(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateUser", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "CreateAccessKey"} {
		t.Run(action, func(t *testing.T) {
			w := newWorld(t)
			s := newSleeper()
			keyID, secret := w.sim.AddPrincipal("sleepy")
			stopped := make(chan struct{})
			var once sync.Once
			w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				if c.AccessKeyID == keyID && c.Action == action {
					once.Do(func() { s.sleep(); close(stopped) })
				}
				if c.AccessKeyID == keyID {
					s.wait()
				}
				return iamsim.Verdict{}
			})
			nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(s))
			w.ok(err)
			first, err := w.tryBroker(nc, func(c *consumer.Config) {
				c.Workers.Request = 2
				c.Provider = awsiam.New(awsiam.Options{
					Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
					Backoff: func(int) time.Duration { return 5 * time.Millisecond },
				})
			})
			w.ok(err)
			w.put(first, plainSecret)
			answers := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
			<-stopped
			w.broker()
			answer, _ := w.answer(answers)
			w.quiet()
			w.alive(answer)
			s.wake()
			w.eventually("the first has noticed", func() bool {
				return strings.Contains(w.logs.String(), "another worker has the lease")
			})
			w.alive(answer)
			w.oneKey(answers, answer)
			rec, _ := w.record(answer.Lease.Name)
			w.eventually("AWS has the expiry of the lease that won", func() bool {
				u, _ := w.sim.User(rec.User.Name)
				return strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z"))
			})
			first.stop()
			w.endAll()
		})
	}
}

func TestTwoReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// So short that messages come again while they are being handled, to
	// whichever replica is free.
	impatient := func(c *consumer.Config) { c.Streams.AckWait = 60 * time.Millisecond }
	w.put(w.broker(impatient), plainSecret)
	w.broker(impatient)
	w.sim.SetFaults(iamsim.Faults{Latency: 50 * time.Millisecond})
	var answers []*nats.Subscription
	for range 50 {
		answers = append(answers, w.publish(w.ns.Request("alice", "ci"), "{}"))
	}
	for _, sub := range answers {
		r, _ := w.answer(sub)
		if r.Kind != messages.KindCredentials {
			t.Fatalf("%+v %v", r, r.Error)
		}
		w.oneKey(sub, r)
	}
	w.quiet()
	users := w.sim.Users()
	if len(users) != 50 {
		t.Fatalf("%d users for 50 requests", len(users))
	}
	for _, u := range users {
		if len(u.AccessKeys) != 1 {
			t.Fatalf("%s has %d keys", u.Name, len(u.AccessKeys))
		}
	}
	w.clock.move(25 * time.Hour)
	w.nothingInAWS()
	w.quiet()
	for _, e := range w.events("") {
		if e.Type == "lessor.lease.revoke_failed" {
			t.Fatalf("two replicas got in each other's way: %+v", e.Data.Error)
		}
	}
}

func TestALeaseOutlivesTheProcessThatMadeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	due := w.lease("ci", `{"ttl":"10m"}`)
	w.quiet()
	b.stop()
	w.nc.Close()
	w.server.Close()
	w.clock.move(15 * time.Minute)

	w.startNATS()
	w.broker()
	if a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)); a.Kind != messages.KindRenewed {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.eventually("what fell due meanwhile is over", func() bool {
		rec, _ := w.record(due.Lease.Name)
		return rec.State == messages.StateRevoked && rec.Reason == messages.ReasonExpired
	})
	w.alive(r)
	if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), "")); a.Kind != messages.KindRevoked {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.nothingInAWS()
	w.quiet()
}

// TestAClusterLosesANode leases on three nodes, and stops one of them after the
// other.
func TestAClusterLosesANode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cluster, err := embedded.StartCluster(3, w.dir+"/cluster", embedded.ClusterOptions{})
	w.ok(err)
	t.Cleanup(cluster.Close)
	connect := func(i int) *nats.Conn {
		nc, err := nats.Connect(cluster.URLs(i), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		w.ok(err)
		t.Cleanup(nc.Close)
		return nc
	}
	w.nc = connect(0)
	w.js, err = jetstream.New(w.nc)
	w.ok(err)
	replicated := func(c *consumer.Config) {
		c.Streams.Replicas, c.Streams.AckWait = 3, 2*time.Second
		c.Timing.Confirm = patience
	}
	var brokers []*broker
	for i := range 2 {
		b, err := w.tryBroker(connect(i+1), replicated)
		w.ok(err)
		brokers = append(brokers, b)
	}
	w.put(brokers[0], plainSecret)
	w.sim.SetFaults(iamsim.Faults{Latency: 30 * time.Millisecond})

	var leases []messages.Reply
	for node := range 3 {
		// A delivery may be lost with the server that has taken it. Whoever must have
		// it asks again with the same key, and confirms what comes.
		ask := func(n int) *nats.Subscription {
			return w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`, messages.HeaderIdempotencyKey, fmt.Sprintf("job-%d-%d", node, n))
		}
		var answers []*nats.Subscription
		for n := range 10 {
			answers = append(answers, ask(n))
		}
		cluster.Stop(node)
		for n, sub := range answers {
			var msg *nats.Msg
			w.eventually("the delivery comes", func() bool {
				if msg, err = sub.NextMsg(5 * time.Second); err != nil {
					sub = ask(n)
				}
				return err == nil
			})
			r, err := messages.DecodeReply(msg.Data)
			w.ok(err)
			if r.Kind != messages.KindCredentials {
				t.Fatalf("%+v %v", r, r.Error)
			}
			w.eventually("it is confirmed", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := w.js.Publish(ctx, msg.Reply, nil)
				return err == nil
			})
			leases = append(leases, r)
		}
		w.ok(cluster.Restart(node))
	}
	if n := w.sim.UserCount(); n != len(leases) {
		t.Fatalf("%d users for %d leases", n, len(leases))
	}
	w.clock.move(time.Hour)
	w.nothingInAWS()
}

// TestASlowAWSIsWaitedFor: while a worker waits for AWS, longer than JetStream
// waits for a sign of life, nobody takes the lease over.
func TestASlowAWSIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.broker()
	w.sim.SetFaults(iamsim.Faults{Latency: 800 * time.Millisecond}) // twice, and AckWait is 500 ms
	r := w.lease("ci", "{}")
	w.quiet()
	if rec, _ := w.record(r.Lease.Name); rec.Attempt != 1 {
		t.Fatalf("made in %d attempts", rec.Attempt)
	}
	changes := 0
	for _, call := range w.sim.Calls() {
		if call.Action != "GetCallerIdentity" { // each broker may ask who it is
			changes++
		}
	}
	if changes != 5 {
		t.Fatalf("%d calls", changes)
	}
}
