package consumer_test

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestASecretLimitsItsLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, `{"name":"ci","max_leases":3,"max_leases_per_identity":2,"aws":{}}`)
	counted := func(n int) {
		t.Helper()
		w.eventually("the leases are counted", func() bool {
			_, all, known := b.sched.Live("alice", "ci")
			return known && all == n
		})
	}
	first := w.lease("ci", "{}")
	counted(1)
	w.lease("ci", "{}")
	counted(2)
	w.sim.ResetCalls()
	r := w.ask("ci", "{}")
	w.refused(r, messages.CodeLimitExceeded)
	if calls := w.sim.Calls(); len(calls) > 0 {
		t.Fatalf("a refusal cost %d calls", len(calls))
	}
	if !strings.Contains(r.Error.Message, "the limit is 2") || !r.Error.Retryable {
		t.Fatalf("%+v", r.Error)
	}
	bob := w.publish(w.ns.Request("bob", "ci"), "{}")
	if a, _ := w.answer(bob); a.Kind != messages.KindCredentials {
		t.Fatalf("%+v %v", a, a.Error)
	}
	counted(3)
	carol, _ := w.answer(w.publish(w.ns.Request("carol", "ci"), "{}"))
	w.refused(carol, messages.CodeLimitExceeded)
	w.answer(w.publish(w.ns.Revoke(nameOf(w, first)), ""))
	counted(2)
	w.lease("ci", "{}")
}
