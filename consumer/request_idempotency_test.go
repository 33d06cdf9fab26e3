package consumer_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestRequestsWithOneKeyMakeOneLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Broker() // a second replica
	w.Sim.SetFaults(iamsim.Faults{Latency: 20 * time.Millisecond})

	const n = 100
	var all sync.WaitGroup
	answers := make([]messages.Reply, n)
	subs := make([]*nats.Subscription, n)
	for i := range n {
		inbox := w.Conn.NewInbox()
		var err error
		subs[i], err = w.Conn.SubscribeSync(inbox)
		w.NoError(err)
		all.Go(func() {
			msg := nats.NewMsg(w.Namespace.Request("alice", "ci"))
			msg.Data = []byte(`{"confirm":true}`) // so that the delivery stays open until all requests are published
			msg.Header.Set(messages.HeaderReplyTo, inbox)
			msg.Header.Set(messages.HeaderIdempotencyKey, "job-7")
			if _, err := w.JS.PublishMsg(context.Background(), msg); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var confirm *nats.Msg
	for i, sub := range subs {
		answers[i], confirm = w.Answer(sub)
	}
	w.NoError(confirm.Respond(nil))
	for _, r := range answers {
		if r.Kind != messages.KindCredentials || r.Credentials.AccessKeyID != answers[0].Credentials.AccessKeyID ||
			r.Credentials.SecretAccessKey.Reveal() != answers[0].Credentials.SecretAccessKey.Reveal() {
			t.Fatalf("two different keys: %+v and %+v", r, answers[0])
		}
	}
	w.WaitQueuesEmpty()
	if n := w.Sim.UserCount(); n != 1 {
		t.Fatalf("%d users for one key", n)
	}

	late := w.Request("ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "job-7")
	w.WantError(late, messages.CodeAlreadyDelivered)
	if late.Lease == nil || late.Lease.Name != answers[0].Lease.Name {
		t.Fatalf("the answer does not name the lease: %+v", late.Lease)
	}
	w.WantError(w.Request("ci", `{"ttl":"2h"}`, messages.HeaderIdempotencyKey, "job-7"), messages.CodeIdempotencyMismatch)
	other, _ := w.Answer(w.Publish(w.Namespace.Request("bob", "ci"), "{}", messages.HeaderIdempotencyKey, "job-7"))
	if other.Kind != messages.KindCredentials || other.Lease.Name == answers[0].Lease.Name {
		t.Fatalf("another identity shares the idempotency key: %+v", other)
	}
}

func TestRepeatAfterRetryableFailureMakesTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{InternalError: 1})
	soon := func() string {
		return `{"deadline":"` + w.Clock.Now().Add(500*time.Millisecond).UTC().Format(time.RFC3339Nano) + `"}`
	}
	r := w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k") // before the record is made
	for try := 1; try < 10 && r.Error != nil && r.Error.Code == messages.CodeDeadlineExceeded; try++ {
		r = w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k") // it was redelivered after the deadline
	}
	w.WantError(r, messages.CodeProviderUnavailable)
	w.Sim.SetFaults(iamsim.Faults{})
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{}
		}
		return iamsim.Verdict{Do: iamsim.Fail, Status: 500, Code: "ServiceFailure"}
	})
	r = w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k")
	w.WantError(r, messages.CodeDeadlineExceeded)
	w.Sim.SetHook(nil)
	w.Sim.SetFaults(iamsim.Faults{})
	w.Clock.Advance(3 * time.Minute) // AWS may not show a young user; it is looked for until it is older
	r = w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WantActive(r)
}

// TestBothRequestsWithOneKeyAreAnsweredAfterACrash ends a broker before the delivery. A
// repeat of the request gets the key, and the first message an answer.
func TestBothRequestsWithOneKeyAreAnsweredAfterACrash(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1h"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k")
	w.Eventually("the broker has crashed", m.Crashed)
	b.Kill()
	w.Broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	if _, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("the first message left the queue without an answer: %v", err)
	}
}

func TestRepeatOfAFailedRequestGetsTheSameError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), extraSecret)
	w.Deny("DeleteUser")
	w.WantError(w.Request("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
	w.WantError(w.Request("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
}

// TestRequestAtAReusedSequenceIsAnotherMessage: the sequences of a stream that was made
// again begin at 1.
func TestRequestAtAReusedSequenceIsAnotherMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.Stream(messages.VerbRequest)))
	w.Eventually("the stream is made again", func() bool {
		_, err := w.JS.Stream(w.Context(), w.Namespace.Stream(messages.VerbRequest))
		return err == nil
	})
	w.WantError(w.Request("ci", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
}
