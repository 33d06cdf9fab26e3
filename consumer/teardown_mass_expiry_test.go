package consumer_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// callsPerLease is how many calls end a lease of [lessortest.Secret].
const callsPerLease = 5

// paced is the configuration of a broker by default, except for the calls to AWS a
// second; 0 is as many as AWS takes.
func (w *world) paced(rate float64) func(*consumer.Config) {
	return func(c *consumer.Config) {
		c.Workers, c.Streams.AckWait, c.RetryMin, c.RetryMax = consumer.Workers{}, 0, 0, 0
		c.Provider = awsiam.New(awsiam.Options{
			Endpoint: w.AWS.URL, Credentials: credentials.NewStaticCredentialsProvider(w.KeyID, w.SecretKey, ""), Rate: rate,
		})
	}
}

// leaseMany issues leases that expire together in an hour.
func (w *world) leaseMany(n int) {
	w.T.Helper()
	var requesters sync.WaitGroup
	next := make(chan int)
	for range 32 {
		requesters.Go(func() {
			for range next {
				w.mustReply(w.Conn.Request("lessor.api.request.alice.ci", nil, lessortest.Patience))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	requesters.Wait()
	w.WaitQueuesEmpty()
}

// ending is what AWS saw of the end of many leases.
type ending struct {
	keys, all time.Duration // until the last key, and the last user, was deleted
	calls     int
	throttled int
	flood     int // throttled in the second after the first one
}

// endMany has all leases expire and waits until no user is left. It forgets the calls
// before.
func (w *world) endMany(within time.Duration) ending {
	w.T.Helper()
	w.Sim.ResetCalls()
	began := time.Now()
	w.Clock.Advance(time.Hour)
	for end := began.Add(within); w.Sim.UserCount() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.T.Fatalf("after %s there are still %d users", within, w.Sim.UserCount())
		}
	}
	w.WaitQueuesEmpty()
	var e ending
	var flooded time.Time // the end of the first second of throttling
	for _, c := range w.Sim.Calls() {
		e.calls++
		switch {
		case c.Code == "Throttling":
			if e.throttled++; flooded.IsZero() {
				flooded = c.Answered.Add(time.Second)
			}
			if c.Answered.Before(flooded) {
				e.flood++
			}
		case c.Code != "": // a removal that is repeated
		case c.Action == "DeleteAccessKey":
			e.keys = max(e.keys, c.Answered.Sub(began))
		case c.Action == "DeleteUser":
			e.all = max(e.all, c.Answered.Sub(began))
		}
	}
	return e
}

// report reports how far an end is from the best that a rate allows.
func (e ending) report(b *testing.B, leases int, perSecond, mostWasted float64) {
	floor := float64(leases) / perSecond
	keys, all := e.keys.Seconds()/floor, e.all.Seconds()/(callsPerLease*floor)
	wasted := 100 * float64(e.throttled) / float64(e.calls)
	b.Logf("%d leases at %.0f calls/s: all keys are deleted after %.1f s (at best %.1f), all users after %.1f s (at best %.1f); %d calls, of which %d were throttled, %d of them in the first second of throttling",
		leases, perSecond, e.keys.Seconds(), floor, e.all.Seconds(), callsPerLease*floor, e.calls, e.throttled, e.flood)
	b.ReportMetric(keys, "keys/floor")
	b.ReportMetric(all, "all/floor")
	b.ReportMetric(wasted, "%wasted")
	if keys > 1.3 || all > 1.3 || wasted > mostWasted {
		b.Errorf("keys %.2f, all %.2f of the floor, %.1f %% wasted", keys, all, wasted)
	}
}

// BenchmarkMassExpiry has 2,000 leases expire at once, in an account that takes 50
// calls a second, each in 20 ms; and 1,000 with two brokers that do not know of each
// other's calls. It takes six minutes, which is no more than AWS makes it.
func BenchmarkMassExpiry(b *testing.B) {
	for _, c := range []struct {
		name            string
		brokers, leases int
		wasted          float64
	}{{"one broker", 1, 2000, 5}, {"two brokers", 2, 1000, 15}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				const perSecond = 50
				w := newWorld(b)
				w.Put(w.Broker(w.paced(0)), lessortest.Secret)
				for range c.brokers - 1 {
					w.Broker(w.paced(0))
				}
				w.leaseMany(c.leases)
				w.Sim.SetFaults(iamsim.Faults{Rate: perSecond, Latency: 20 * time.Millisecond})
				w.endMany(10*time.Minute).report(b, c.leases, perSecond, c.wasted)
			}
		})
	}
}

