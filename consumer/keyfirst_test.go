package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// crowded is a broker to whose account a call waits as soon as another is made: it
// makes few calls a second, and one at once.
func (w *world) crowded(perSecond float64, change ...func(*consumer.Config)) *broker {
	w.t.Helper()
	return w.broker(append([]func(*consumer.Config){w.paced(perSecond), func(c *consumer.Config) {
		c.RetryMin, c.RetryMax = 20*time.Millisecond, 200*time.Millisecond
	}}, change...)...)
}

// keyGone waits until the records say that the leases' keys are deleted.
func (w *world) keyGone(leases ...messages.Reply) {
	w.t.Helper()
	for _, l := range leases {
		w.eventually("the key is gone, and that is written down", func() bool {
			rec, _ := w.record(l.Lease.Name)
			return !rec.KeyDeletedAt.IsZero()
		})
	}
}

// Whoever orders a revocation is told when everything is gone, and the key is dead
// long before.
func TestUnderBacklogARevocationIsAnsweredAtItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leftBehind(1, "{}")[0]
	w.crowded(9.9)
	answers := w.publish(w.ns.Revoke(nameOf(w, lease)), "")
	w.keyGone(lease)
	if w.works(lease.Credentials) || w.sim.UserCount() != 1 {
		t.Fatal("the key works, or the user is gone already")
	}
	r, _ := w.answer(answers)
	if r.Kind != messages.KindRevoked || w.sim.UserCount() != 0 {
		t.Fatalf("answered %+v %v, and there are %d users", r, r.Error, w.sim.UserCount())
	}
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// Users that are tidied up take no worker from those whose keys are alive.
func TestTidyingHoldsNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leases := w.leftBehind(5, "{}")
	w.crowded(9.9, func(c *consumer.Config) { c.Workers.Revoke = 2 })

	stuck := newGate()
	w.t.Cleanup(func() { close(stuck.open) })
	w.sim.SetHook(stuckAt(stuck, "DetachUserPolicy"))
	for _, l := range leases[:4] {
		w.publish(w.ns.Revoke(nameOf(w, l)), "")
	}
	w.arrives("one is being tidied up, and does not get on", stuck)
	w.publish(w.ns.Revoke(nameOf(w, leases[4])), "")
	w.eventually("all keys are dead", func() bool {
		for _, l := range leases {
			if w.works(l.Credentials) {
				return false
			}
		}
		return true
	})
}

// Where a try has failed, the user's own policy may be all that holds the key back:
// it goes after the key.
func TestAfterAFailedTryThePolicyGoesAfterTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	lease := w.lease("ci", "{}")
	w.quiet()
	var failing atomic.Bool
	failing.Store(true)
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" && failing.Load() {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500}
		}
		return iamsim.Verdict{}
	})
	w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	for tries := 1; tries < 3; tries++ {
		if w.works(lease.Credentials) {
			t.Fatalf("after %d tries the key works", tries)
		}
		w.sim.ResetCalls()
		w.clock.move(time.Minute)
		w.eventually("one more try", func() bool {
			rec, _ := w.record(lease.Lease.Name)
			return rec.TeardownTries > tries
		})
		for _, c := range w.sim.Calls() {
			if c.Action != "DeleteAccessKey" && c.Action != "PutUserPolicy" {
				t.Errorf("%s, and the key is alive", c.Action)
			}
		}
	}
	failing.Store(false)
	w.clock.move(time.Hour)
	w.over(lease, messages.ReasonRequested)
}

// A mass of requests takes the calls that it needs, though AWS throttles some that
// come together: what is done is not done again.
func TestThrottledRequestsRepeatNothingThatIsDone(t *testing.T) {
	t.Parallel()
	const leases, throttled = 32, 16
	w := newWorld(t)
	w.put(w.broker(w.paced(0)), plainSecret)
	w.lease("ci", "{}")
	var left atomic.Int64
	left.Store(throttled)
	together := make(chan struct{})
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			return iamsim.Verdict{}
		}
		switch n := left.Add(-1); {
		case n < 0:
			return iamsim.Verdict{}
		case n == 0:
			close(together)
		}
		<-together
		return iamsim.Verdict{Do: iamsim.Fail, Status: 400, Code: "Throttling"}
	})
	w.sim.ResetCalls()
	w.leaseMany(leases)
	done, refused := map[string]int{}, 0
	for _, c := range w.sim.Calls() {
		if c.Code == "Throttling" {
			refused++
		} else {
			done[c.Action]++
		}
	}
	total := 0
	for _, n := range done {
		total += n
	}
	if refused != throttled || done["CreateAccessKey"] != leases || total > leases*callsPerLease*5/4 {
		t.Errorf("%d leases took %v, and %d calls were throttled", leases, done, refused)
	}
}

