package consumer_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func TestALeaseIsIssuedRenewedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)

	r := w.lease("ci", `{"ttl":"15m","labels":{"job":"7"}}`)
	if !w.works(r.Credentials) {
		t.Fatal("the delivered key does not work")
	}
	rec := w.state(r.Lease.Name, messages.StateActive)
	if rec.Lease().Labels["job"] != "7" || rec.TTL.String() != "15m" {
		t.Fatalf("the record is not what was asked for: %+v", rec)
	}
	w.eventually("the delivery is settled", func() bool {
		rec, _ := w.record(r.Lease.Name)
		return rec.Settled()
	})

	name, err := messages.ParseLeaseName(r.Lease.Name)
	w.ok(err)
	renewed, _ := w.answer(w.publish(w.ns.Renew(name), `{"ttl":"2h"}`))
	if renewed.Kind != messages.KindRenewed || renewed.Lease.Renewals != 1 {
		t.Fatalf("not renewed: %+v", renewed)
	}
	w.clock.move(time.Hour)
	if !w.works(r.Credentials) {
		t.Fatal("the key died at the lease's first end although it was renewed")
	}

	revoked, _ := w.answer(w.publish(w.ns.Revoke(name), `{"reason":"job done"}`))
	if revoked.Kind != messages.KindRevoked || revoked.Lease.State != messages.StateRevoked {
		t.Fatalf("not revoked: %+v", revoked)
	}
	if w.works(r.Credentials) {
		t.Fatal("the key works after its revocation")
	}
	w.nothingInAWS()
	w.quiet()
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
}

func TestALeaseEndsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"10m"}`)
	w.clock.move(9 * time.Minute)
	if !w.works(r.Credentials) {
		t.Fatal("the key died before its time")
	}
	w.clock.move(time.Minute)
	rec := w.state(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonExpired {
		t.Fatalf("revoked because %s", rec.Reason)
	}
	w.nothingInAWS()
	w.quiet()
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}
