package consumer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestRefusedMessagesHaveEvents: those of the API and of the streams, whatever they ask
// for.
func TestRefusedMessagesHaveEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	bobs := w.requestBy("bob", false)
	for verb, body := range map[string]string{"request": `{"x":1}`, "renew": "", "revoke": "", "get": "", "list": `{"x":1}`} {
		tail := map[string]string{"request": ".alice.ci", "list": ".alice"}[verb]
		if tail == "" {
			tail = ".alice.ci." + bobs.Lease.ID // another identity's lease
		}
		w.Call(w.Conn, w.Namespace.API(verb)+tail, body)
	}
	w.Answer(w.Publish("lessor.renew.alice.ci."+bobs.Lease.ID, ""))
	w.WaitQueuesEmpty()
	verbs := map[messages.Verb]int{}
	for _, e := range w.Events("") {
		if e.Type == "lessor.lease.rejected" && strings.HasPrefix(e.Subject, "alice.") && e.Data.Error != nil {
			verbs[e.Data.Verb]++
		}
	}
	if len(verbs) != 5 || verbs["renew"] != 2 || verbs["get"] != 1 || verbs["list"] != 1 {
		t.Errorf("the events are about %v", verbs)
	}
	w.wantFindings()
}

// TestEventsOfRefusalsAreLimited: up to a number each refusal of an identity has an
// event, the rest are counted. No refusal is lost, and other identities have their own
// number.
func TestEventsOfRefusalsAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) {
		c.MaintainEvery = 10 * time.Millisecond
		c.Streams.AckWait = 30 * time.Second // a refusal that is redelivered is counted again
	})
	w.Put(b, lessortest.Secret)
	const flood, limit = 200, 60
	var subs []*nats.Subscription
	for range flood {
		subs = append(subs, w.Publish(w.Namespace.Request("alice", "nope"), ""))
	}
	for _, s := range subs {
		r, _ := w.Answer(s)
		w.WantError(r, messages.CodeSecretNotFound)
	}
	w.WantError(w.requestBy("bob", false, messages.HeaderIdempotencyKey, strings.Repeat("x", 300)), messages.CodeInvalidRequest)
	w.WaitQueuesEmpty()
	count := func() (one, omitted, bobs int) {
		for _, e := range w.Events("") {
			switch {
			case e.Type == "lessor.lease.rejected" && strings.HasPrefix(e.Subject, "bob."):
				bobs++
			case e.Type == "lessor.lease.rejected" && e.Data.Omitted > 0:
				omitted += e.Data.Omitted
			case e.Type == "lessor.lease.rejected":
				one++
			}
		}
		return one, omitted, bobs
	}
	if one, omitted, bobs := count(); one != limit || omitted != 0 || bobs != 1 {
		t.Errorf("%d refusals have events, %d are counted, and %d are of bob", one, omitted, bobs)
	}
	w.Clock.Advance(time.Minute)
	w.Eventually("the rest is counted", func() bool { _, omitted, _ := count(); return omitted == flood-limit })

	for range limit + 5 { // a broker that stops emits what it has counted
		w.Answer(w.Publish(w.Namespace.Request("alice", "nope"), ""))
	}
	w.WaitQueuesEmpty()
	b.Close()
	if one, omitted, _ := count(); one+omitted != flood+limit+5 {
		t.Errorf("%d refusals have events and %d are counted, of %d", one, omitted, flood+limit+5)
	}
	w.wantFindings()
}

// TestEventStreamTakesNoDeletions: neither does one that was made without that setting.
func TestEventStreamTakesNoDeletions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.JS.CreateStream(w.Context(), jetstream.StreamConfig{Name: w.Namespace.EventStream(), Subjects: []string{w.Namespace.EventFilter()}})
	w.NoError(err)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	if err := s.DeleteMsg(w.Context(), 1); err == nil {
		t.Error("an event was deleted")
	}
	if err := s.SecureDeleteMsg(w.Context(), 1); err == nil {
		t.Error("an event was erased")
	}
	if err := s.Purge(w.Context()); err == nil {
		t.Error("the events were purged")
	}
	cfg := s.CachedInfo().Config
	cfg.DenyDelete, cfg.DenyPurge = false, false
	if _, err := w.JS.UpdateStream(w.Context(), cfg); err == nil {
		t.Error("deletions were allowed again")
	}
	w.wantFindings()
}

// TestBrokersStartingTogetherMakeOneMark: a mark is the installation's.
func TestBrokersStartingTogetherMakeOneMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.Broker()
	}
	if r := w.verify(); r.Marks != 1 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestIssuedEventComesBeforeRevoked delays the event issued on its way to NATS. The
// lease ends meanwhile, and the event arrives when the stream has forgotten which
// events it has.
func TestIssuedEventComesBeforeRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := lessortest.NewLine()
	issued := line.Delay(func(subject string, _ []byte) bool {
		return strings.HasSuffix(subject, "."+string(messages.EventIssued))
	})
	b := w.BrokerOn(w.Dial(0, line.Option()))
	w.Put(b, lessortest.Secret)
	w.shortenDuplicateWindow()
	answers := w.Publish(w.Namespace.Request("alice", "ci"), "{}")
	<-issued.Arrived
	rec := w.Records()[0]
	w.Answer(w.Publish(w.Namespace.Revoke(rec.Name()), ""))
	lease := rec.Name().String()
	w.WaitEvents(lease, messages.EventIssued, messages.EventRevoked)
	if e := w.Events(lease)[0]; e.Data.Lease.State != messages.StateActive || e.Data.Lease.Reason != "" {
		t.Errorf("the event issued has the end: %+v", e.Data.Lease)
	}
	w.waitDuplicateWindow()
	issued.Release()
	r, _ := w.Answer(answers)
	w.WantError(r, messages.CodeLeaseEnded)
	w.WaitQueuesEmpty()
	w.WaitEvents(lease, messages.EventIssued, messages.EventRevoked)
}

// shortenDuplicateWindow makes the event stream forget message ids soon.
func (w *world) shortenDuplicateWindow() {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	_, err = w.JS.UpdateStream(w.Context(), cfg)
	w.NoError(err)
}

// waitDuplicateWindow waits until the event stream would store again an event that it
// stores now.
func (w *world) waitDuplicateWindow() {
	w.T.Helper()
	probe := messages.LeaseName{Identity: "probe", Secret: "ci", ID: "0"}
	body, err := json.Marshal(messages.NewEvent("x", probe, messages.EventRejected, "1", time.Now(), messages.EventData{}))
	w.NoError(err)
	publish := func() bool {
		ack, err := w.JS.Publish(w.Context(), w.Namespace.Event(probe, messages.EventRejected), body, jetstream.WithMsgID("probe"))
		w.NoError(err)
		return !ack.Duplicate
	}
	publish()
	w.Eventually("the stream has forgotten the message id", publish)
}

// TestSecondAttemptHasAnIssuedEvent begins a lease anew whose first delivery had no
// responders.
func TestSecondAttemptHasAnIssuedEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), "{}", messages.HeaderIdempotencyKey, "k")
	w.Eventually("the first attempt has ended", func() bool {
		recs := w.Records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked
	})
	r := w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked, messages.EventIssued)
}
