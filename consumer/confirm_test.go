package consumer_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestUnconfirmedLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"confirm":true}`)
	w.WaitQueuesEmpty()
	if rec, _ := w.Record(r.Lease.Name); rec.Settled() || rec.State != messages.StateActive {
		t.Fatalf("the delivery is not open: %+v", rec)
	}
	w.Clock.Advance(11 * time.Second)
	w.WaitRevoked(r, messages.ReasonUndelivered)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestConfirmedLeaseStaysActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`))
	w.NoError(msg.Respond([]byte("any answer will do")))
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.Clock.Advance(30 * time.Minute)
	w.WantActive(r)
	w.WaitQueuesEmpty()
}

func TestForgedConfirmationIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"confirm":true}`)
	_, err := w.JS.Publish(w.Context(), w.Namespace.Confirm(w.NameOf(r), "forged"), nil)
	w.NoError(err)
	w.WaitQueuesEmpty()
	w.Clock.Advance(11 * time.Second)
	w.WaitRevoked(r, messages.ReasonUndelivered)
}

func TestConfirmationStoredWhileTheBrokerWasDownCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`))
	w.WaitQueuesEmpty()
	b.Kill()
	w.NoError(msg.Respond(nil))
	w.NoError(w.Conn.Flush())
	w.Clock.Advance(time.Minute)
	w.Broker()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.WantActive(r)
	w.WaitQueuesEmpty()
}

func TestRepeatGetsTheSameDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	first := w.Lease("ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	again, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, messages.HeaderIdempotencyKey, "k"))
	if again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
		t.Fatalf("another delivery: %+v", again)
	}
	w.NoError(msg.Respond(nil))
	w.WaitEvents(first.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.WaitQueuesEmpty()
}

// TestStoredConfirmationCountsIfTheRepeatedDeliveryHasNoResponders ends a broker after
// a delivery that it has not stored. The requester confirms and goes, and the
// confirmation waits behind many others.
func TestStoredConfirmationCountsIfTheRepeatedDeliveryHasNoResponders(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1h","confirm":true}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: true}
	b := w.CrashingBroker(m)
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body)
	answer, msg := w.Answer(sub)
	w.NoError(sub.Unsubscribe()) // it has the key
	w.Eventually("the broker has crashed", m.Crashed)
	b.Kill()
	for range 600 { // the stream of confirmations has a backlog
		_, err := w.JS.PublishAsync(w.Namespace.Confirm(w.NameOf(answer), "bogus"), nil)
		w.NoError(err)
	}
	<-w.JS.PublishAsyncComplete()
	w.NoError(msg.Respond([]byte("I have it")))
	w.NoError(w.Conn.Flush())
	w.Broker(func(c *consumer.Config) { c.Workers.Confirm = 1 })
	w.WaitQueuesEmpty()
	rec, _ := w.Record(answer.Lease.Name)
	if rec.State != messages.StateActive {
		t.Fatalf("confirmed, and the lease is %s (%s)", rec.State, rec.Reason)
	}
}