// Whoever can't be served by its deadline is told at once, and nothing is created.
func TestADeadlineThatCannotBeMetIsToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.crowded(2)
	defer b.die()
	w.put(b, plainSecret)
	const others = 8 // which take 20 s
	for range others {
		w.publish(w.ns.Request("alice", "ci"), "{}")
	}
	w.eventually("others wait", func() bool { return len(w.records()) == others })
	deadline := time.Now().Add(10 * time.Second)
	r := w.ask("ci", fmt.Sprintf(`{"deadline":%q}`, deadline.UTC().Format(time.RFC3339Nano)))
	if left := time.Until(deadline); left < 5*time.Second {
		t.Errorf("it was told %s before the deadline", left)
	}
	w.refused(r, messages.CodeDeadlineExceeded)
	if !r.Error.Retryable || r.Lease.State != messages.StateFailed {
		t.Errorf("answered %+v, %+v", r.Error, r.Lease)
	}
	for _, u := range w.sim.Users() {
		if u.Name == r.Lease.Username {
			t.Error("a user was made")
		}
	}
}

// A stop waits for no tidying: that is another broker's at once, and no failure.
func TestAStopLeavesTheTidyingToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leases := w.leftBehind(2, "{}")
	slow := w.crowded(9.9, func(c *consumer.Config) { c.Workers.Revoke = 2 })
	stuck := newGate()
	w.sim.SetHook(stuckAt(stuck, "DetachUserPolicy"))
	var answers []*nats.Subscription
	for _, l := range leases {
		answers = append(answers, w.publish(w.ns.Revoke(nameOf(w, l)), ""))
	}
	w.keyGone(leases...)
	w.arrives("one has a slot, and the other waits for it", stuck)
	slow.sched.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := slow.Stop(ctx); err != nil {
		t.Error(err)
	}
	w.sim.SetHook(nil)
	w.broker()
	for _, a := range answers {
		if r, _ := w.answer(a); r.Kind != messages.KindRevoked {
			t.Errorf("answered %+v %v", r, r.Error)
		}
	}
	w.nothingInAWS()
	if n := w.lines("the teardown failed"); n > 0 {
		t.Errorf("%d failures", n)
	}
}

// Where too many wait to be tidied up, others come again, and nothing is written.
func TestWhatIsTidiedUpLaterWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leftBehind(1, "{}")[0]
	w.crowded(9.9, func(c *consumer.Config) { c.Workers.MaxCleanups = -1 })
	w.publishFor("", w.ns.Revoke(nameOf(w, lease)), "")
	w.keyGone(lease)
	before, _ := w.record(lease.Lease.Name)
	w.clock.move(10 * time.Second)
	w.eventually("it is left for later", func() bool { return w.lines("too many cleanups wait") > 0 })
	if after, _ := w.record(lease.Lease.Name); !after.Due.Equal(before.Due) {
		t.Errorf("it was due at %s and is at %s", before.Due, after.Due)
	}
}

// The Deny of a session that has expired is tidied up like a user.
func TestTidyingUpASessionHoldsNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker(func(c *consumer.Config) { c.Workers.Revoke = 1 })
	w.put(b, strings.Replace(denying(sessionSecret), `"name":"ci"`, `"name":"role"`, 1))
	w.put(b, plainSecret)
	w.sessionRole()
	session := w.lease("role", "{}")
	w.quiet()
	if r, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, session)), "")); r.Kind != messages.KindRevoked {
		t.Fatalf("answered %+v %v", r, r.Error)
	}
	stuck := newGate()
	w.sim.SetHook(stuckAt(stuck, "DeleteRolePolicy"))
	w.clock.move(2 * time.Hour)
	w.arrives("the Deny is being tidied up", stuck)
	user := w.lease("ci", "{}")
	w.answer(w.publish(w.ns.Revoke(nameOf(w, user)), ""))
	if n := len(w.sim.RolePolicies("deploy")); w.works(user.Credentials) || n != 2 {
		t.Errorf("the key works, or the Deny is gone: %d policies", n)
	}
	close(stuck.open)
	w.state(session.Lease.Name, messages.StateRevoked)
	w.told(session.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// A key that is deleted in the end was the failure: what waits then is none. And nobody
// can renew the lease.
func TestOnceTheKeyIsGoneNothingFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leftBehind(1, "{}")[0]
	w.crowded(9.9)
	w.denies("DeleteAccessKey")
	w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), ""))
	if rec, _ := w.record(lease.Lease.Name); !rec.Failing() {
		t.Fatalf("it does not fail: %+v", rec)
	}
	w.sim.SetHook(nil)
	w.clock.move(time.Minute)
	w.keyGone(lease)
	if rec, _ := w.record(lease.Lease.Name); rec.Failing() {
		t.Errorf("it fails: %s", rec.TeardownError)
	}
	r, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"1h"}`))
	w.refused(r, messages.CodeLeaseEnded)
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRejected)
}

// Nobody confirmed, and AWS takes no more calls: each event is told once.
func TestUnderBacklogAnUndeliveredLeaseIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leftBehind(1, `{"confirm":true}`)[0]
	slow := w.crowded(9.9)
	w.clock.move(time.Minute)
	w.keyGone(lease)
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventUndelivered)
	slow.stop()
	w.broker()
	w.clock.move(10 * time.Second)
	w.over(lease, messages.ReasonUndelivered)
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}
