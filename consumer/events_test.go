package consumer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestTheBeginningIsToldBeforeTheEnd holds the message that tells that a lease is
// issued, has the lease end meanwhile, and lets the message go when the stream has
// forgotten which events it has.
func TestTheBeginningIsToldBeforeTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := lessortest.NewLine()
	issued := line.Delay(func(subject string, _ []byte) bool {
		return strings.HasSuffix(subject, "."+string(messages.EventIssued))
	})
	b := w.BrokerOn(w.Dial(0, line.Option()))
	w.Put(b, lessortest.Secret)
	w.forgetsEvents()
	answers := w.Publish(w.Namespace.Request("alice", "ci"), "{}")
	<-issued.Arrived
	rec := w.Records()[0]
	w.Answer(w.Publish(w.Namespace.Revoke(rec.Name()), ""))
	lease := rec.Name().String()
	w.WaitEvents(lease, messages.EventIssued, messages.EventRevoked)
	if e := w.Events(lease)[0]; e.Data.Lease.State != messages.StateActive || e.Data.Lease.Reason != "" {
		t.Errorf("issued tells of the end: %+v", e.Data.Lease)
	}
	w.eventHasPassed()
	issued.Release()
	r, _ := w.Answer(answers)
	w.WantError(r, messages.CodeLeaseEnded)
	w.WaitQueuesEmpty()
	w.WaitEvents(lease, messages.EventIssued, messages.EventRevoked)
}

// forgetsEvents has the event stream keep an event once for a moment only.
func (w *world) forgetsEvents() {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	_, err = w.JS.UpdateStream(w.Context(), cfg)
	w.NoError(err)
}

// eventHasPassed waits until the stream would take again what it has taken before.
func (w *world) eventHasPassed() {
	w.T.Helper()
	probe := messages.LeaseName{Identity: "probe", Secret: "ci", ID: "0"}
	body, err := json.Marshal(messages.NewEvent("x", probe, messages.EventRejected, "1", time.Now(), messages.EventData{}))
	w.NoError(err)
	tell := func() bool {
		ack, err := w.JS.Publish(w.Context(), w.Namespace.Event(probe, messages.EventRejected), body, jetstream.WithMsgID("probe"))
		w.NoError(err)
		return !ack.Duplicate
	}
	tell()
	w.Eventually("the event is forgotten", tell)
}

// TestAnAttemptAfterAnEndIsTold begins a lease anew whose first attempt nobody took.
func TestAnAttemptAfterAnEndIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), "{}", messages.HeaderIdempotencyKey, "k")
	w.Eventually("the first attempt is over", func() bool {
		recs := w.Records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked
	})
	r := w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked, messages.EventIssued)
}
