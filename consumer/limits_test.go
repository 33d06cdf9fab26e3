package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// askAs requests a lease of ci for an identity, at the front door or directly.
func (w *world) askAs(identity string, door bool, header ...string) messages.Reply {
	w.T.Helper()
	if door {
		return w.Call(w.Conn, w.Namespace.API("request", identity, "ci"), "", header...)
	}
	r, _ := w.Answer(w.Publish(w.Namespace.Request(identity, "ci"), "", header...))
	return r
}

func TestASecretLimitsTheRateOfAnIdentity(t *testing.T) {
	t.Parallel()
	for _, door := range []bool{true, false} {
		t.Run(fmt.Sprint("at the door: ", door), func(t *testing.T) {
			w := newWorld(t)
			b := w.Broker()
			w.Put(b, `{"name":"ci","max_requests_per_minute":3,"aws":{}}`)
			w.WaitLoaded(b)
			keyed := w.askAs("alice", door, messages.HeaderIdempotencyKey, "k")
			for range 2 {
				w.WantKind(w.askAs("alice", door), messages.KindCredentials)
			}
			w.WaitQueuesEmpty()
			records := len(w.Records())
			w.Sim.ResetCalls()
			for _, header := range [][]string{nil, {messages.HeaderIdempotencyKey, "new"}} {
				r := w.askAs("alice", door, header...)
				w.WantError(r, messages.CodeRateExceeded)
				if e := r.Error; !e.Retryable || e.RetryAfter.Std() <= 0 || e.RetryAfter.Std() > time.Minute ||
					!strings.Contains(e.Message, "3 requests of alice for ci a minute; ask again in "+e.RetryAfter.String()) {
					t.Errorf("%+v", e)
				}
			}
			if n, calls := len(w.Records()), w.Sim.Calls(); n != records || len(calls) > 0 {
				t.Errorf("refusals made %d records and cost %d calls", n-records, len(calls))
			}
			// A repeat begins nothing.
			w.WantError(w.askAs("alice", door, messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
			if r := w.askAs("bob", door); r.Kind != messages.KindCredentials {
				t.Errorf("bob pays for alice: %v", r.Error)
			}
			// An ended lease counts all the same.
			w.Revoke(keyed)
			w.WantError(w.askAs("alice", door), messages.CodeRateExceeded)
			w.Clock.Advance(time.Minute)
			if r := w.askAs("alice", door); r.Kind != messages.KindCredentials {
				t.Errorf("a minute later: %v", r.Error)
			}
		})
	}
}

func TestTheBrokersRateIsForSecretsWithoutOne(t *testing.T) {
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

// TestLimitsHoldAcrossReplicas: more comes through than a limit allows only by what the
// other replicas have in hand when it is met.
func TestLimitsHoldAcrossReplicas(t *testing.T) {
	t.Parallel()
	const most, workers, replicas = 20, 3, 2
	for limit, code := range map[string]messages.Code{
		"max_requests_per_minute": messages.CodeRateExceeded,
		"max_leases":              messages.CodeLimitExceeded,
		"max_leases_per_identity": messages.CodeLimitExceeded,
	} {
		t.Run(limit, func(t *testing.T) {
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
				t.Errorf("%d were made, the limit is %d", made, most)
			}
			if n := w.Sim.UserCount(); n != made {
				t.Errorf("%d users of %d leases", n, made)
			}
		})
	}
}

// TestARateOutlivesItsBroker: it is made of the records.
func TestARateOutlivesItsBroker(t *testing.T) {
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

// TestAFloodingIdentityKeepsNobodyOut: alice takes all the places that she can get and
// all the workers, and bob is served at once.
func TestAFloodingIdentityKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	alices, bobs := w.askAs("alice", false), w.askAs("bob", false)
	var names []string
	for range 8 { // each lease has one pending renewal and a line of those who wait
		names = append(names, w.askAs("alice", false).Lease.Name)
	}
	names = append(names, alices.Lease.Name)
	w.WaitQueuesEmpty()
	release := make(chan struct{}) // until then renewals stay pending
	w.Sim.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict { <-release; return iamsim.Verdict{} })
	defer close(release)
	inbox := w.Conn.NewInbox()
	sub, err := w.Conn.SubscribeSync(inbox)
	w.NoError(err)
	const share, flood = 256, 400
	for i := range flood {
		w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew")+"."+names[i%len(names)], inbox, []byte(`{"ttl":"2h"}`)))
	}
	told := 0
	for told < flood-share-len(names)-8 { // the others have a place, or wait on the stream
		r, _ := w.Answer(sub)
		w.WantError(r, messages.CodeUnavailable)
		if r.Error.RetryAfter != messages.Duration(time.Second) || !strings.Contains(r.Error.Message, "of this identity") {
			t.Fatalf("%+v", r.Error)
		}
		told++
	}
	if r := w.Call(w.Conn, w.Namespace.API("get")+"."+bobs.Lease.Name, ""); r.Kind != messages.KindLease {
		t.Fatalf("bob: %v", r.Error)
	}
}

// TestAnIdentityFillsTheQueueForItselfAlone: NATS takes only so many waiting requests of
// one identity for one secret, whoever publishes them.
func TestAnIdentityFillsTheQueueForItselfAlone(t *testing.T) {
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
		t.Errorf("%d of alice's requests wait", n)
	}
	_, err := w.JS.Publish(w.Context(), w.Namespace.Request("bob", "ci"), nil)
	w.NoError(err)
}

// TestNobodyIsCalledAsLessorIs: leases and events under those names are not a
// requester's.
func TestNobodyIsCalledAsLessorIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	var asked sync.WaitGroup
	for _, identity := range []string{"_check", "_admin"} {
		asked.Go(func() {
			w.WantError(w.askAs(identity, true), messages.CodeInvalidSubject)
			w.WantError(w.Call(w.Conn, w.Namespace.API("list", identity), ""), messages.CodeInvalidSubject)
		})
	}
	asked.Wait()
	if n := len(w.Records()); n != 0 {
		t.Errorf("%d leases", n)
	}
}
