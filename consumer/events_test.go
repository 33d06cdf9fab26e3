package consumer_test

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// toldInOrder checks, when no lease is alive, that of each key the beginning is told
// once, and then the end.
func (w *world) toldInOrder() {
	w.t.Helper()
	begun, over := map[string]bool{}, map[string]bool{}
	for _, e := range w.events("") {
		if e.Data.Lease == nil || e.Data.Lease.AccessKeyID == "" {
			continue
		}
		switch key := e.Data.Lease.AccessKeyID; messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease.")) {
		case messages.EventIssued:
			if begun[key] || over[key] {
				w.t.Fatalf("%s: issued comes again, or after the end", e.ID)
			}
			begun[key] = true
		case messages.EventRevoked:
			if over[key] = true; !begun[key] {
				w.t.Fatalf("%s: revoked, and never issued", e.ID)
			}
		}
	}
	for key := range begun {
		if !over[key] {
			w.t.Fatalf("the key %s was issued, and never revoked\n%s", key, w.logs)
		}
	}
}

// holdback is the dialer of a broker whose first message of a sort is held on its way,
// until it is let go. Everything else passes.
type holdback struct {
	sort        func(subject string, frame []byte) bool
	there, pass chan struct{}
	once        sync.Once
}

func newHoldback(sort func(subject string, frame []byte) bool) *holdback {
	return &holdback{sort: sort, there: make(chan struct{}), pass: make(chan struct{})}
}

// tells is the sort of the events of a type.
func tells(e messages.EventType) func(string, []byte) bool {
	return func(subject string, _ []byte) bool { return strings.HasSuffix(subject, "."+string(e)) }
}

func (h *holdback) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &heldConn{Conn: c, h: h}, err
}

type heldConn struct {
	net.Conn
	h    *holdback
	mu   sync.Mutex // one frame at a time
	rest []byte     // of a frame that is not complete
}

func (c *heldConn) Write(p []byte) (int, error) {
	for c.rest = append(c.rest, p...); ; {
		n, subject := frame(c.rest)
		if n == 0 {
			return len(p), nil
		}
		whole := bytes.Clone(c.rest[:n])
		c.rest = c.rest[n:]
		held := false
		if c.h.sort(subject, whole) {
			c.h.once.Do(func() { held = true })
		}
		if held {
			close(c.h.there)
			go func() { <-c.h.pass; _ = c.pass(whole) }() // the broker may be gone by then
		} else if err := c.pass(whole); err != nil {
			return 0, err
		}
	}
}

func (c *heldConn) pass(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Conn.Write(frame)
	return err
}

// TestTheBeginningIsToldBeforeTheEnd holds the message that tells that a lease is
// issued, has the lease end meanwhile, and lets the message go when the stream has
// forgotten which events it has.
func TestTheBeginningIsToldBeforeTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	held := newHoldback(tells(messages.EventIssued))
	nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(held))
	w.ok(err)
	b, err := w.tryBroker(nc)
	w.ok(err)
	w.put(b, plainSecret)
	w.forgetsEvents()
	answers := w.publish(w.ns.Request("alice", "ci"), "{}")
	<-held.there
	rec := w.records()[0]
	w.answer(w.publish(w.ns.Revoke(rec.Name()), ""))
	lease := rec.Name().String()
	w.told(lease, messages.EventIssued, messages.EventRevoked)
	if e := w.events(lease)[0]; e.Data.Lease.State != messages.StateActive || e.Data.Lease.Reason != "" {
		t.Errorf("issued tells of the end: %+v", e.Data.Lease)
	}
	w.eventHasPassed()
	close(held.pass)
	r, _ := w.answer(answers)
	w.refused(r, messages.CodeLeaseEnded)
	w.quiet()
	w.told(lease, messages.EventIssued, messages.EventRevoked)
}

// forgetsEvents has the event stream keep an event once for a moment only.
func (w *world) forgetsEvents() {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx(), w.ns.EventStream())
	w.ok(err)
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	_, err = w.js.UpdateStream(w.ctx(), cfg)
	w.ok(err)
}

// eventHasPassed waits until the stream would take again what it has taken before.
func (w *world) eventHasPassed() {
	w.t.Helper()
	probe := messages.LeaseName{Identity: "probe", Secret: "ci", ID: "0"}
	body, err := json.Marshal(messages.NewEvent("x", probe, messages.EventRejected, "1", time.Now(), messages.EventData{}))
	w.ok(err)
	tell := func() bool {
		ack, err := w.js.Publish(w.ctx(), w.ns.Event(probe, messages.EventRejected), body, jetstream.WithMsgID("probe"))
		w.ok(err)
		return !ack.Duplicate
	}
	tell()
	w.eventually("the event is forgotten", tell)
}

// TestAnAttemptAfterAnEndIsTold begins a lease anew whose first attempt nobody took.
func TestAnAttemptAfterAnEndIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.publishFor(w.nc.NewInbox(), w.ns.Request("alice", "ci"), "{}", messages.HeaderIdempotencyKey, "k")
	w.eventually("the first attempt is over", func() bool {
		recs := w.records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked
	})
	r := w.lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.told(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked, messages.EventIssued)
}
