package consumer_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// slowBroker starts a broker that makes few calls to AWS a second, and one at once, so
// that calls wait as soon as another is made.
func (w *world) slowBroker(perSecond float64, change ...func(*consumer.Config)) *lessortest.Broker {
	w.T.Helper()
	return w.Broker(append([]func(*consumer.Config){w.paced(perSecond), func(c *consumer.Config) {
		c.RetryMin, c.RetryMax = 20*time.Millisecond, 200*time.Millisecond
	}}, change...)...)
}

// waitKeysDeleted waits until the records say that the leases' keys are deleted.
func (w *world) waitKeysDeleted(leases ...messages.Reply) {
	w.T.Helper()
	for _, l := range leases {
		w.Eventually("the record has the deletion of the key", func() bool {
			rec, _ := w.Record(l.Lease.Name)
			return !rec.KeyDeletedAt.IsZero()
		})
	}
}

// TestRevocationIsAnsweredWhenTheUserIsGone: with a backlog of calls the key is deleted
// long before.
func TestRevocationIsAnsweredWhenTheUserIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leasesWithoutBroker(1, "{}")[0]
	w.slowBroker(9.9)
	answers := w.Publish(w.Namespace.Revoke(w.NameOf(lease)), "")
	w.waitKeysDeleted(lease)
	if w.Works(lease.Credentials) || w.Sim.UserCount() != 1 {
		t.Fatal("the key works, or the user is deleted already")
	}
	r, _ := w.Answer(answers)
	if r.Kind != messages.KindRevoked || w.Sim.UserCount() != 0 {
		t.Fatalf("the answer is %+v %v, and there are %d users", r, r.Error, w.Sim.UserCount())
	}
	w.WaitEvents(lease.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

func TestCleanupHoldsNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leases := w.leasesWithoutBroker(5, "{}")
	w.slowBroker(9.9, func(c *consumer.Config) { c.Workers.Revoke = 2 })

	stuck := lessortest.NewGate()
	w.T.Cleanup(func() { stuck.Open() })
	w.Sim.SetHook(stuck.Hook("DetachUserPolicy"))
	for _, l := range leases[:4] {
		w.Publish(w.Namespace.Revoke(w.NameOf(l)), "")
	}
	stuck.WaitArrival(w.T, "a cleanup waits for AWS")
	w.Publish(w.Namespace.Revoke(w.NameOf(leases[4])), "")
	w.Eventually("no key works", func() bool {
		for _, l := range leases {
			if w.Works(l.Credentials) {
				return false
			}
		}
		return true
	})
}

// TestPolicyIsRemovedAfterTheKeyIfATeardownFailed: while the key can't be deleted, the
// Deny in the user's policy may be all that keeps it from being used.
func TestPolicyIsRemovedAfterTheKeyIfATeardownFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	var failing atomic.Bool
	failing.Store(true)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" && failing.Load() {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500}
		}
		return iamsim.Verdict{}
	})
	w.Revoke(lease)
	for tries := 1; tries < 3; tries++ {
		if w.Works(lease.Credentials) {
			t.Fatalf("after %d attempts the key works", tries)
		}
		w.Sim.ResetCalls()
		w.Clock.Advance(time.Minute)
		w.Eventually("one more attempt", func() bool {
			rec, _ := w.Record(lease.Lease.Name)
			return rec.TeardownTries > tries
		})
		for _, c := range w.Sim.Calls() {
			if c.Action != "DeleteAccessKey" && c.Action != "PutUserPolicy" {
				t.Errorf("%s was called, and the key is not deleted", c.Action)
			}
		}
	}
	failing.Store(false)
	w.Clock.Advance(time.Hour)
	w.WaitRevoked(lease, messages.ReasonRequested)
}

