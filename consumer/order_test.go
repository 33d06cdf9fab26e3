package consumer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

func TestRenewalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	name := nameOf(w, r)
	renew := func(body string) messages.Reply {
		r, _ := w.answer(w.publish(w.ns.Renew(name), body))
		return r
	}
	over := renew(`{"ttl":"25h"}`)
	w.refused(over, messages.CodeTTLExceedsMax)
	if !strings.Contains(over.Error.Message, "23h59m") {
		t.Fatalf("the largest ttl that would do is not said: %q", over.Error.Message)
	}
	if c := renew(`{"ttl":"25h","clamp":true}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("not clamped: %+v", c)
	}
	if c := renew(`{"ttl":"1m"}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("a renewal made the lease shorter: %+v", c)
	}
	w.refused(renew(`{"ttl":"1h","more":1}`), messages.CodeInvalidRequest)
	w.answer(w.publish(w.ns.Revoke(name), ""))
	w.refused(renew(`{}`), messages.CodeLeaseEnded)
	gone := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "nosuch"}
	for _, subject := range []string{w.ns.Renew(gone), w.ns.Revoke(gone)} {
		r, _ := w.answer(w.publish(subject, ""))
		w.refused(r, messages.CodeLeaseNotFound)
	}
	w.quiet()
}

func TestARenewalStoredInTimeWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	b.die()
	renewal := w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"3h"}`)
	w.clock.move(90 * time.Minute)
	w.broker()
	if a, _ := w.answer(renewal); a.Kind != messages.KindRenewed {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.quiet()
	w.alive(r)
}

// TestARenewalRacingTheExpiryHasOneWinner renews leases at the moment at which
// they end. Whatever the answer is, it is true.
func TestARenewalRacingTheExpiryHasOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.broker()
	var all sync.WaitGroup
	var renewed, ended int
	var mu sync.Mutex
	for i := range 40 {
		r := w.lease("ci", `{"ttl":"1s"}`)
		all.Go(func() {
			lead := time.Duration(i-20) * 2 * time.Millisecond
			time.Sleep(time.Until(r.Lease.ExpiresAt) + lead) // the race is with the clock
			sub, err := w.nc.SubscribeSync(w.nc.NewInbox())
			if err != nil {
				t.Error(err)
				return
			}
			msg := nats.NewMsg(w.ns.Renew(messages.LeaseName{Identity: "alice", Secret: "ci", ID: r.Lease.ID}))
			msg.Data = []byte(`{"ttl":"1h"}`)
			msg.Header.Set(messages.HeaderReplyTo, sub.Subject)
			if _, err := w.js.PublishMsg(context.Background(), msg); err != nil {
				t.Error(err)
				return
			}
			m, err := sub.NextMsg(patience)
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
				if !w.works(r.Credentials) {
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
	w.quiet()
	w.eventually("what was not renewed is gone", func() bool {
		w.clock.move(time.Second)
		return w.sim.UserCount() == renewed
	})
	t.Logf("%d renewed, %d ended", renewed, ended)
	if renewed == 0 || ended == 0 {
		t.Fatalf("there was no race: %d renewed, %d ended", renewed, ended)
	}
}

func TestADefinitionMayGoWhileItsLeaseLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	kv, err := w.js.KeyValue(w.ctx(), w.ns.SecretBucket())
	w.ok(err)
	w.ok(kv.Delete(w.ctx(), "ci"))
	w.eventually("no more leases are given", func() bool {
		a := w.ask("ci", "{}")
		return a.Kind == messages.KindError && a.Error.Code == messages.CodeSecretNotFound
	})
	if a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)); a.Kind != messages.KindRenewed {
		t.Fatalf("%+v", a)
	}
	w.alive(r)
	w.clock.move(2 * time.Hour)
	w.over(r, messages.ReasonExpired)
	w.quiet()
}

func TestAFailedRevocationIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.denies("DeleteAccessKey")
	a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), ""))
	w.refused(a, messages.CodeProviderUnavailable)
	if w.works(r.Credentials) {
		t.Fatal("the key could not be deleted, and nothing else keeps it from being used")
	}
	w.clock.move(6 * time.Second)
	w.eventually("it was tried again", func() bool {
		rec, _ := w.record(r.Lease.Name)
		return rec.TeardownTries >= 2 && strings.Contains(rec.TeardownError, "DeleteAccessKey")
	})
	w.sim.SetHook(nil)
	w.clock.move(time.Minute)
	w.over(r, messages.ReasonRequested)
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
	w.quiet()
}

func TestALeaseThatEndsSoonIsAnnounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(func(c *consumer.Config) { c.Timing.Expiring = 5 * time.Minute }), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.clock.move(56 * time.Minute)
	w.told(r.Lease.Name, messages.EventIssued, messages.EventExpiring)
	w.alive(r)
	w.clock.move(5 * time.Minute)
	w.over(r, messages.ReasonExpired)
	w.told(r.Lease.Name, messages.EventIssued, messages.EventExpiring, messages.EventRevoked)
}
