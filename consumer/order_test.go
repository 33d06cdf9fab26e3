package consumer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestRenewalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	name := w.NameOf(r)
	renew := func(body string) messages.Reply {
		r, _ := w.Answer(w.Publish(w.Namespace.Renew(name), body))
		return r
	}
	over := renew(`{"ttl":"25h"}`)
	w.WantError(over, messages.CodeTTLExceedsMax)
	if !strings.Contains(over.Error.Message, "23h59m") {
		t.Fatalf("the largest ttl that would do is not said: %q", over.Error.Message)
	}
	if c := renew(`{"ttl":"25h","clamp":true}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("not clamped: %+v", c)
	}
	if c := renew(`{"ttl":"1m"}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("a renewal made the lease shorter: %+v", c)
	}
	w.WantError(renew(`{"ttl":"1h","more":1}`), messages.CodeInvalidRequest)
	w.Answer(w.Publish(w.Namespace.Revoke(name), ""))
	w.WantError(renew(`{}`), messages.CodeLeaseEnded)
	gone := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "nosuch"}
	for _, subject := range []string{w.Namespace.Renew(gone), w.Namespace.Revoke(gone)} {
		r, _ := w.Answer(w.Publish(subject, ""))
		w.WantError(r, messages.CodeLeaseNotFound)
	}
	w.WaitQueuesEmpty()
}

func TestARenewalStoredInTimeWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	b.Kill()
	renewal := w.Publish(w.Namespace.Renew(w.NameOf(r)), `{"ttl":"3h"}`)
	w.Clock.Advance(90 * time.Minute)
	w.Broker()
	w.WantKind(first(w.Answer(renewal)), messages.KindRenewed)
	w.WaitQueuesEmpty()
	w.WantActive(r)
}

// TestARenewalRacingTheExpiryHasOneWinner renews leases at the moment at which
// they end. Whatever the answer is, it is true.
func TestARenewalRacingTheExpiryHasOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Broker()
	var all sync.WaitGroup
	var renewed, ended int
	var mu sync.Mutex
	for i := range 40 {
		r := w.Lease("ci", `{"ttl":"1s"}`)
		all.Go(func() {
			lead := time.Duration(i-20) * 2 * time.Millisecond
			time.Sleep(time.Until(r.Lease.ExpiresAt) + lead) // the race is with the clock
			sub, err := w.Conn.SubscribeSync(w.Conn.NewInbox())
			if err != nil {
				t.Error(err)
				return
			}
			msg := nats.NewMsg(w.Namespace.Renew(messages.LeaseName{Identity: "alice", Secret: "ci", ID: r.Lease.ID}))
			msg.Data = []byte(`{"ttl":"1h"}`)
			msg.Header.Set(messages.HeaderReplyTo, sub.Subject)
			if _, err := w.JS.PublishMsg(context.Background(), msg); err != nil {
				t.Error(err)
				return
			}
			m, err := sub.NextMsg(lessortest.Patience)
			if err != nil {
				t.Error("no answer to a renewal", err)
				return
			}
			a, err := messages.DecodeReply(m.Data)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && a.Kind == messages.KindRenewed:
				renewed++
				if !w.Works(r.Credentials) {
					t.Error("renewed, and the key does not work")
				}
			case err == nil && a.Kind == messages.KindError && a.Error.Code == messages.CodeLeaseEnded:
				ended++
			default:
				t.Errorf("%+v %v %v", a, a.Error, err)
			}
		})
	}
	all.Wait()
	w.WaitQueuesEmpty()
	w.Eventually("what was not renewed is gone", func() bool {
		w.Clock.Advance(time.Second)
		return w.Sim.UserCount() == renewed
	})
	t.Logf("%d renewed, %d ended", renewed, ended)
	if renewed == 0 || ended == 0 {
		t.Fatalf("there was no race: %d renewed, %d ended", renewed, ended)
	}
}

func TestADefinitionMayGoWhileItsLeaseLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.SecretBucket())
	w.NoError(err)
	w.NoError(kv.Delete(w.Context(), "ci"))
	w.Eventually("no more leases are given", func() bool {
		a := w.Request("ci", "{}")
		return a.Kind == messages.KindError && a.Error.Code == messages.CodeSecretNotFound
	})
	w.WantKind(w.Renew(r, `{"ttl":"2h"}`), messages.KindRenewed)
	w.WantActive(r)
	w.Clock.Advance(2 * time.Hour)
	w.WaitRevoked(r, messages.ReasonExpired)
	w.WaitQueuesEmpty()
}

func TestAFailedRevocationIsTriedAgain(t *testing.T) {
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

func TestALeaseThatEndsSoonIsAnnounced(t *testing.T) {
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