// TestStopLeavesCleanupToOtherReplicas: a stop waits for no cleanup, and that is no
// failed teardown.
func TestStopLeavesCleanupToOtherReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leases := w.leasesWithoutBroker(2, "{}")
	slow := w.slowBroker(9.9, func(c *consumer.Config) { c.Workers.Revoke = 2 })
	stuck := lessortest.NewGate()
	w.Sim.SetHook(stuck.Hook("DetachUserPolicy"))
	var answers []*nats.Subscription
	for _, l := range leases {
		answers = append(answers, w.Publish(w.Namespace.Revoke(w.NameOf(l)), ""))
	}
	w.waitKeysDeleted(leases...)
	stuck.WaitArrival(w.T, "one cleanup runs, and the other waits for it")
	slow.Scheduler.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := slow.Stop(ctx); err != nil {
		t.Error(err)
	}
	w.Sim.SetHook(nil)
	w.Broker()
	for _, a := range answers {
		if r, _ := w.Answer(a); r.Kind != messages.KindRevoked {
			t.Errorf("the answer is %+v %v", r, r.Error)
		}
	}
	w.WaitNoUsers()
	if n := w.Logs.Count("the teardown failed"); n > 0 {
		t.Errorf("%d teardowns failed", n)
	}
}

// TestDeferredCleanupWritesNothing: if too many cleanups wait, the message is
// redelivered later.
func TestDeferredCleanupWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leasesWithoutBroker(1, "{}")[0]
	w.slowBroker(9.9, func(c *consumer.Config) { c.Workers.MaxCleanups = -1 })
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(lease)), "")
	w.waitKeysDeleted(lease)
	before, _ := w.Record(lease.Lease.Name)
	w.Clock.Advance(10 * time.Second)
	w.Eventually("the cleanup is deferred", func() bool { return w.Logs.Count("too many cleanups wait") > 0 })
	if after, _ := w.Record(lease.Lease.Name); !after.Due.Equal(before.Due) {
		t.Errorf("the lease was due at %s and is due at %s", before.Due, after.Due)
	}
}

func TestCleanupOfASessionHoldsNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.Workers.Revoke = 1 })
	w.Put(b, strings.Replace(denying(sessionSecret), `"name":"ci"`, `"name":"role"`, 1))
	w.Put(b, lessortest.Secret)
	w.sessionRole()
	session := w.Lease("role", "{}")
	w.WaitQueuesEmpty()
	w.WantKind(w.Revoke(session), messages.KindRevoked)
	stuck := lessortest.NewGate()
	w.Sim.SetHook(stuck.Hook("DeleteRolePolicy"))
	w.Clock.Advance(2 * time.Hour)
	stuck.WaitArrival(w.T, "the removal of the Deny waits for AWS")
	user := w.Lease("ci", "{}")
	w.Revoke(user)
	if n := len(w.Sim.RolePolicies("deploy")); w.Works(user.Credentials) || n != 2 {
		t.Errorf("the key works, or the Deny is removed: %d policies", n)
	}
	stuck.Open()
	w.WaitState(session.Lease.Name, messages.StateRevoked)
	w.WaitEvents(session.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// TestTeardownDoesNotFailOnceTheKeyIsDeleted: a cleanup that waits is no failure, and
// the lease can't be renewed.
func TestTeardownDoesNotFailOnceTheKeyIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leasesWithoutBroker(1, "{}")[0]
	w.slowBroker(9.9)
	w.Deny("DeleteAccessKey")
	w.Revoke(lease)
	if rec, _ := w.Record(lease.Lease.Name); !rec.Failing() {
		t.Fatalf("the teardown does not fail: %+v", rec)
	}
	w.Sim.SetHook(nil)
	w.Clock.Advance(time.Minute)
	w.waitKeysDeleted(lease)
	if rec, _ := w.Record(lease.Lease.Name); rec.Failing() {
		t.Errorf("the teardown fails: %s", rec.TeardownError)
	}
	r := w.Renew(lease, `{"ttl":"1h"}`)
	w.WantError(r, messages.CodeLeaseEnded)
	w.WaitEvents(lease.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRejected)
}

// TestUndeliveredLeaseHasEachEventOnce: its cleanup is given back and taken over by
// another broker.
func TestUndeliveredLeaseHasEachEventOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := w.leasesWithoutBroker(1, `{"confirm":true}`)[0]
	slow := w.slowBroker(9.9)
	w.Clock.Advance(time.Minute)
	w.waitKeysDeleted(lease)
	w.WaitEvents(lease.Lease.Name, messages.EventIssued, messages.EventUndelivered)
	slow.Close()
	w.Broker()
	w.Clock.Advance(10 * time.Second)
	w.WaitRevoked(lease, messages.ReasonUndelivered)
	w.WaitEvents(lease.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}
