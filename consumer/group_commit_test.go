package consumer_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// TestLeasesAreWrittenInBatches issues and revokes many leases at once, as with a NATS
// that flushes each write.
func TestLeasesAreWrittenInBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.Streams.MinBatch = 2; c.Workers.Request, c.Workers.Revoke = 64, 64 })
	w.Put(b, lessortest.Secret)
	batched := w.batches()
	const n = 60
	var answers []*nats.Subscription
	for range n {
		answers = append(answers, w.Publish(w.Namespace.Request("alice", "ci"), ""))
	}
	var leases []messages.Reply
	for _, sub := range answers {
		r, _ := w.Answer(sub)
		w.WantKind(r, messages.KindCredentials)
		leases = append(leases, r)
	}
	for i, r := range leases {
		answers[i] = w.Publish(w.Namespace.Revoke(w.NameOf(r)), "")
	}
	for _, sub := range answers {
		w.WantKind(first(w.Answer(sub)), messages.KindRevoked)
	}
	w.WaitQueuesEmpty()
	for _, r := range leases {
		w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
		w.WaitRevoked(r, messages.ReasonRequested)
	}
	w.WaitNoUsers()
	for what, n := range batched() {
		if n == 0 {
			t.Errorf("no %s was written in a batch", what)
		}
	}
}

// batches counts, until its result is called, the records and events that are written
// in batches.
func (w *world) batches() func() map[string]int {
	w.T.Helper()
	subs := map[string]*nats.Subscription{}
	for what, subject := range map[string]string{"record": "$KV." + w.Namespace.LeaseBucket() + ".>", "event": w.Namespace.EventFilter()} {
		sub, err := w.Conn.SubscribeSync(subject)
		w.NoError(err)
		subs[what] = sub
	}
	w.NoError(w.Conn.Flush())
	return func() map[string]int {
		w.NoError(w.Conn.Flush())
		n := map[string]int{}
		for what, sub := range subs {
			n[what] = 0
			for {
				m, err := sub.NextMsg(10 * time.Millisecond)
				if err != nil {
					break
				}
				if seq, _ := strconv.Atoi(m.Header.Get("Nats-Batch-Sequence")); seq > 1 {
					n[what]++
				}
			}
		}
		return n
	}
}

// TestBrokerCanCrashDuringBatches ends a broker that handles several requests and
// writes in batches, at one effect and then at another. Another broker finishes the
// requests.
func TestBrokerCanCrashDuringBatches(t *testing.T) {
	t.Parallel()
	const requests = 6
	for n := 1; n <= 12*requests; n += 5 {
		m := &lessortest.Crash{At: n, After: n%2 == 0}
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := w.Broker()
			w.Put(first, lessortest.Secret)
			first.Close()
			victim := w.CrashingBroker(m, quickMaintenance, func(c *consumer.Config) { c.Streams.MinBatch = 2 })
			m.Arm()
			var answers []*nats.Subscription
			for range requests {
				answers = append(answers, w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`))
			}
			w.waitCrash(m, 0)
			victim.Kill()
			m.Close()
			w.Broker(quickMaintenance)
			for _, sub := range answers {
				lease, _ := w.Answer(sub)
				if lease.Kind != messages.KindCredentials || !w.Works(lease.Credentials) {
					t.Fatalf("no credentials: %+v %v", lease, lease.Error)
				}
				w.WantOneKey(sub, lease)
			}
			w.WaitQueuesEmpty()
			w.wantNoOrphans()
			w.Eventually("each request has one user with one key", func() bool {
				users := w.Sim.Users()
				return len(users) == requests && !slices.ContainsFunc(users, func(u iamsim.User) bool { return len(u.AccessKeys) != 1 })
			})
			w.RevokeAll()
		})
	}
}
