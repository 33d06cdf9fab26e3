package consumer_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestALeaseIsIssuedRenewedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)

	r := w.Lease("ci", `{"ttl":"15m","labels":{"job":"7"}}`)
	if !w.Works(r.Credentials) {
		t.Fatal("the delivered key does not work")
	}
	rec := w.WaitState(r.Lease.Name, messages.StateActive)
	if rec.Lease().Labels["job"] != "7" || rec.TTL.String() != "15m" {
		t.Fatalf("the record is not what was asked for: %+v", rec)
	}
	w.Eventually("the delivery is settled", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.Settled()
	})

	name, err := messages.ParseLeaseName(r.Lease.Name)
	w.NoError(err)
	renewed, _ := w.Answer(w.Publish(w.Namespace.Renew(name), `{"ttl":"2h"}`))
	if renewed.Kind != messages.KindRenewed || renewed.Lease.Renewals != 1 {
		t.Fatalf("not renewed: %+v", renewed)
	}
	w.Clock.Advance(time.Hour)
	if !w.Works(r.Credentials) {
		t.Fatal("the key died at the lease's first end although it was renewed")
	}

	revoked, _ := w.Answer(w.Publish(w.Namespace.Revoke(name), `{"reason":"job done"}`))
	if revoked.Kind != messages.KindRevoked || revoked.Lease.State != messages.StateRevoked {
		t.Fatalf("not revoked: %+v", revoked)
	}
	if w.Works(r.Credentials) {
		t.Fatal("the key works after its revocation")
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
}

func TestALeaseEndsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"10m"}`)
	w.Clock.Advance(9 * time.Minute)
	if !w.Works(r.Credentials) {
		t.Fatal("the key died before its time")
	}
	w.Clock.Advance(time.Minute)
	rec := w.WaitState(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonExpired {
		t.Fatalf("revoked because %s", rec.Reason)
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}
