package consumer_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestLeaseWithoutRespondersIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), "{}")
	w.Eventually("the lease has ended", func() bool {
		recs := w.Records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked && recs[0].Reason == messages.ReasonUndelivered
	})
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(w.Records()[0].Name().String(), messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestLateSubscriberGetsTheDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	inbox := w.Conn.NewInbox()
	w.PublishReply(inbox, w.Namespace.Request("alice", "ci"), "{}")
	w.Eventually("the user is created", func() bool { return w.Sim.UserCount() == 1 })
	sub, err := w.Conn.SubscribeSync(inbox)
	w.NoError(err)
	w.WantKind(first(w.Answer(sub)), messages.KindCredentials)
}

// TestDeliveryIsRepeatedUntilItIsStored: while the record can't be written NATS has a
// problem, and may have lost the delivery with a server. The requester gets the same
// delivery again. If it has gone meanwhile, its lease lives.
func TestDeliveryIsRepeatedUntilItIsStored(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		t.Run(map[bool]string{true: "the requester waits", false: "the requester has gone"}[waits], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			line := lessortest.NewLine()
			settled := line.Delay(func(subject string, message []byte) bool {
				return strings.HasPrefix(subject, "$KV.") && bytes.Contains(message, []byte(`"delivered_at"`))
			})
			// With a short AckWait a busy machine may redeliver the request meanwhile.
			b := w.BrokerOn(w.Dial(0, line.Option()), func(c *consumer.Config) { c.Streams.AckWait = 15 * time.Second })
			w.Put(b, lessortest.Secret)
			answers := w.Publish(w.Namespace.Request("alice", "ci"), "{}")
			first, _ := w.Answer(answers)
			<-settled.Arrived
			if !waits {
				w.NoError(answers.Unsubscribe())
				w.NoError(w.Conn.Flush())
			} else if again, _ := w.Answer(answers); again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
				t.Errorf("the second delivery is %+v", again)
			}
			w.WaitQueuesEmpty()
			settled.Release()
			if rec, _ := w.Record(first.Lease.Name); !rec.Settled() {
				t.Errorf("the delivery is not stored: %+v", rec)
			}
			w.WantActive(first)
		})
	}
}

func TestReadyWithinWaitsUntilAWSAcceptsTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: 300 * time.Millisecond})
	if r := w.Lease("ci", `{"ready_within":"10s"}`); r.Ready == nil || !*r.Ready || !w.Works(r.Credentials) {
		t.Fatalf("not ready: %+v", r)
	}
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: time.Hour})
	if r := w.Lease("ci", `{"ready_within":"1s"}`); r.Ready == nil || *r.Ready {
		t.Fatalf("ready: %+v", r)
	}
	if r := w.Lease("ci", `{}`); r.Ready != nil {
		t.Fatalf("ready was not requested: %+v", r)
	}
}

// TestWaitingDeliveriesHoldNoWorker: the only worker serves other requests while one
// waits for AWS to accept its key, one has no responders, and one is not confirmed.
func TestWaitingDeliveriesHoldNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.Workers.Request = 1 }), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: time.Hour})
	waiting := w.Publish(w.Namespace.Request("alice", "ci"), `{"ready_within":"60s"}`)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), `{}`) // no responders
	w.Lease("ci", `{}`)
	w.Lease("ci", `{"confirm":true}`) // not confirmed
	w.Lease("ci", `{}`)
	if n, _, _ := waiting.Pending(); n != 0 {
		t.Fatal("the first request was answered early")
	}
}

func TestRepeatedDeliveryStatesReadinessAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.ProbeEvery = time.Second }), lessortest.Secret)
	const body = `{"confirm":true,"ready_within":"60s"}`
	first := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	again := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	if !*first.Ready || !*again.Ready {
		t.Fatalf("ready %v, and then %v", *first.Ready, *again.Ready)
	}
}
