package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// So short that messages are redelivered while they are handled, to the replica
	// that is free.
	shortAckWait := func(c *consumer.Config) { c.Streams.AckWait = 60 * time.Millisecond }
	w.Put(w.Broker(shortAckWait), lessortest.Secret)
	w.Broker(shortAckWait)
	w.Sim.SetFaults(iamsim.Faults{Latency: 50 * time.Millisecond})
	var answers []*nats.Subscription
	for range 50 {
		answers = append(answers, w.Publish(w.Namespace.Request("alice", "ci"), "{}"))
	}
	for _, sub := range answers {
		r, _ := w.Answer(sub)
		w.WantKind(r, messages.KindCredentials)
		w.WantOneKey(sub, r)
	}
	w.WaitQueuesEmpty()
	users := w.Sim.Users()
	if len(users) != 50 {
		t.Fatalf("%d users for 50 requests", len(users))
	}
	for _, u := range users {
		if len(u.AccessKeys) != 1 {
			t.Fatalf("user %s has %d keys", u.Name, len(u.AccessKeys))
		}
	}
	w.Clock.Advance(25 * time.Hour)
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	for _, e := range w.Events("") {
		if e.Type == "lessor.lease.revoke_failed" {
			t.Fatalf("a teardown failed because of the other replica: %+v", e.Data.Error)
		}
	}
}

func TestLeaseOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	due := w.Lease("ci", `{"ttl":"10m"}`)
	w.WaitQueuesEmpty()
	b.Close()
	w.Conn.Close()
	w.NATS.Close()
	w.Clock.Advance(15 * time.Minute)

	w.StartNATS()
	w.Broker()
	w.WantKind(w.Renew(r, `{"ttl":"2h"}`), messages.KindRenewed)
	w.Eventually("the lease that expired meanwhile has ended", func() bool {
		rec, _ := w.Record(due.Lease.Name)
		return rec.State == messages.StateRevoked && rec.Reason == messages.ReasonExpired
	})
	w.WantActive(r)
	w.WantKind(w.Revoke(r), messages.KindRevoked)
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
}

// TestClusterLosesEachNodeInTurn issues leases on a cluster of three nodes while each
// node is stopped once.
func TestClusterLosesEachNodeInTurn(t *testing.T) {
	t.Parallel()
	w := newClusterWorld(t)
	replicated := func(c *consumer.Config) {
		c.Streams.Replicas, c.Streams.AckWait = 3, 2*time.Second
		c.Timing.Confirm = lessortest.Patience
	}
	var brokers []*lessortest.Broker
	for i := range 2 {
		nc := w.Dial(i+1, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		brokers = append(brokers, w.BrokerOn(nc, replicated))
	}
	w.Put(brokers[0], lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{Latency: 30 * time.Millisecond})

	var leases []messages.Reply
	for node := range 3 {
		// A delivery may be lost with the server that has taken it. A requester that must
		// have it repeats the request with the same key, and confirms the delivery.
		request := func(n int) *nats.Subscription {
			return w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`, messages.HeaderIdempotencyKey, fmt.Sprintf("job-%d-%d", node, n))
		}
		var answers []*nats.Subscription
		for n := range 10 {
			answers = append(answers, request(n))
		}
		w.Cluster.Stop(node)
		for n, sub := range answers {
			var msg *nats.Msg
			w.Eventually("the delivery arrives", func() bool {
				var err error
				if msg, err = sub.NextMsg(2 * time.Second); err != nil {
					sub = request(n)
				}
				return err == nil
			})
			r, err := messages.DecodeReply(msg.Data)
			w.NoError(err)
			w.WantKind(r, messages.KindCredentials)
			w.Eventually("the confirmation is stored", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := w.JS.Publish(ctx, msg.Reply, nil)
				return err == nil
			})
			leases = append(leases, r)
		}
		w.NoError(w.Cluster.Restart(node))
	}
	if n := w.Sim.UserCount(); n != len(leases) {
		t.Fatalf("%d users for %d leases", n, len(leases))
	}
	w.Clock.Advance(time.Hour)
	w.WaitNoUsers()
}
