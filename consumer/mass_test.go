package consumer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// callsPerLease is what it takes to end a lease of [plainSecret].
const callsPerLease = 5

// paced is a broker as it comes, but for the most calls a second that it makes: 0 is
// as many as AWS takes.
func (w *world) paced(rate float64) func(*consumer.Config) {
	return func(c *consumer.Config) {
		c.Workers, c.AckWait, c.RetryMin, c.RetryMax = consumer.Workers{}, 0, 0, 0
		c.Provider = awsiam.New(awsiam.Options{
			Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(w.keyID, w.secret, ""), Rate: rate,
		})
	}
}

// leaseMany issues leases that expire together in an hour.
func (w *world) leaseMany(n int) {
	w.t.Helper()
	var askers sync.WaitGroup
	next := make(chan int)
	for range 32 {
		askers.Go(func() {
			for range next {
				w.must(w.nc.Request("lessor.api.request.alice.ci", nil, patience))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	askers.Wait()
	w.quiet()
}

// ending is what AWS saw of the end of many leases.
type ending struct {
	keys, all time.Duration // until the last key, and the last user, was deleted
	calls     int
	throttled int
}

// endMany has the leases expire that there are, and waits until nothing is left. It
// forgets the calls so far.
func (w *world) endMany(within time.Duration) ending {
	w.t.Helper()
	w.sim.ResetCalls()
	began := time.Now()
	w.clock.move(time.Hour)
	for end := began.Add(within); w.sim.UserCount() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %s there are %d users", within, w.sim.UserCount())
		}
	}
	w.quiet()
	var e ending
	for _, c := range w.sim.Calls() {
		e.calls++
		switch {
		case c.Code == "Throttling":
			e.throttled++
		case c.Code != "": // a removal that is repeated
		case c.Action == "DeleteAccessKey":
			e.keys = max(e.keys, c.Answered.Sub(began))
		case c.Action == "DeleteUser":
			e.all = max(e.all, c.Answered.Sub(began))
		}
	}
	return e
}

// report tells how far an end is from the best that a rate allows.
func (e ending) report(b *testing.B, leases int, perSecond, mostWasted float64) {
	floor := float64(leases) / perSecond
	keys, all := e.keys.Seconds()/floor, e.all.Seconds()/(callsPerLease*floor)
	wasted := 100 * float64(e.throttled) / float64(e.calls)
	b.Logf("%d leases at %.0f calls/s: all keys are dead after %.1f s (at best %.1f), everything is gone after %.1f s (at best %.1f); %d calls, of which %d were throttled",
		leases, perSecond, e.keys.Seconds(), floor, e.all.Seconds(), callsPerLease*floor, e.calls, e.throttled)
	b.ReportMetric(keys, "keys/floor")
	b.ReportMetric(all, "all/floor")
	b.ReportMetric(wasted, "%wasted")
	if keys > 1.3 || all > 1.3 || wasted > mostWasted {
		b.Errorf("keys %.2f, all %.2f of the floor, %.1f %% wasted", keys, all, wasted)
	}
}

// BenchmarkMassExpiry has 2,000 leases expire at once, in an account that takes 50
// calls a second, each in 20 ms; and 1,000 with two brokers that know nothing of each
// other. It takes six minutes, which is no more than AWS makes it.
func BenchmarkMassExpiry(b *testing.B) {
	for _, c := range []struct {
		name            string
		brokers, leases int
		wasted          float64
	}{{"one broker", 1, 2000, 5}, {"two brokers", 2, 1000, 10}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				const perSecond = 50
				w := newWorld(b)
				w.put(w.broker(w.paced(0)), plainSecret)
				for range c.brokers - 1 {
					w.broker(w.paced(0))
				}
				w.leaseMany(c.leases)
				w.sim.SetFaults(iamsim.Faults{Rate: perSecond, Latency: 20 * time.Millisecond})
				w.endMany(10*time.Minute).report(b, c.leases, perSecond, c.wasted)
			}
		})
	}
}

// TestInAMassExpiryEveryKeyDiesBeforeTheFirstUser, and whoever looks is told of no
// failure: that AWS takes no more calls is none.
func TestInAMassExpiryEveryKeyDiesBeforeTheFirstUser(t *testing.T) {
	t.Parallel()
	const leases = 40
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	w.leaseMany(leases)
	b.stop()
	w.broker(w.paced(40), func(c *consumer.Config) { c.Workers = consumer.Workers{Revoke: 48} })

	// Those that may go at once are answered when all of them are there: then others wait.
	const burst = 4
	var arrived sync.WaitGroup
	arrived.Add(burst)
	first := make(chan struct{}, burst)
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action != "DeleteAccessKey" {
			return iamsim.Verdict{}
		}
		select {
		case first <- struct{}{}:
			arrived.Done()
			arrived.Wait()
		default:
		}
		return iamsim.Verdict{}
	})
	w.sim.SetFaults(iamsim.Faults{Latency: 30 * time.Millisecond})
	w.sim.ResetCalls()
	w.clock.move(time.Hour)
	left := 0
	w.eventually("all keys are gone, and written down", func() bool {
		left = 0
		for _, r := range w.records() {
			if !r.State.Ended() && r.KeyGoneAt.IsZero() {
				return false
			}
			if !r.State.Ended() {
				left++
			}
		}
		return true
	})
	if left < leases/2 {
		t.Errorf("only %d of %d users are left for later", left, leases)
	}
	w.sim.SetFaults(iamsim.Faults{})
	w.clock.move(10 * time.Second)
	w.nothingInAWS()
	w.quiet()
	var lastKey, firstUser time.Time
	keyCalls := 0
	for _, c := range w.sim.Calls() {
		if c.Action == "DeleteAccessKey" {
			keyCalls++
		}
		switch {
		case c.Action == "DeleteAccessKey" && c.Answered.After(lastKey):
			lastKey = c.Answered
		case c.Action == "DeleteUser" && (firstUser.IsZero() || c.Arrived.Before(firstUser)):
			firstUser = c.Arrived
		}
	}
	if keyCalls != leases {
		t.Errorf("%d keys take %d calls", leases, keyCalls)
	}
	if firstUser.Before(lastKey) {
		t.Errorf("a user is deleted %s before the last key is gone", lastKey.Sub(firstUser))
	}
	// Of what was begun before others waited, some is done again.
	if n := len(w.sim.Calls()); n > callsPerLease*leases*5/4 {
		t.Errorf("%d calls for %d leases", n, leases)
	}
	told := map[string]int{}
	for _, e := range w.events("") {
		told[strings.TrimPrefix(e.Type, "lessor.lease.")]++
	}
	if told["revoked"] != leases || told["revoke_failed"] != 0 {
		t.Errorf("told: %v", told)
	}
	for _, r := range w.records() {
		if r.State != messages.StateRevoked || r.Reason != messages.ReasonExpired {
			t.Errorf("%s is %s (%s)", r.Name(), r.State, r.Reason)
		}
	}
}
