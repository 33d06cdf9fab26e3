package consumer_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
	"github.com/lessorhq/lessor/provider/username"
)

func TestRefusedCallLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateUser", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "CreateAccessKey"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Put(w.Broker(), lessortest.Secret)
			w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				if c.Action == action {
					return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: "no"}
				}
				return iamsim.Verdict{}
			})
			r := w.Request("ci", "{}")
			w.WantError(r, messages.CodeProviderDenied)
			if !strings.Contains(r.Error.Message, action) || !strings.Contains(r.Error.Message, "AccessDenied") {
				t.Fatalf("the message does not name the call: %q", r.Error.Message)
			}
			if n := w.Sim.UserCount(); n != 0 {
				t.Fatalf("%d users are left", n)
			}
			w.WaitState(r.Lease.Name, messages.StateFailed)
			w.WaitEvents(r.Lease.Name, messages.EventFailed)
			w.WaitQueuesEmpty()
		})
	}
}

func TestTransientAWSFaultsAreRetried(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]iamsim.Faults{
		"throttling":              {Rate: 50, Burst: 1},
		"errors":                  {InternalError: 0.3},
		"lost answers":            {DropAnswer: 0.3},
		"empty answers":           {EmptyBody: 0.3},
		"concurrent modification": {ConcurrentModification: 0.5},
		"users visible late":      {UserVisibleAfter: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Put(w.Broker(), lessortest.Secret)
			w.Sim.SetFaults(f)
			var answers []*nats.Subscription
			for range 10 {
				answers = append(answers, w.Publish(w.Namespace.Request("alice", "ci"), "{}"))
			}
			for _, a := range answers {
				r, _ := w.Answer(a)
				w.WantKind(r, messages.KindCredentials)
				w.Eventually("the key works", func() bool { return w.Works(r.Credentials) })
			}
			if n := w.Sim.UserCount(); n != 10 {
				t.Fatalf("%d users for 10 leases", n)
			}
			w.Clock.Advance(2 * time.Hour)
			w.Eventually("all leases have ended", func() bool {
				w.Clock.Advance(time.Second)
				for _, r := range w.Records() {
					if !r.State.Ended() {
						return false
					}
				}
				return w.Sim.UserCount() == 0
			})
		})
	}
}

// TestSlowAWSIsWaitedForByOneWorker: while a worker waits for AWS, longer than AckWait,
// no other worker takes the lease over.
func TestSlowAWSIsWaitedForByOneWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Broker()
	w.Sim.SetFaults(iamsim.Faults{Latency: 800 * time.Millisecond}) // for each of two round trips; AckWait is 500 ms
	r := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	if rec, _ := w.Record(r.Lease.Name); rec.Attempt != 1 {
		t.Fatalf("the lease took %d attempts", rec.Attempt)
	}
	changes := 0
	for _, call := range w.Sim.Calls() {
		if call.Action != "GetCallerIdentity" { // once a broker
			changes++
		}
	}
	if changes != 5 {
		t.Fatalf("%d calls", changes)
	}
}

// TestThrottledRequestsRepeatNoCallThatSucceeded makes many leases at once while AWS
// throttles some of the concurrent calls.
func TestThrottledRequestsRepeatNoCallThatSucceeded(t *testing.T) {
	t.Parallel()
	const leases, throttled = 32, 16
	w := newWorld(t)
	w.Put(w.Broker(w.paced(0)), lessortest.Secret)
	w.Lease("ci", "{}")
	var left atomic.Int64
	left.Store(throttled)
	together := make(chan struct{})
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			return iamsim.Verdict{}
		}
		switch n := left.Add(-1); {
		case n < 0:
			return iamsim.Verdict{}
		case n == 0:
			close(together)
		}
		<-together
		return iamsim.Verdict{Do: iamsim.Fail, Status: 400, Code: "Throttling"}
	})
	w.Sim.ResetCalls()
	w.leaseMany(leases)
	done, refused := map[string]int{}, 0
	for _, c := range w.Sim.Calls() {
		if c.Code == "Throttling" {
			refused++
		} else {
			done[c.Action]++
		}
	}
	total := 0
	for _, n := range done {
		total += n
	}
	if refused != throttled || done["CreateAccessKey"] != leases || total > leases*callsPerLease*5/4 {
		t.Errorf("%d leases took %v, and %d calls were throttled", leases, done, refused)
	}
}

// luck is a source of randomness that returns zeros until it has turned.
type luck struct{ turned atomic.Bool }

func (l *luck) Read(p []byte) (int, error) {
	if l.turned.Load() {
		return rand.Read(p)
	}
	clear(p)
	return len(p), nil
}

// firstName returns the user name that a broker with this source of randomness tries
// first.
func firstName(t *testing.T) string {
	u, err := username.Parse(messages.DefaultUsernameTemplate)
	if err != nil {
		t.Fatal(err)
	}
	name, err := u.Render(username.Data{Identity: "alice", Secret: "ci", Rand: &luck{}, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestForeignUserIsNotTouched: AWS has a user of the name that the broker tries first.
func TestForeignUserIsNotTouched(t *testing.T) {
	t.Parallel()
	for name, turns := range map[string]bool{"the next name is free": true, "no other name is tried": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			foreign := firstName(t)
			w.Sim.AddUser(foreign, "/lessor/", map[string]string{"owner": "kim"})
			w.Sim.AddLoginProfile(foreign)
			before, _ := w.Sim.User(foreign)
			var source luck
			w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				source.turned.Store(turns)
				return iamsim.Verdict{}
			})
			w.Put(w.Broker(func(c *consumer.Config) { c.Rand = &source }), lessortest.Secret)
			r := w.Request("ci", "{}")
			if turns {
				if r.Kind != messages.KindCredentials || r.Credentials.Username == foreign {
					t.Fatalf("%+v %v", r, r.Error)
				}
				w.Revoke(r)
			} else {
				w.WantError(r, messages.CodeUsernameTaken)
				w.WaitState(r.Lease.Name, messages.StateFailed)
			}
			w.WaitQueuesEmpty()
			after, _ := w.Sim.User(foreign)
			if a, b := mustJSON(before), mustJSON(after); a != b {
				t.Fatalf("the foreign user was changed:\n%s\n%s", a, b)
			}
			if n := w.Sim.UserCount(); n != 1 {
				t.Fatalf("%d users, want the foreign one alone", n)
			}
		})
	}
}
