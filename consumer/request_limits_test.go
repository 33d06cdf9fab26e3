package consumer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestSecretLimitsItsLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, `{"name":"ci","max_leases":3,"max_leases_per_identity":2,"aws":{}}`)
	counted := func(n int) {
		t.Helper()
		w.Eventually("the index has the leases", func() bool {
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
		t.Fatalf("a refusal made %d calls", len(calls))
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

// requestBy requests a lease of ci for an identity, through the API or directly.
func (w *world) requestBy(identity string, api bool, header ...string) messages.Reply {
	w.T.Helper()
	if api {
		return w.Call(w.Conn, w.Namespace.API("request", identity, "ci"), "", header...)
	}
	r, _ := w.Answer(w.Publish(w.Namespace.Request(identity, "ci"), "", header...))
	return r
}

func TestSecretLimitsTheRequestRateOfAnIdentity(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprint("through the API: ", api), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.Broker()
			w.Put(b, `{"name":"ci","max_requests_per_minute":3,"aws":{}}`)
			w.WaitLoaded(b)
			keyed := w.requestBy("alice", api, messages.HeaderIdempotencyKey, "k")
			for range 2 {
				w.WantKind(w.requestBy("alice", api), messages.KindCredentials)
			}
			w.WaitQueuesEmpty()
			records := len(w.Records())
			w.Sim.ResetCalls()
			for _, header := range [][]string{nil, {messages.HeaderIdempotencyKey, "new"}} {
				r := w.requestBy("alice", api, header...)
				w.WantError(r, messages.CodeRateExceeded)
				if e := r.Error; !e.Retryable || e.RetryAfter.Std() <= 0 || e.RetryAfter.Std() > time.Minute ||
					!strings.Contains(e.Message, "3 requests of alice for ci a minute; ask again in "+e.RetryAfter.String()) {
					t.Errorf("%+v", e)
				}
			}
			if n, calls := len(w.Records()), w.Sim.Calls(); n != records || len(calls) > 0 {
				t.Errorf("refusals made %d records and %d calls", n-records, len(calls))
			}
			// A repeat begins no lease.
			w.WantError(w.requestBy("alice", api, messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
			if r := w.requestBy("bob", api); r.Kind != messages.KindCredentials {
				t.Errorf("bob is limited by alice's requests: %v", r.Error)
			}
			// An ended lease counts, too.
			w.Revoke(keyed)
			w.WantError(w.requestBy("alice", api), messages.CodeRateExceeded)
			w.Clock.Advance(time.Minute)
			if r := w.requestBy("alice", api); r.Kind != messages.KindCredentials {
				t.Errorf("a minute later: %v", r.Error)
			}
		})
	}
}

func TestBrokersRateLimitIsForSecretsWithoutOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.MaxRequestsPerMinute = 1 })
	w.Put(b, lessortest.Secret)
	w.Put(b, `{"name":"free","max_requests_per_minute":100}`)
	w.WaitLoaded(b)
	w.Lease("ci", "{}")
	w.WantError(w.Request("ci", "{}"), messages.CodeRateExceeded)
	w.Lease("free", "{}")
	w.Lease("free", "{}")
}

// TestLimitsHoldAcrossReplicas: above a limit there are at most as many leases as the
// other replicas handle requests when it is reached.
func TestLimitsHoldAcrossReplicas(t *testing.T) {
	t.Parallel()
	const most, workers, replicas = 20, 3, 2
	for limit, code := range map[string]messages.Code{
		"max_requests_per_minute": messages.CodeRateExceeded,
		"max_leases":              messages.CodeLimitExceeded,
		"max_leases_per_identity": messages.CodeLimitExceeded,
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for range replicas {
				b := w.Broker(func(c *consumer.Config) { c.Workers.Request = workers })
				w.WaitLoaded(b)
			}
			w.Put(w.Broker(func(c *consumer.Config) { c.Workers.Request = workers }), `{"name":"ci","`+limit+`":`+fmt.Sprint(most)+`,"aws":{}}`)
			var subs []*nats.Subscription
			for range 4 * most {
				subs = append(subs, w.Publish(w.Namespace.Request("alice", "ci"), "{}"))
			}
			made := 0
			for _, s := range subs {
				switch r, _ := w.Answer(s); {
				case r.Kind == messages.KindCredentials:
					made++
				case r.Error.Code != code || r.Error.RetryAfter <= 0:
					t.Errorf("%+v", r.Error)
				}
			}
			if made < most || made > most+(replicas+1)*workers {
				t.Errorf("%d leases were made, the limit is %d", made, most)
			}
			if n := w.Sim.UserCount(); n != made {
				t.Errorf("%d users for %d leases", n, made)
			}
		})
	}
}

// TestRateLimitSurvivesARestart: the rate is counted from the records.
func TestRateLimitSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, `{"name":"ci","max_requests_per_minute":2,"aws":{}}`)
	w.WaitLoaded(first)
	w.Lease("ci", "{}")
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	first.Close()
	w.Broker()
	w.WantError(w.Request("ci", "{}"), messages.CodeRateExceeded)
}

// TestQueueLimitIsPerIdentityAndSecret: NATS stores only so many waiting requests of
// one identity for one secret.
func TestQueueLimitIsPerIdentityAndSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	b.Close()
	fill := func(identity string) (stored int) {
		var acks []jetstream.PubAckFuture
		for range 4096 + 10 {
			f, err := w.JS.PublishAsync(w.Namespace.Request(identity, "ci"), nil)
			w.NoError(err)
			acks = append(acks, f)
		}
		for _, f := range acks {
			select {
			case <-f.Ok():
				stored++
			case err := <-f.Err():
				var api *jetstream.APIError
				if !errors.As(err, &api) || !strings.Contains(api.Description, "per subject") {
					t.Fatal(err)
				}
			}
		}
		return stored
	}
	if n := fill("alice"); n != 4096 {
		t.Errorf("%d requests of alice were stored", n)
	}
	_, err := w.JS.Publish(w.Context(), w.Namespace.Request("bob", "ci"), nil)
	w.NoError(err)
}
