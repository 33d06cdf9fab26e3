package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// adminLease asks the admin service about leases.
func (w *world) adminLease(verb messages.AdminVerb, body string) messages.Reply {
	w.t.Helper()
	return w.operate(w.ns.AdminLease(verb), body)
}

func TestAnOperatorSeesAndRetriesWhatCanNotBeRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	w.put(b, `{"name":"other"}`)
	stuck, alive := w.lease("ci", "{}"), w.lease("other", "{}")
	w.quiet()
	w.denies("DeleteUser")
	w.answer(w.publish(w.ns.Revoke(nameOf(w, stuck)), ""))
	failing := func() []messages.Lease {
		r := w.adminLease(messages.AdminLeaseList, `{"failing":true}`)
		if r.Kind != messages.KindLeases {
			t.Fatalf("%+v", r.Error)
		}
		return r.Leases
	}
	if l := failing(); len(l) != 1 || l[0].Name != stuck.Lease.Name || !strings.Contains(l[0].Error.Message, "DeleteUser") {
		t.Fatalf("%+v", l)
	}
	if all := w.adminLease(messages.AdminLeaseList, "").Leases; len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	first := w.adminLease(messages.AdminLeaseList, `{"limit":1}`)
	second := w.adminLease(messages.AdminLeaseList, `{"limit":1,"after":"`+first.Next+`"}`)
	if len(first.Leases) != 1 || len(second.Leases) != 1 || first.Leases[0].Name == second.Leases[0].Name || second.Next != "" {
		t.Fatalf("pages: %+v and %+v", first, second)
	}
	w.sim.SetHook(nil)
	if r := w.adminLease(messages.AdminLeaseRetry, ""); r.Kind != messages.KindAccepted || r.Accepted.Leases != 1 {
		t.Fatalf("%+v %v", r.Accepted, r.Error)
	}
	w.state(stuck.Lease.Name, messages.StateRevoked)
	w.eventually("nothing fails any more", func() bool { return len(failing()) == 0 })
	w.state(alive.Lease.Name, messages.StateActive)
}

func TestAnOperatorRevokesByIdentityAndSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	w.put(b, `{"name":"other"}`)
	one, two, other := w.lease("ci", "{}"), w.lease("ci", "{}"), w.lease("other", "{}")
	w.quiet()
	r := w.adminLease(messages.AdminLeaseRevoke, `{"identity":"alice","secret":"ci","reason":"has left"}`)
	if r.Kind != messages.KindAccepted || r.Accepted.Leases != 2 {
		t.Fatalf("%+v %v", r.Accepted, r.Error)
	}
	for _, l := range []messages.Reply{one, two} {
		if rec := w.state(l.Lease.Name, messages.StateRevoked); rec.Reason != messages.ReasonOperator || rec.Note != "has left" {
			t.Fatalf("%+v", rec)
		}
	}
	w.state(other.Lease.Name, messages.StateActive)
	for body, says := range map[string]string{
		`{}`:                                  "which leases",
		`{"lease":"a.b"}`:                     "lease",
		`{"lease":"a.b.c","secret":"ci"}`:     "excludes",
		`{"secret":"ci","force":true}`:        "force",
		`{"lease":"alice.ci.00000000000000"}`: "no such lease",
		`{"identity":"*"}`:                    "identity",
		`{"secret":"ci","reason":"` + strings.Repeat("x", 257) + `"}`: "reason",
	} {
		if r := w.adminLease(messages.AdminLeaseRevoke, body); r.Error == nil || !strings.Contains(r.Error.Message, says) {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

// A lease that is given up leaves the list; its user is hunted by the sweep.
func TestALeaseThatIsGivenUpIsHuntedByTheSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	lease := w.lease("ci", "{}")
	w.quiet()
	force := `{"lease":"` + lease.Lease.Name + `","force":true,"reason":"closed"}`
	if r := w.adminLease(messages.AdminLeaseRevoke, force); r.Error == nil || !strings.Contains(r.Error.Message, "revoke it first") {
		t.Fatalf("a lease that is alive: %+v", r)
	}
	w.denies("DeleteUser")
	w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	r := w.adminLease(messages.AdminLeaseRevoke, force)
	if r.Kind != messages.KindRevoked || r.Lease.State != messages.StateRevoked {
		t.Fatalf("%+v %v", r.Lease, r.Error)
	}
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
	if e := w.events(lease.Lease.Name)[2]; !strings.Contains(e.Data.Note, "its user may be left") || !strings.Contains(e.Data.Note, "closed") {
		t.Fatalf("%+v", e.Data)
	}
	w.clock.move(20 * time.Minute)
	if s := w.sweep(""); len(s.Orphans) != 1 || s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
	w.sim.SetHook(nil)
	if s := w.sweep(""); len(s.Orphans) != 1 || !s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
	w.nothingInAWS()
}
