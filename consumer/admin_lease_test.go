package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestOperatorListsAndRetriesFailingLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Put(b, `{"name":"other"}`)
	stuck, alive := w.Lease("ci", "{}"), w.Lease("other", "{}")
	w.WaitQueuesEmpty()
	w.Deny("DeleteUser")
	w.Revoke(stuck)
	failing := func() []messages.Lease {
		r := w.adminLease(messages.AdminLeaseList, `{"failing":true}`)
		w.WantKind(r, messages.KindLeases)
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
	w.Sim.SetHook(nil)
	if r := w.adminLease(messages.AdminLeaseRetry, ""); r.Kind != messages.KindAccepted || r.Accepted.Leases != 1 {
		t.Fatalf("%+v %v", r.Accepted, r.Error)
	}
	w.WaitState(stuck.Lease.Name, messages.StateRevoked)
	w.Eventually("no lease fails any more", func() bool { return len(failing()) == 0 })
	w.WaitState(alive.Lease.Name, messages.StateActive)
}

func TestOperatorRevokesByIdentityAndSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Put(b, `{"name":"other"}`)
	one, two, other := w.Lease("ci", "{}"), w.Lease("ci", "{}"), w.Lease("other", "{}")
	w.WaitQueuesEmpty()
	r := w.adminLease(messages.AdminLeaseRevoke, `{"identity":"alice","secret":"ci","reason":"has left"}`)
	if r.Kind != messages.KindAccepted || r.Accepted.Leases != 2 {
		t.Fatalf("%+v %v", r.Accepted, r.Error)
	}
	for _, l := range []messages.Reply{one, two} {
		if rec := w.WaitState(l.Lease.Name, messages.StateRevoked); rec.Reason != messages.ReasonOperator || rec.Note != "has left" {
			t.Fatalf("%+v", rec)
		}
	}
	w.WaitState(other.Lease.Name, messages.StateActive)
	for body, words := range map[string]string{
		`{}`:                                  "which leases",
		`{"lease":"a.b"}`:                     "lease",
		`{"lease":"a.b.c","secret":"ci"}`:     "excludes",
		`{"secret":"ci","force":true}`:        "force",
		`{"lease":"alice.ci.00000000000000"}`: "no such lease",
		`{"identity":"*"}`:                    "identity",
		`{"secret":"ci","reason":"` + strings.Repeat("x", 257) + `"}`: "reason",
	} {
		if r := w.adminLease(messages.AdminLeaseRevoke, body); r.Error == nil || !strings.Contains(r.Error.Message, words) {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

func TestSweepRemovesTheUserOfALeaseThatWasGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	force := `{"lease":"` + lease.Lease.Name + `","force":true,"reason":"closed"}`
	if r := w.adminLease(messages.AdminLeaseRevoke, force); r.Error == nil || !strings.Contains(r.Error.Message, "revoke it first") {
		t.Fatalf("a live lease: %+v", r)
	}
	w.Deny("DeleteUser")
	w.Revoke(lease)
	r := w.adminLease(messages.AdminLeaseRevoke, force)
	if r.Kind != messages.KindRevoked || r.Lease.State != messages.StateRevoked {
		t.Fatalf("%+v %v", r.Lease, r.Error)
	}
	w.WaitEvents(lease.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
	if e := w.Events(lease.Lease.Name)[2]; !strings.Contains(e.Data.Note, "its user may be left") || !strings.Contains(e.Data.Note, "closed") {
		t.Fatalf("%+v", e.Data)
	}
	w.Clock.Advance(20 * time.Minute)
	if s := w.sweep(""); len(s.Orphans) != 1 || s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
	w.Sim.SetHook(nil)
	if s := w.sweep(""); len(s.Orphans) != 1 || !s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
	w.WaitNoUsers()
}
