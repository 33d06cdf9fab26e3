package consumer_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestWorkResumesAfterALostQuorum stops two of three servers, and starts them again.
func TestWorkResumesAfterALostQuorum(t *testing.T) {
	t.Parallel()
	w := newClusterWorld(t)
	cluster := w.Cluster
	b, err := w.TryBroker(w.Dial(0, lessortest.Reconnecting()...), quickMaintenance, func(c *consumer.Config) { c.Streams.Replicas = 3; c.Streams.AckWait = 2 * time.Second })
	w.NoError(err)
	w.Put(b, lessortest.Secret)
	due, lives := w.Lease("ci", `{"ttl":"10m"}`), w.Lease("ci", `{"ttl":"3h"}`)
	w.WaitQueuesEmpty()
	made := w.createdUsers()
	cluster.Stop(1)
	cluster.Stop(2)
	w.WaitHealth(b, "a majority of its servers is away")
	w.Clock.Advance(15 * time.Minute)
	if w.Works(due.Credentials) {
		t.Error("the key works after the lease's end")
	}
	if r, err := w.callAPI(w.Namespace.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("a request without a quorum: %+v %v %v", r, r.Error, err)
	}
	// A server that led may go on answering what needs no write.
	if r := w.adminSecret(messages.AdminDelete, `{"name":"nothing"}`); r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable || !r.Error.Retryable {
		t.Errorf("an operator without a quorum: %+v %v", r, r.Error)
	}
	if w.createdUsers() != made || w.Sim.UserCount() != 2 {
		t.Errorf("%d users were made and %d exist without a quorum", w.createdUsers()-made, w.Sim.UserCount())
	}
	for node := 1; node <= 2; node++ {
		if err := cluster.Restart(node); err != nil {
			t.Log(err) // the broker may be well before the servers are up to date
		}
	}
	w.WaitHealth(b, "")
	w.Eventually("the expired lease has ended", func() bool {
		rec, _ := w.Record(due.Lease.Name)
		return rec.State == messages.StateRevoked
	})
	if rec, _ := w.Record(lives.Lease.Name); rec.State != messages.StateActive || !w.Works(lives.Credentials) {
		t.Error("a live lease has ended")
	}
	w.wantNoOrphans()
	if n := w.Logs.Count("JetStream fails"); n > 8+4+6 { // once for each stream and consumer, and for what is written to, at most
		t.Errorf("%d log lines about one problem", n)
	}
}

// TestBrokersWaitForAJetStreamLeader starts two brokers while two of three servers are
// stopped.
func TestBrokersWaitForAJetStreamLeader(t *testing.T) {
	t.Parallel()
	w := newClusterWorld(t)
	cluster := w.Cluster
	cluster.Stop(1)
	cluster.Stop(2)
	type result struct {
		b   *lessortest.Broker
		err error
	}
	waits, results := make(chan struct{}, 2), make(chan result, 2)
	for range 2 {
		var once sync.Once
		nc := w.Dial(0, lessortest.Reconnecting()...)
		go func() {
			b, err := w.TryBroker(nc, quickMaintenance, func(c *consumer.Config) {
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
			t.Log(err) // the brokers may be up before the servers are up to date
		}
	}
	for range 2 {
		r := <-results
		w.NoError(r.err)
		w.Put(r.b, lessortest.Secret)
	}
	w.WantActive(w.Lease("ci", "{}"))
}
