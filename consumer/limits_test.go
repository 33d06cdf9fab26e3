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
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// counting waits until a broker knows how many leases there are.
func (w *world) counting(b *broker) {
	w.t.Helper()
	w.eventually("the leases are counted", func() bool { return b.sched.Healthy() == nil })
}

// askAs requests a lease of ci for an identity, at the front door or directly.
func (w *world) askAs(identity string, door bool, header ...string) messages.Reply {
	w.t.Helper()
	if door {
		return w.call(w.nc, w.ns.API("request", identity, "ci"), "", header...)
	}
	r, _ := w.answer(w.publish(w.ns.Request(identity, "ci"), "", header...))
	return r
}

func TestASecretLimitsTheRateOfAnIdentity(t *testing.T) {
	t.Parallel()
	for _, door := range []bool{true, false} {
		t.Run(fmt.Sprint("at the door: ", door), func(t *testing.T) {
			w := newWorld(t)
			b := w.broker()
			w.put(b, `{"name":"ci","max_requests_per_minute":3,"aws":{}}`)
			w.counting(b)
			keyed := w.askAs("alice", door, messages.HeaderIdempotencyKey, "k")
			for range 2 {
				if r := w.askAs("alice", door); r.Kind != messages.KindCredentials {
					t.Fatalf("%+v %v", r, r.Error)
				}
			}
			w.quiet()
			records := len(w.records())
			w.sim.ResetCalls()
			for _, header := range [][]string{nil, {messages.HeaderIdempotencyKey, "new"}} {
				r := w.askAs("alice", door, header...)
				w.refused(r, messages.CodeRateExceeded)
				if e := r.Error; !e.Retryable || e.RetryAfter.Std() <= 0 || e.RetryAfter.Std() > time.Minute ||
					!strings.Contains(e.Message, "3 requests of alice for ci a minute; ask again in "+e.RetryAfter.String()) {
					t.Errorf("%+v", e)
				}
			}
			if n, calls := len(w.records()), w.sim.Calls(); n != records || len(calls) > 0 {
				t.Errorf("refusals made %d records and cost %d calls", n-records, len(calls))
			}
			// A repeat begins nothing.
			w.refused(w.askAs("alice", door, messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
			if r := w.askAs("bob", door); r.Kind != messages.KindCredentials {
				t.Errorf("bob pays for alice: %v", r.Error)
			}
			// An ended lease counts all the same.
			w.answer(w.publish(w.ns.Revoke(nameOf(w, keyed)), ""))
			w.refused(w.askAs("alice", door), messages.CodeRateExceeded)
			w.clock.move(time.Minute)
			if r := w.askAs("alice", door); r.Kind != messages.KindCredentials {
				t.Errorf("a minute later: %v", r.Error)
			}
		})
	}
}

func TestTheBrokersRateIsForSecretsWithoutOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker(func(c *consumer.Config) { c.MaxRequestsPerMinute = 1 })
	w.put(b, plainSecret)
	w.put(b, `{"name":"free","max_requests_per_minute":100}`)
	w.counting(b)
	w.lease("ci", "{}")
	w.refused(w.ask("ci", "{}"), messages.CodeRateExceeded)
	w.lease("free", "{}")
	w.lease("free", "{}")
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
				b := w.broker(func(c *consumer.Config) { c.Workers.Request = workers })
				w.counting(b)
			}
			w.put(w.broker(func(c *consumer.Config) { c.Workers.Request = workers }), `{"name":"ci","`+limit+`":`+fmt.Sprint(most)+`,"aws":{}}`)
			var subs []*nats.Subscription
			for range 4 * most {
				subs = append(subs, w.publish(w.ns.Request("alice", "ci"), "{}"))
			}
			made := 0
			for _, s := range subs {
				switch r, _ := w.answer(s); {
				case r.Kind == messages.KindCredentials:
					made++
				case r.Error.Code != code || r.Error.RetryAfter <= 0:
					t.Errorf("%+v", r.Error)
				}
			}
			if made < most || made > most+(replicas+1)*workers {
				t.Errorf("%d were made, the limit is %d", made, most)
			}
			if n := w.sim.UserCount(); n != made {
				t.Errorf("%d users of %d leases", n, made)
			}
		})
	}
}

// TestARateOutlivesItsBroker: it is made of the records.
func TestARateOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.broker()
	w.put(first, `{"name":"ci","max_requests_per_minute":2,"aws":{}}`)
	w.counting(first)
	w.lease("ci", "{}")
	w.lease("ci", "{}")
	w.quiet()
	first.stop()
	w.broker()
	w.refused(w.ask("ci", "{}"), messages.CodeRateExceeded)
}

// TestAFloodingIdentityKeepsNobodyOut: alice takes all the places that she can get and
// all the workers, and bob is served at once.
func TestAFloodingIdentityKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	alices, bobs := w.askAs("alice", false), w.askAs("bob", false)
	var names []string
	for range 8 { // each lease has one pending renewal and a line of those who wait
		names = append(names, w.askAs("alice", false).Lease.Name)
	}
	names = append(names, alices.Lease.Name)
	w.quiet()
	release := make(chan struct{}) // until then renewals stay pending
	w.sim.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict { <-release; return iamsim.Verdict{} })
	defer close(release)
	inbox := w.nc.NewInbox()
	sub, err := w.nc.SubscribeSync(inbox)
	w.ok(err)
	const share, flood = 256, 400
	for i := range flood {
		w.ok(w.nc.PublishRequest(w.ns.API("renew")+"."+names[i%len(names)], inbox, []byte(`{"ttl":"2h"}`)))
	}
	told := 0
	for told < flood-share-len(names)-8 { // the others have a place, or wait on the stream
		r, _ := w.answer(sub)
		w.refused(r, messages.CodeUnavailable)
		if r.Error.RetryAfter != messages.Duration(time.Second) || !strings.Contains(r.Error.Message, "of this identity") {
			t.Fatalf("%+v", r.Error)
		}
		told++
	}
	if r := w.call(w.nc, w.ns.API("get")+"."+bobs.Lease.Name, ""); r.Kind != messages.KindLease {
		t.Fatalf("bob: %v", r.Error)
	}
}

// TestAnIdentityFillsTheQueueForItselfAlone: NATS takes only so many waiting requests of
// one identity for one secret, whoever publishes them.
func TestAnIdentityFillsTheQueueForItselfAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	b.stop()
	fill := func(identity string) (stored int) {
		var acks []jetstream.PubAckFuture
		for range 4096 + 10 {
			f, err := w.js.PublishAsync(w.ns.Request(identity, "ci"), nil)
			w.ok(err)
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
	_, err := w.js.Publish(w.ctx(), w.ns.Request("bob", "ci"), nil)
	w.ok(err)
}

// TestNobodyIsCalledAsLessorIs: leases and events under those names are not a
// requester's.
func TestNobodyIsCalledAsLessorIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	var asked sync.WaitGroup
	for _, identity := range []string{"_check", "_admin"} {
		asked.Go(func() {
			w.refused(w.askAs(identity, true), messages.CodeInvalidSubject)
			w.refused(w.call(w.nc, w.ns.API("list", identity), ""), messages.CodeInvalidSubject)
		})
	}
	asked.Wait()
	if n := len(w.records()); n != 0 {
		t.Errorf("%d leases", n)
	}
}
