package consumer_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestLeaseIsIssuedRenewedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)

	r := w.Lease("ci", `{"ttl":"15m","labels":{"job":"7"}}`)
	if !w.Works(r.Credentials) {
		t.Fatal("the delivered key does not work")
	}
	rec := w.WaitState(r.Lease.Name, messages.StateActive)
	if rec.Lease().Labels["job"] != "7" || rec.TTL.String() != "15m" {
		t.Fatalf("the record does not have what was requested: %+v", rec)
	}
	w.Eventually("the delivery is settled", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.Settled()
	})

	name, err := messages.ParseLeaseName(r.Lease.Name)
	w.NoError(err)
	renewed, _ := w.Answer(w.Publish(w.Namespace.Renew(name), `{"ttl":"2h"}`))
	if renewed.Kind != messages.KindRenewed || renewed.Lease.Renewals != 1 {
		t.Fatalf("not renewed: %+v", renewed)
	}
	w.Clock.Advance(time.Hour)
	if !w.Works(r.Credentials) {
		t.Fatal("the key of a renewed lease does not work after its first end")
	}

	revoked, _ := w.Answer(w.Publish(w.Namespace.Revoke(name), `{"reason":"job done"}`))
	if revoked.Kind != messages.KindRevoked || revoked.Lease.State != messages.StateRevoked {
		t.Fatalf("not revoked: %+v", revoked)
	}
	if w.Works(r.Credentials) {
		t.Fatal("the key works after its revocation")
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
}

func TestLeaseExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"10m"}`)
	w.Clock.Advance(9 * time.Minute)
	if !w.Works(r.Credentials) {
		t.Fatal("the key does not work before the lease's end")
	}
	w.Clock.Advance(time.Minute)
	rec := w.WaitState(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonExpired {
		t.Fatalf("the lease ended because of %s", rec.Reason)
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

func TestLeaseOutlivesItsDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.SecretBucket())
	w.NoError(err)
	w.NoError(kv.Delete(w.Context(), "ci"))
	w.Eventually("no leases are issued", func() bool {
		a := w.Request("ci", "{}")
		return a.Kind == messages.KindError && a.Error.Code == messages.CodeSecretNotFound
	})
	w.WantKind(w.Renew(r, `{"ttl":"2h"}`), messages.KindRenewed)
	w.WantActive(r)
	w.Clock.Advance(2 * time.Hour)
	w.WaitRevoked(r, messages.ReasonExpired)
	w.WaitQueuesEmpty()
}

// TestLeaseCostsFiveCallsInTwoRoundTrips: to issue it and to end it, with one group,
// one managed policy, one inline policy and a hard expiry.
func TestLeaseCostsFiveCallsInTwoRoundTrips(t *testing.T) {
	const latency = 50 * time.Millisecond
	tries := 40
	if raceDetector {
		tries = 3 // the detector takes time: only the calls and their depth are checked
	}
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	first := w.Lease("ci", "{}") // opens the connections
	w.Revoke(first)
	w.WaitQueuesEmpty()
	w.Sim.SetFaults(iamsim.Faults{Latency: latency})

	// The best of several: the machine may be busy.
	measure := func(what string, do func()) {
		t.Helper()
		best := time.Hour
		for try := 0; try < tries && float64(best) > 2.3*float64(latency); try++ {
			w.Sim.ResetCalls()
			begun := time.Now()
			do()
			best = min(best, time.Since(begun))
			calls := w.Sim.Calls()
			if depth := iamsim.Depth(calls); len(calls) != 5 || depth != 2 {
				for _, c := range calls {
					t.Logf("%s %s", c.Action, c.Code)
				}
				t.Fatalf("%s: %d calls, %d one after another", what, len(calls), depth)
			}
			w.WaitQueuesEmpty()
		}
		t.Logf("%s: %.2f round trips", what, float64(best)/float64(latency))
		if float64(best) > 2.3*float64(latency) && !raceDetector {
			t.Errorf("%s took %s, more than 2.3 round trips of %s", what, best, latency)
		}
	}
	var leases []messages.Reply
	for range tries {
		leases = append(leases, w.Lease("ci", "{}"))
	}
	measure("issue", func() { w.Lease("ci", "{}") })
	measure("revoke", func() {
		w.Revoke(leases[0])
		leases = leases[1:]
	})
}
