package consumer_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

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
	b, err := w.tryBroker(w.returning(cluster.URLs(0)), watchful, func(c *consumer.Config) { c.Streams.Replicas = 3; c.Streams.AckWait = 2 * time.Second })
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
	if n := w.lines("JetStream fails"); n > 8+4+6 { // once for each stream and consumer, and for what is written to, at most
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
				c.Streams.Replicas = 3
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
