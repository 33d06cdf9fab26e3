package consumer_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// A replaced worker's CreateUser comes after the lease has ended, and AWS does not
// show the user for a while.
func TestALateUserThatIsNotVisibleYetIsNotOrphaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hidden atomic.Bool
	s := w.newStall(atAction("CreateUser"), func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "GetUser" && hidden.Load() {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 404, Code: "NoSuchEntity", Message: "The user with name x cannot be found."}
		}
		return iamsim.Verdict{}
	})
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	w.Broker()
	answer, _ := w.Answer(sub)
	w.WaitQueuesEmpty()
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(answer)), "")
	w.Eventually("gone", func() bool { r, _ := w.Record(answer.Lease.Name); return r.State.Ended() && w.Sim.UserCount() == 0 })
	hidden.Store(true)
	s.resume()
	time.Sleep(time.Second)
	hidden.Store(false)
	for range 20 {
		w.Clock.Advance(30 * time.Second)
		time.Sleep(100 * time.Millisecond)
	}
	if n := w.Sim.UserCount(); n > 0 {
		t.Fatalf("%d users, and the lease has ended\n%s", n, w.Dump())
	}
}

// What a replaced worker may not take back does not keep it from other work.
func TestAReplacedWorkerDoesNotHoldItsPlaceForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.newStall(atAction("CreateAccessKey"), func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	}, func(c *consumer.Config) { c.Workers.Request = 1 })
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	b2 := w.Broker()
	w.Answer(sub)
	w.WaitQueuesEmpty()
	b2.Close()
	s.resume()
	time.Sleep(500 * time.Millisecond)
	sub = w.Publish(w.Namespace.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("bob is not served: %v; tried in vain %d times", err, w.Logs.Count("could not be taken back yet"))
	}
}

// A broker dies before it delivers, and a repeat gets the key: the first message is
// told so.
func TestTheFirstOfTwoRequestsWithOneKeyIsAnswered(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1h"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k")
	w.Eventually("dead", m.Crashed)
	b.Kill()
	w.Broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	if _, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("left the queue without an answer: %v", err)
	}
}

// A repeat with a deadline waits for a lease that can't be undone, and is told when
// its deadline passes.
func TestADeadlineIsAnsweredWhileAnUndoHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Deny("DeleteUser")
	const body = `{"ttl":"1h","confirm":true}`
	r := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	w.Clock.Advance(11 * time.Second)
	w.WaitState(r.Lease.Name, messages.StateRevoking)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k",
		messages.HeaderDeadline, w.Clock.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("the deadline has passed, and nobody says so: %v", err)
	}
}

// The same where the first is being made, and AWS is away.
func TestADeadlineIsAnsweredWhileAnotherProvisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{}
		}
		return iamsim.Verdict{Do: iamsim.Fail, Status: 503, Code: "ServiceUnavailable"}
	})
	const body = `{"ttl":"1h"}`
	w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k")
	w.Eventually("begun", func() bool { return len(w.Records()) == 1 })
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k",
		messages.HeaderDeadline, w.Clock.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("the deadline has passed, and nobody says so: %v", err)
	}
}

// A repeat of a delivery that waits for its confirmation says again that the key is
// ready.
func TestARepeatOfAReadyDeliveryIsUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.ProbeEvery = time.Second }), lessortest.Secret)
	const body = `{"confirm":true,"ready_within":"60s"}`
	first := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	again := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	if !*first.Ready || !*again.Ready {
		t.Fatalf("ready %v, and then %v", *first.Ready, *again.Ready)
	}
}

// The event stream is gone: it is made again, and nobody's worker is held for it.
func TestAMissingEventStreamHealsItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.Workers.Request = 2 }), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	w.Lease("ci", "{}")
	w.Lease("ci", "{}")
	sub := w.Publish(w.Namespace.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(15 * time.Second); err != nil {
		_, serr := w.JS.Stream(w.Context(), w.Namespace.EventStream())
		t.Fatalf("bob is not served: %v; event stream: %v", err, serr)
	}
}

// A renewal is on its way to AWS when the lease is revoked and the key can't be
// deleted: the renewal's policy must not stand in for the Deny that was put back.
func TestALateRenewalDoesNotReviveARevokedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var puts atomic.Int32
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
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
	w.Publish(w.Namespace.Renew(w.NameOf(r)), `{"ttl":"2h"}`)
	<-blocked
	w.Revoke(r)
	rec, _ := w.Record(r.Lease.Name)
	if rec.State != messages.StateRevoking || w.Works(r.Credentials) {
		t.Fatalf("%s, works: %v", rec.State, w.Works(r.Credentials))
	}
	close(release)
	time.Sleep(500 * time.Millisecond)
	if w.Works(r.Credentials) {
		rec, _ := w.Record(r.Lease.Name)
		t.Fatalf("%s, denied, and the key works again; next try in %s", rec.State, time.Until(rec.Due))
	}
}
