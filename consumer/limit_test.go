package consumer_test

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestASecretLimitsItsLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, `{"name":"ci","max_leases":3,"max_leases_per_identity":2,"aws":{}}`)
	counted := func(n int) {
		t.Helper()
		w.Eventually("the leases are counted", func() bool {
			_, all, known := b.Scheduler.Live("alice", "ci")
			return known && all == n
		})
	}
	first := w.Lease("ci", "{}")
	counted(1)
	w.Lease("ci", "{}")
	counted(2)
	w.Sim.ResetCalls()
	r := w.Request("ci", "{}")
	w.WantError(r, messages.CodeLimitExceeded)
	if calls := w.Sim.Calls(); len(calls) > 0 {
		t.Fatalf("a refusal cost %d calls", len(calls))
	}
	if !strings.Contains(r.Error.Message, "the limit is 2") || !r.Error.Retryable {
		t.Fatalf("%+v", r.Error)
	}
	w.WantKind(w.requestAs("bob"), messages.KindCredentials)
	counted(3)
	w.WantError(w.requestAs("carol"), messages.CodeLimitExceeded)
	w.Revoke(first)
	counted(2)
	w.Lease("ci", "{}")
}
