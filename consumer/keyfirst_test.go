package consumer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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

// Whoever orders a revocation is told when everything is gone, and the key is dead
// long before.
func TestUnderBacklogARevocationIsAnsweredAtItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	lease := w.lease("ci", "{}")
	w.quiet()
	first.stop()
	w.crowded(9.9)
	answers := w.publish(w.ns.Revoke(nameOf(w, lease)), "")
	w.eventually("the key is dead, and that is written down", func() bool {
		rec, _ := w.record(lease.Lease.Name)
		return !rec.KeyGoneAt.IsZero()
	})
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
	first := w.broker()
	w.put(first, plainSecret)
	var leases []messages.Reply
	for range 5 {
		leases = append(leases, w.lease("ci", "{}"))
	}
	w.quiet()
	first.stop()
	w.crowded(9.9, func(c *consumer.Config) { c.Workers.Revoke = 2 })

	stuck, free := make(chan struct{}, 100), make(chan struct{})
	w.t.Cleanup(func() { close(free) })
	w.sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DetachUserPolicy" {
			stuck <- struct{}{}
			select {
			case <-free:
			case <-ctx.Done():
			}
		}
		return iamsim.Verdict{}
	})
	for _, l := range leases[:4] {
		w.publish(w.ns.Revoke(nameOf(w, l)), "")
	}
	<-stuck // one is being tidied up, and does not get on
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
			return rec.UndoTries > tries
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

// A mass of requests takes the calls that it needs, though AWS throttles: what is
// done is not done again.
func TestThrottledRequestsRepeatNothingThatIsDone(t *testing.T) {
	t.Parallel()
	const leases = 100
	w := newWorld(t)
	w.put(w.broker(w.paced(0)), plainSecret)
	w.lease("ci", "{}")
	w.sim.SetFaults(iamsim.Faults{Rate: 500, Burst: 50})
	w.sim.ResetCalls()
	w.leaseMany(leases)
	done := map[string]int{}
	throttled := 0
	for _, c := range w.sim.Calls() {
		if c.Code == "Throttling" {
			throttled++
		} else {
			done[c.Action]++
		}
	}
	t.Logf("%v, and %d throttled", done, throttled)
	total := 0
	for _, n := range done {
		total += n
	}
	if done["CreateAccessKey"] != leases || total > leases*callsPerLease*11/10 || throttled > leases*callsPerLease/4 {
		t.Errorf("%d leases took %v, and %d calls were throttled", leases, done, throttled)
	}
	w.sim.SetFaults(iamsim.Faults{})
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
