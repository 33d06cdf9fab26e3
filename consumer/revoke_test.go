package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestFailedRevocationIsRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.Deny("DeleteAccessKey")
	a := w.Revoke(r)
	w.WantError(a, messages.CodeProviderUnavailable)
	if w.Works(r.Credentials) {
		t.Fatal("the key could not be deleted, and nothing else keeps it from being used")
	}
	w.Clock.Advance(6 * time.Second)
	w.Eventually("it was tried again", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.TeardownTries >= 2 && strings.Contains(rec.TeardownError, "DeleteAccessKey")
	})
	w.Sim.SetHook(nil)
	w.Clock.Advance(time.Minute)
	w.WaitRevoked(r, messages.ReasonRequested)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
	w.WaitQueuesEmpty()
}

func TestExpiringLeaseIsAnnounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.Timing.Expiring = 5 * time.Minute }), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.Clock.Advance(56 * time.Minute)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventExpiring)
	w.WantActive(r)
	w.Clock.Advance(5 * time.Minute)
	w.WaitRevoked(r, messages.ReasonExpired)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventExpiring, messages.EventRevoked)
}
