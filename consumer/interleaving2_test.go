package consumer_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// A replaced worker's CreateUser comes after the lease has ended, and AWS does not
// show the user for a while.
func TestALateUserThatIsNotVisibleYetIsNotOrphaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSleeper()
	b1, keyID := w.sleepyBroker(s)
	w.put(b1, plainSecret)
	stopped := make(chan struct{})
	var once sync.Once
	var hidden atomic.Bool
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID {
			return iamsim.Verdict{}
		}
		if c.Action == "CreateUser" {
			once.Do(func() { s.sleep(); close(stopped) })
		}
		s.wait()
		if c.Action == "GetUser" && hidden.Load() {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 404, Code: "NoSuchEntity", Message: "The user with name x cannot be found."}
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.broker()
	answer, _ := w.answer(sub)
	w.quiet()
	w.publishFor("", w.ns.Revoke(nameOf(w, answer)), "")
	w.eventually("gone", func() bool { r, _ := w.record(answer.Lease.Name); return r.State.Ended() && w.sim.UserCount() == 0 })
	hidden.Store(true)
	s.wake()
	time.Sleep(time.Second)
	hidden.Store(false)
	for range 20 {
		w.clock.move(30 * time.Second)
		time.Sleep(100 * time.Millisecond)
	}
	if n := w.sim.UserCount(); n > 0 {
		t.Fatalf("%d users, and the lease has ended\n%s", n, w.dump())
	}
}

// What a replaced worker may not take back does not keep it from other work.
func TestAReplacedWorkerDoesNotHoldItsPlaceForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSleeper()
	b1, keyID := w.sleepyBroker(s, func(c *consumer.Config) { c.Workers.Request = 1 })
	w.put(b1, plainSecret)
	stopped := make(chan struct{})
	var once sync.Once
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID {
			return iamsim.Verdict{}
		}
		if c.Action == "CreateAccessKey" {
			once.Do(func() { s.sleep(); close(stopped) })
		}
		s.wait()
		if c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	b2 := w.broker()
	w.answer(sub)
	w.quiet()
	b2.stop()
	s.wake()
	time.Sleep(500 * time.Millisecond)
	sub = w.publish(w.ns.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("bob is not served: %v; tried in vain %d times", err, strings.Count(w.logs.String(), "could not be taken back yet"))
	}
}

// A broker dies before it delivers, and a repeat gets the key: the first message is
// told so.
func TestTheFirstOfTwoRequestsWithOneKeyIsAnswered(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1h"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	first.stop()
	m := newMortal(at, false)
	b := w.mortalBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.arm()
	sub := w.publish(w.ns.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k")
	w.eventually("dead", m.isDead)
	b.die()
	w.broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.quiet()
	if _, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("left the queue without an answer: %v", err)
	}
}

// A repeat with a deadline waits for a lease that can't be undone, and is told when
// its deadline passes.
func TestADeadlineIsAnsweredWhileAnUndoHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.denies("DeleteUser")
	const body = `{"ttl":"1h","confirm":true}`
	r := w.lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.quiet()
	w.clock.move(11 * time.Second)
	w.state(r.Lease.Name, messages.StateRevoking)
	sub := w.publish(w.ns.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k",
		messages.HeaderDeadline, w.clock.now().Add(2*time.Second).UTC().Format(time.RFC3339))
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("the deadline has passed, and nobody says so: %v", err)
	}
}

// The same where the first is being made, and AWS is away.
func TestADeadlineIsAnsweredWhileAnotherProvisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{}
		}
		return iamsim.Verdict{Do: iamsim.Fail, Status: 503, Code: "ServiceUnavailable"}
	})
	const body = `{"ttl":"1h"}`
	w.publish(w.ns.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k")
	w.eventually("begun", func() bool { return len(w.records()) == 1 })
	sub := w.publish(w.ns.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k",
		messages.HeaderDeadline, w.clock.now().Add(2*time.Second).UTC().Format(time.RFC3339))
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("the deadline has passed, and nobody says so: %v", err)
	}
}

// A repeat of a delivery that waits for its confirmation says again that the key is
// ready.
func TestARepeatOfAReadyDeliveryIsUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(func(c *consumer.Config) { c.ProbeEvery = time.Second }), plainSecret)
	const body = `{"confirm":true,"ready_within":"60s"}`
	first := w.lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.quiet()
	again := w.lease("ci", body, messages.HeaderIdempotencyKey, "k")
	if !*first.Ready || !*again.Ready {
		t.Fatalf("ready %v, and then %v", *first.Ready, *again.Ready)
	}
}

// The event stream is gone: it is made again, and nobody's worker is held for it.
func TestAMissingEventStreamHealsItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(func(c *consumer.Config) { c.Workers.Request = 2 }), plainSecret)
	w.lease("ci", "{}")
	w.quiet()
	w.ok(w.js.DeleteStream(w.ctx(), w.ns.EventStream()))
	w.lease("ci", "{}")
	w.lease("ci", "{}")
	sub := w.publish(w.ns.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(15 * time.Second); err != nil {
		_, serr := w.js.Stream(w.ctx(), w.ns.EventStream())
		t.Fatalf("bob is not served: %v; event stream: %v", err, serr)
	}
}

// A renewal is on its way to AWS when the lease is revoked and the key can't be
// deleted: the renewal's policy must not stand in for the Deny that was put back.
func TestALateRenewalDoesNotReviveARevokedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var puts atomic.Int32
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			if puts.Add(1) == 1 {
				once.Do(func() { close(blocked) })
				<-release
			}
		}
		if c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
	w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)
	<-blocked
	w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), ""))
	rec, _ := w.record(r.Lease.Name)
	if rec.State != messages.StateRevoking || w.works(r.Credentials) {
		t.Fatalf("%s, works: %v", rec.State, w.works(r.Credentials))
	}
	close(release)
	time.Sleep(500 * time.Millisecond)
	if w.works(r.Credentials) {
		rec, _ := w.record(r.Lease.Name)
		t.Fatalf("%s, denied, and the key works again; next try in %s", rec.State, time.Until(rec.Due))
	}
}
