package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// removeConditions removes the headers for which NATS would refuse a replay.
func removeConditions(h nats.Header) {
	h.Del(jetstream.ExpectedLastSubjSeqHeader)
	h.Del(jetstream.ExpectedLastSubjSeqSubjHeader)
}

// TestVerifyIgnoresForgedPositionHeaders stores an event with the headers in which the
// server states an event's position. The event, and those after it, are read where they
// are.
func TestVerifyIgnoresForgedPositionHeaders(t *testing.T) {
	t.Parallel()
	w := history(t)
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	m, err := s.GetMsg(w.Context(), 1)
	w.NoError(err)
	forged := nats.NewMsg(m.Subject)
	forged.Data = m.Data
	forged.Header.Set(nats.MsgIdHdr, "another")
	forged.Header.Set(jetstream.SequenceHeader, "1000000")
	forged.Header.Set(jetstream.TimeStampHeaer, "2000-01-02T03:04:05Z")
	forged.Header.Set(jetstream.SubjectHeader, w.Namespace.Event(messages.LeaseName{Identity: "bob", Secret: "ci", ID: "1"}, messages.EventRevoked))
	forged.Header.Set("Status", "404")
	_, err = w.JS.PublishMsg(w.Context(), forged)
	w.NoError(err)
	next := &nats.Msg{Subject: m.Subject, Header: nats.Header{nats.MsgIdHdr: {"the next"}}, Data: m.Data}
	_, err = w.JS.PublishMsg(w.Context(), next)
	w.NoError(err)
	for filter, want := range map[messages.EventType]int{
		messages.EventIssued:  4, // those of the two leases, and these
		messages.EventRevoked: 2,
	} {
		n := 0
		f := client.EventFilter{Types: []messages.EventType{filter, messages.EventConfirmed}}
		for _, err := range client.Events(w.Context(), w.JS, w.Namespace, f) {
			w.NoError(err)
			n++
		}
		if n != want {
			t.Errorf("%d events of type %s, not %d", n, filter, want)
		}
	}
	w.wantFindings("forged 7", "forged 8")
}

func TestVerifyFindsReplayedEvents(t *testing.T) {
	t.Parallel()
	w := history(t)
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	m, err := s.GetMsg(w.Context(), 1)
	w.NoError(err)
	removeConditions(m.Header)
	// NATS drops a repeated message id for a while; with another id the signature is
	// not valid.
	_, err = w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	w.NoError(err)
	w.wantFindings()
	m.Header.Set(nats.MsgIdHdr, "another")
	_, err = w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	w.NoError(err)
	w.wantFindings("forged 7")

	w = history(t)
	twice := 0
	w.rewrite(func(seq uint64, m *nats.Msg) *nats.Msg {
		if seq == 6 { // in place of the last; the stream that was made again takes any id
			s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
			w.NoError(err)
			cfg := s.CachedInfo().Config
			cfg.Duplicates = 100 * time.Millisecond
			_, err = w.JS.UpdateStream(w.Context(), cfg)
			w.NoError(err)
			first, err := s.GetMsg(w.Context(), 1)
			w.NoError(err)
			removeConditions(first.Header)
			w.Eventually("NATS has forgotten the id", func() bool {
				ack, err := w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: first.Subject, Header: first.Header, Data: first.Data})
				w.NoError(err)
				twice = int(ack.Sequence)
				return !ack.Duplicate
			})
		}
		return m
	})
	w.wantFindings("unguarded 0", fmt.Sprintf("repeated %d", twice))
}

// TestVerifyKnowsTheEndOfTheStreamFromTheMarks: a stream that was cut off, or made
// again, has no gap.
func TestVerifyKnowsTheEndOfTheStreamFromTheMarks(t *testing.T) {
	t.Parallel()
	w := history(t)
	w.Clock.Advance(11 * time.Minute)
	w.Broker().Close() // stores the position of the stream
	if r := w.verify(); r.Marks != 2 || r.Last != 6 {
		t.Fatalf("%+v", r)
	}
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	cfg := s.CachedInfo().Config
	var all []*jetstream.RawStreamMsg
	for seq := range uint64(4) {
		m, err := s.GetMsg(w.Context(), seq+1)
		w.NoError(err)
		all = append(all, m)
	}
	w.NoError(w.JS.DeleteStream(w.Context(), cfg.Name))
	_, err = w.JS.CreateStream(w.Context(), cfg)
	w.NoError(err)
	for _, m := range all {
		_, err := w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		w.NoError(err)
	}
	w.wantFindings("tail 5")
	// So does a position that was noted elsewhere.
	r := w.verify(func(o *client.AuditOptions) { o.AtLeast = 48 })
	if len(r.Findings) != 1 || r.Findings[0].Until != 48 {
		t.Errorf("%+v", r)
	}
	// A forged mark is found.
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	e, err := kv.Get(w.Context(), messages.AuditMarksKey)
	w.NoError(err)
	_, err = kv.Put(w.Context(), messages.AuditMarksKey, []byte(strings.Replace(string(e.Value()), `"last":6`, `"last":4`, 1)))
	w.NoError(err)
	w.wantFindings("mark 0")
}
