package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// TestRepeatIsAnsweredAtItsDeadlineDuringATeardown repeats a request while the teardown
// of its first attempt fails.
func TestRepeatIsAnsweredAtItsDeadlineDuringATeardown(t *testing.T) {
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
		t.Fatalf("no answer at the deadline: %v", err)
	}
}

// TestRepeatIsAnsweredAtItsDeadlineDuringProvisioning repeats a request while AWS fails
// the calls of the first attempt.
func TestRepeatIsAnsweredAtItsDeadlineDuringProvisioning(t *testing.T) {
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
	w.Eventually("the lease is begun", func() bool { return len(w.Records()) == 1 })
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderIdempotencyKey, "k",
		messages.HeaderDeadline, w.Clock.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("no answer at the deadline: %v", err)
	}
}

func TestKeyIsNotDeliveredAfterTheDeadline(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m)
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderDeadline, time.Now().Add(100*time.Second).UTC().Format(time.RFC3339))
	w.Eventually("the broker has crashed", m.Crashed)
	b.Kill()
	w.Clock.Advance(5 * time.Minute)
	cfg := w.Config(w.Connect())
	c, err := consumer.New(w.Context(), cfg)
	w.NoError(err)
	w.NoError(c.Start(w.Context()))
	defer func() { _ = c.Stop(w.Context()) }()
	answer, _ := w.Answer(sub)
	if answer.Kind == messages.KindCredentials {
		t.Fatalf("a key was delivered at %s; the lease ended at %s", w.Clock.Now(), answer.Lease.ExpiresAt)
	}
}

func TestRequestIsAnsweredIfItsLeaseExpiredBeforeDelivery(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body)
	w.Eventually("the broker has crashed", m.Crashed)
	b.Kill()
	w.Clock.Advance(5 * time.Minute)
	w.Broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.WaitQueuesEmpty()
	if msg, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("the message left the queue without an answer: %v; the lease ended because of %+v", err, w.Records()[0].Reason)
	} else {
		t.Logf("%s", msg.Data[:60])
	}
}

// TestUnreachableDeadlineIsRefusedAtOnce: AWS takes so few calls that the request would
// be served after its deadline. Nothing is created for it.
func TestUnreachableDeadlineIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.slowBroker(2)
	defer b.Kill()
	w.Put(b, lessortest.Secret)
	const others = 8 // which take AWS 20 s
	for range others {
		w.Publish(w.Namespace.Request("alice", "ci"), "{}")
	}
	w.Eventually("the other requests have begun", func() bool { return len(w.Records()) == others })
	deadline := time.Now().Add(10 * time.Second)
	r := w.Request("ci", fmt.Sprintf(`{"deadline":%q}`, deadline.UTC().Format(time.RFC3339Nano)))
	if left := time.Until(deadline); left < 5*time.Second {
		t.Errorf("the answer came only %s before the deadline", left)
	}
	w.WantError(r, messages.CodeDeadlineExceeded)
	if !r.Error.Retryable || r.Lease.State != messages.StateFailed {
		t.Errorf("answered %+v, %+v", r.Error, r.Lease)
	}
	for _, u := range w.Sim.Users() {
		if u.Name == r.Lease.Username {
			t.Error("a user was created")
		}
	}
}