// manyGroups makes a definition of one whose cleanup takes so many calls that they are
// never made all at once.
func (w *world) manyGroups(definition string) string {
	for i := range 9 {
		group := fmt.Sprint("group", i)
		w.Sim.AddGroup(group)
		definition = strings.Replace(definition, `"groups":[`, `"groups":[`+strconv.Quote(group)+",", 1)
	}
	return definition
}

// TestMassExpiryDeletesEveryKeyBeforeTheFirstUser: every key is deleted although users
// of earlier leases wait for their cleanup, and no teardown counts as failed.
//
// As many users are revoked as there are workers, then others expire. AWS answers no
// call of a cleanup until all keys are deleted: a worker that waits for one is lost.
func TestMassExpiryDeletesEveryKeyBeforeTheFirstUser(t *testing.T) {
	t.Parallel()
	const (
		workers = 8
		leases  = workers + 6
		// removals is the calls of the cleanup of half as many users as there are workers,
		// 12 for each user. That many are made before the last key is deleted if they hold
		// the workers; fewer are made while no key waits.
		removals = 12 * workers / 2
	)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, w.manyGroups(lessortest.Secret))
	w.leaseMany(leases)
	first.Close()
	var mu sync.Mutex
	var keys, rest int // calls, and those of the rest before the last key's
	free := make(chan struct{})
	w.Sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		mu.Lock()
		defer mu.Unlock()
		switch c.Action {
		case "DeleteAccessKey":
			keys++
		case "DetachUserPolicy", "RemoveUserFromGroup", "DeleteUserPolicy", "DeleteUser":
			if keys < leases {
				rest++
			}
			mu.Unlock()
			select {
			case <-free:
			case <-ctx.Done():
			}
			mu.Lock()
		}
		return iamsim.Verdict{}
	})
	slow := w.slowBroker(9.9, func(c *consumer.Config) {
		c.Workers.Revoke, c.Streams.AckWait = workers, 500*time.Millisecond
	})
	keysDeleted := func() (n int) {
		for _, r := range w.Records() {
			if !r.KeyDeletedAt.IsZero() {
				n++
			}
		}
		return n
	}
	var answers []*nats.Subscription
	for _, r := range w.Records()[:workers] {
		answers = append(answers, w.Publish(w.Namespace.Revoke(r.Name()), ""))
	}
	w.Eventually("the records have the deletion of the revoked leases' keys", func() bool { return keysDeleted() == workers })
	w.Clock.Advance(time.Hour)
	w.Eventually("the records have the deletion of all keys", func() bool { return keysDeleted() == leases })
	mu.Lock()
	if keys != leases || rest > removals*4/5 {
		t.Errorf("%d calls delete %d keys, and %d other calls come before the last of them", keys, leases, rest)
	}
	mu.Unlock()
	if n := w.Sim.UserCount(); n != leases {
		t.Errorf("of %d users %d exist", leases, n)
	}
	close(free)
	slow.Close() // another broker makes more calls a second
	w.Broker()
	w.Clock.Advance(10 * time.Second)
	for _, a := range answers {
		if r, _ := w.Answer(a); r.Kind != messages.KindRevoked {
			t.Errorf("the answer is %+v %v", r, r.Error)
		}
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	mu.Lock()
	if keys != leases {
		t.Errorf("%d keys were deleted by %d calls", leases, keys)
	}
	mu.Unlock()
	emitted := map[string]int{}
	for _, e := range w.Events("") {
		emitted[strings.TrimPrefix(e.Type, "lessor.lease.")]++
	}
	if emitted["revoked"] != leases || emitted["revoke_failed"] != 0 {
		t.Errorf("the events are %v", emitted)
	}
	reasons := map[messages.Reason]int{}
	for _, r := range w.Records() {
		reasons[r.Reason]++
		if r.State != messages.StateRevoked {
			t.Errorf("%s is %s", r.Name(), r.State)
		}
	}
	if reasons[messages.ReasonRequested] != workers || reasons[messages.ReasonExpired] != leases-workers {
		t.Errorf("reasons: %v", reasons)
	}
}
