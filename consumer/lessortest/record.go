package lessortest

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Record reads a lease's record; ok is false if there is none.
func (w *World) Record(lease string) (r record.Record, ok bool) {
	w.T.Helper()
	e, err := w.Bucket(w.Namespace.LeaseBucket()).Get(w.Context(), lease)
	if err != nil {
		return record.Record{}, false
	}
	r, err = record.Decode(e.Value())
	w.NoError(err)
	return r, true
}

// Records reads all records.
func (w *World) Records() []record.Record {
	w.T.Helper()
	values, err := w.values(w.Namespace.LeaseBucket())
	w.NoError(err)
	all := make([]record.Record, len(values))
	for i, v := range values {
		all[i], err = record.Decode(v.Value())
		w.NoError(err)
	}
	return all
}

// WaitState waits until a lease is in a state, and returns its record.
func (w *World) WaitState(lease string, s messages.State) record.Record {
	w.T.Helper()
	var rec record.Record
	w.Eventually("lease "+lease+" is "+string(s), func() bool {
		r, ok := w.Record(lease)
		rec = r
		return ok && r.State == s
	})
	return rec
}

// Events returns the events of a lease in order; "" is all.
func (w *World) Events(lease string) []messages.Event {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	state := s.CachedInfo().State
	var all []messages.Event
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(w.Context(), seq)
		w.NoError(err)
		e, err := messages.DecodeEvent(m.Data)
		w.NoError(err)
		if lease == "" || e.Subject == lease {
			all = append(all, e)
		}
	}
	return all
}

// EventType returns the type of an event without the prefix that all have.
func EventType(e messages.Event) messages.EventType {
	return messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease."))
}

// WaitEvents waits until the events of a lease are exactly these, in this order.
func (w *World) WaitEvents(lease string, types ...messages.EventType) {
	w.T.Helper()
	want := make([]string, len(types))
	for i, t := range types {
		want[i] = string(t)
	}
	w.Eventually("the events of "+lease+" are "+strings.Join(want, ", "), func() bool {
		var have []string
		for _, e := range w.Events(lease) {
			have = append(have, string(EventType(e)))
		}
		return strings.Join(have, " ") == strings.Join(want, " ")
	})
}

// WantActive waits until a lease is active and the only one, with one user that has
// one key, which works.
func (w *World) WantActive(lease messages.Reply) {
	w.T.Helper()
	w.WantKind(lease, messages.KindCredentials)
	w.WaitState(lease.Lease.Name, messages.StateActive)
	w.Eventually("there is one user with one key, which works", func() bool {
		users := w.Sim.Users()
		return len(users) == 1 && users[0].Name == lease.Credentials.Username &&
			len(users[0].AccessKeys) == 1 && users[0].AccessKeys[0].ID == lease.Credentials.AccessKeyID && w.Works(lease.Credentials)
	})
}

// WaitRevoked waits until a lease is revoked and no user is left, while it moves the
// clock, and fails the test if the reason is another or the key works.
func (w *World) WaitRevoked(lease messages.Reply, reason messages.Reason) {
	w.T.Helper()
	var rec record.Record
	w.Eventually("lease "+lease.Lease.Name+" is revoked", func() bool {
		w.Clock.Advance(time.Second) // AWS may not show a young user; it is looked for until it is older
		rec, _ = w.Record(lease.Lease.Name)
		return rec.State == messages.StateRevoked
	})
	if rec.Reason != reason {
		w.T.Fatalf("the lease ended because of %s, want %s", rec.Reason, reason)
	}
	w.WaitNoUsers()
	if w.Works(lease.Credentials) {
		w.T.Fatal("the key of a revoked lease works")
	}
}

// WantOneKey fails the test if a further answer to a request delivers another key than
// the first answer.
func (w *World) WantOneKey(answers *nats.Subscription, first messages.Reply) {
	w.T.Helper()
	for {
		msg, err := answers.NextMsg(10 * time.Millisecond)
		if err != nil {
			return
		}
		r, err := messages.DecodeReply(msg.Data)
		w.NoError(err)
		if r.Kind == messages.KindCredentials && (first.Credentials == nil || r.Credentials.AccessKeyID != first.Credentials.AccessKeyID) {
			w.T.Fatalf("two different keys were delivered: %+v and %+v", first, r)
		}
	}
}

// RevokeAll revokes all leases through a new broker, and fails the test unless then
// nothing is left: no user, no message, no sealed key, no due time, and of each lease
// the events in their order. It removes the simulator's hook.
func (w *World) RevokeAll() {
	w.T.Helper()
	w.Sim.SetHook(nil)
	b := w.Broker()
	defer b.Close()
	for _, rec := range w.Records() {
		if rec.State.Ended() {
			continue
		}
		w.Send(w.Namespace.Revoke(rec.Name()), "")
		w.Eventually("lease "+rec.Name().String()+" has ended", func() bool {
			w.Clock.Advance(time.Minute) // the Deny of a session stays until it has expired
			now, _ := w.Record(rec.Name().String())
			return now.State.Ended()
		})
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WantEventOrder()
	for _, rec := range w.Records() {
		if rec.Sealed != nil || !rec.Due.IsZero() {
			w.T.Fatalf("an ended lease has a sealed key or is due: %+v", rec)
		}
	}
}

// WantEventOrder fails the test unless, of each key, one event says that it was issued
// and a later one that it was revoked. No lease must be live.
func (w *World) WantEventOrder() {
	w.T.Helper()
	issued, revoked := map[string]bool{}, map[string]bool{}
	for _, e := range w.Events("") {
		if e.Data.Lease == nil || e.Data.Lease.AccessKeyID == "" {
			continue
		}
		switch key := e.Data.Lease.AccessKeyID; EventType(e) {
		case messages.EventIssued:
			if issued[key] || revoked[key] {
				w.T.Fatalf("event %s: issued for the second time, or after it was revoked", e.ID)
			}
			issued[key] = true
		case messages.EventRevoked:
			if revoked[key] = true; !issued[key] {
				w.T.Fatalf("event %s: revoked and never issued", e.ID)
			}
		}
	}
	for key := range issued {
		if !revoked[key] {
			w.T.Fatalf("key %s has an issued event and no revoked event\n%s", key, w.Logs)
		}
	}
}
