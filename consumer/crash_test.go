package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// scenario is something that a broker does and may die in.
type scenario struct {
	name string
	// begin brings the world to where the broker may die from, and returns the
	// lease that it is about, if there is one already.
	begin func(w *world) messages.Reply
	// act starts what is watched, and returns where its answer comes; nil where
	// nobody gets one.
	act func(w *world, lease messages.Reply) *nats.Subscription
	// check looks at the world once another broker has taken over and the answer
	// is there.
	check func(w *world, lease, answer messages.Reply)
	// refuse are the calls of the broker that AWS fails to carry out, for one run; nil:
	// none.
	refuse func() func(iamsim.Call) bool
	// died looks at the world when the broker is dead and no other there yet; nil: at
	// nothing.
	died func(w *world, lease messages.Reply)
	// late looks at the world when everything has been undone; nil: at nothing.
	late func(w *world)
	// effects is the least number of effects there must be: a scenario that does
	// nothing proves nothing.
	effects int
}

func issue(body string) func(*world) messages.Reply {
	return func(w *world) messages.Reply { return w.lease("ci", body) }
}

func nothing(*world) messages.Reply { return messages.Reply{} }

func nameOf(w *world, r messages.Reply) messages.LeaseName {
	n, err := messages.ParseLeaseName(r.Lease.Name)
	w.ok(err)
	return n
}

var scenarios = []scenario{{
	name:  "request",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	},
	check:   func(w *world, _, answer messages.Reply) { w.alive(answer) },
	effects: 12,
}, {
	name:  "request with confirm",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		inbox := w.nc.NewInbox()
		answers, err := w.nc.SubscribeSync(inbox)
		w.ok(err)
		confirming, err := w.nc.Subscribe(inbox, func(m *nats.Msg) { _ = m.Respond([]byte("thanks")) })
		w.ok(err)
		w.t.Cleanup(func() { _ = confirming.Unsubscribe() })
		w.publishFor(inbox, w.ns.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`)
		return answers
	},
	check: func(w *world, _, answer messages.Reply) {
		w.alive(answer)
		w.eventually("the delivery is confirmed", func() bool {
			rec, _ := w.record(answer.Lease.Name)
			return rec.Settled() && rec.State == messages.StateActive
		})
	},
	effects: 14,
}, {
	name:  "request that nobody waits for",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.publishFor(w.nc.NewInbox(), w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
		return nil
	},
	check: func(w *world, _, _ messages.Reply) {
		w.eventually("the lease is over", func() bool {
			w.clock.move(time.Second)
			recs := w.records()
			return len(recs) == 1 && recs[0].State.Ended()
		})
		w.nothingInAWS()
	},
	effects: 18,
}, {
	name: "request that AWS refuses",
	begin: func(w *world) messages.Reply {
		w.sim.RemovePolicy("arn:aws:iam::123456789012:policy/extra")
		return messages.Reply{}
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Request("alice", "extra"), `{"ttl":"1h"}`)
	},
	check: func(w *world, _, answer messages.Reply) {
		w.refused(answer, messages.CodeProviderRejected)
		w.eventually("the lease is over", func() bool {
			w.clock.move(time.Second) // what is too young to be seen gets older
			recs := w.records()
			return len(recs) == 1 && recs[0].State == messages.StateFailed
		})
		w.nothingInAWS()
	},
	effects: 10,
}, {
	name:  "renewal",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"5h"}`)
	},
	check: func(w *world, lease, answer messages.Reply) {
		if answer.Kind != messages.KindRenewed || answer.Lease.Renewals != 1 {
			w.t.Fatalf("not renewed once: %+v", answer)
		}
		w.clock.move(4 * time.Hour)
		w.alive(lease)
	},
	effects: 5,
}, {
	name:  "revocation",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Revoke(nameOf(w, lease)), "")
	},
	check: func(w *world, lease, answer messages.Reply) {
		if answer.Kind != messages.KindRevoked && !(answer.Kind == messages.KindError && answer.Error.Retryable) {
			w.t.Fatalf("not revoked: %+v", answer)
		}
		w.over(lease, messages.ReasonRequested)
	},
	effects: 9,
}, {
	name:  "expiry",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.clock.move(time.Hour)
		return nil
	},
	check:   func(w *world, lease, _ messages.Reply) { w.over(lease, messages.ReasonExpired) },
	effects: 9,
}, {
	// What holds the key back then is the Deny in the user's policy.
	name:  "expiry while AWS fails to delete the key",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.clock.move(time.Hour + time.Second)
		return nil
	},
	refuse: func() func(iamsim.Call) bool {
		var failed atomic.Int64 // as often as one call is tried
		return func(c iamsim.Call) bool { return c.Action == "DeleteAccessKey" && failed.Add(1) <= 4 }
	},
	died: func(w *world, lease messages.Reply) {
		if w.works(lease.Credentials) {
			w.t.Error("the key works, and nobody is there to delete it")
		}
	},
	check:   func(w *world, lease, _ messages.Reply) { w.over(lease, messages.ReasonExpired) },
	effects: 9,
}, {
	name: "request for a session",
	begin: func(w *world) messages.Reply {
		w.putNow(strings.Replace(denying(sessionSecret), `"ci"`, `"session"`, 1))
		return messages.Reply{}
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Request("alice", "session"), `{"ttl":"1h"}`)
	},
	check: func(w *world, _, answer messages.Reply) {
		if answer.Kind != messages.KindCredentials || !w.works(answer.Credentials) {
			w.t.Fatalf("no session that works: %+v %v", answer, answer.Error)
		}
	},
	effects: 7,
}, {
	name: "revocation of a session",
	begin: func(w *world) messages.Reply {
		w.putNow(strings.Replace(denying(sessionSecret), `"ci"`, `"session"`, 1))
		return w.lease("session", `{"ttl":"1h"}`)
	},
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.publish(w.ns.Revoke(nameOf(w, lease)), "")
	},
	check: func(w *world, lease, _ messages.Reply) {
		w.eventually("the session is cut off", func() bool {
			w.clock.move(time.Second)
			rec, _ := w.record(lease.Lease.Name)
			return rec.SessionDenied() && !w.works(lease.Credentials)
		})
		w.clock.move(62 * time.Minute)
		w.state(lease.Lease.Name, messages.StateRevoked)
	},
	late: func(w *world) {
		if p := w.sim.RolePolicies("deploy"); len(p) != 1 {
			w.t.Fatalf("the role is left with %v", p)
		}
	},
	effects: 6,
}, {
	name:  "deletion of a definition",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.ok(w.nc.PublishRequest(w.ns.AdminSecret(messages.AdminDelete), w.nc.NewInbox(), []byte(`{"name":"ci"}`)))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		if r := w.admin(messages.AdminGet, `{"name":"ci"}`); r.Kind == messages.KindSecret && r.Secret.State == messages.SecretActive {
			w.admin(messages.AdminDelete, `{"name":"ci"}`) // it died before it began
		}
		w.over(lease, messages.ReasonSecretDeleted)
		w.gone("ci")
	},
	effects: 12,
}, {
	name:  "check of a definition",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.ok(w.nc.PublishRequest(w.ns.AdminSecret(messages.AdminCheck), w.nc.NewInbox(), []byte(`{"name":"ci"}`)))
		return nil
	},
	check: func(w *world, _, _ messages.Reply) {
		w.eventually("the check is over", func() bool {
			w.clock.move(time.Second)
			for _, rec := range w.records() {
				if !rec.State.Ended() {
					return false
				}
			}
			return true
		})
		w.nothingInAWS()
	},
	effects: 12,
}, {
	name: "rotation of a key",
	begin: func(w *world) messages.Reply {
		keyID, secret := w.manager()
		w.shared = func(id string) bool { return slices.Contains(w.managerKeys(), id) }
		w.putNow(keyed("keyed", keyID, secret))
		w.putNow(keyed("keyed2", keyID, secret))
		w.lease("keyed2", `{"ttl":"1h"}`)
		return w.lease("keyed", `{"ttl":"1h"}`)
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.ok(w.nc.PublishRequest(w.ns.AdminSecret(messages.AdminRotateKey), w.nc.NewInbox(), []byte(`{"name":"keyed"}`)))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		before := w.admin(messages.AdminGet, `{"name":"keyed"}`).Secret.Definition.AWS.Auth.AccessKeyID
		w.clock.move(3 * time.Minute) // nobody is at it any more
		w.eventually("the rotation is finished", func() bool {
			ids := w.managerKeys()
			now := w.admin(messages.AdminGet, `{"name":"keyed"}`).Secret.Connection.AccessKeyID
			if now == before && len(ids) == 1 {
				w.admin(messages.AdminRotateKey, `{"name":"keyed"}`) // it died before it began
				return false
			}
			return len(ids) == 1 && ids[0] == now && now != before
		})
	},
	effects: 6,
}, {
	name:  "sweep",
	begin: issue(`{"ttl":"24h"}`),
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		for i := range 2 {
			user, _ := w.sim.User(lease.Credentials.Username)
			w.stray(fmt.Sprintf("lost%d", i), user.Tags["lessor:installation"], fmt.Sprintf("bob.ci.000000000%d", i))
			w.sim.AddAccessKey(fmt.Sprintf("lost%d", i))
		}
		w.clock.move(30 * time.Minute)
		w.ok(w.nc.PublishRequest(w.ns.AdminSweep(), w.nc.NewInbox(), nil))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		w.clock.move(2 * time.Hour)
		w.sweep("")
		w.alive(lease)
		for i := range 2 { // once, also where who removed it died before it told
			w.told(fmt.Sprintf("bob.ci.000000000%d", i), messages.EventOrphanRemoved)
		}
	},
	effects: 13,
}}

// alive checks that a lease is there, once, and that its key works.
func (w *world) alive(lease messages.Reply) {
	w.t.Helper()
	if lease.Kind != messages.KindCredentials {
		w.t.Fatalf("no credentials: %+v %v", lease, lease.Error)
	}
	w.state(lease.Lease.Name, messages.StateActive)
	w.eventually("one user with one key, that works", func() bool {
		users := w.sim.Users()
		return len(users) == 1 && users[0].Name == lease.Credentials.Username &&
			len(users[0].AccessKeys) == 1 && users[0].AccessKeys[0].ID == lease.Credentials.AccessKeyID && w.works(lease.Credentials)
	})
}

// over checks that a lease is over for a reason, and nothing left of it.
func (w *world) over(lease messages.Reply, reason messages.Reason) {
	w.t.Helper()
	var rec record.Record
	w.eventually("the lease is over", func() bool {
		w.clock.move(time.Second) // a user that may be too young to be seen gets older
		rec, _ = w.record(lease.Lease.Name)
		return rec.State == messages.StateRevoked
	})
	if rec.Reason != reason {
		w.t.Fatalf("it ended because %s, not %s", rec.Reason, reason)
	}
	w.nothingInAWS()
	if w.works(lease.Credentials) {
		w.t.Fatal("the key still works")
	}
}

const extraSecret = `{"name":"extra","aws":{"groups":["deployers"],"managed_policies":["arn:aws:iam::123456789012:policy/extra"]}}`

// TestABrokerMayDieAnywhere kills a broker before and after each effect that it
// has on the world, starts another, and looks whether everything is as it should
// be. The effects are counted on a run in which nobody dies. With the race detector it
// tries one point in three.
func TestABrokerMayDieAnywhere(t *testing.T) {
	t.Parallel()
	var points atomic.Int64
	t.Cleanup(func() { t.Logf("%d points at which a broker was killed", points.Load()) })
	slots := make(chan struct{}, pointsAtOnce)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			effects := s.run(t, newMortal(0, false))
			if len(effects) < s.effects {
				t.Fatalf("only %d effects were seen: %q", len(effects), effects)
			}
			var alive sync.WaitGroup
			for n := 1; n <= len(effects); n++ {
				for i, after := range []bool{false, true} {
					if (2*n+i)%pointsStep != 0 {
						continue // the race detector looks for other things
					}
					slots <- struct{}{}
					alive.Go(func() {
						defer func() { <-slots }()
						m := newMortal(n, after)
						t.Run(m.String(), func(t *testing.T) {
							s.run(t, m)
							if m.isDead() {
								points.Add(1)
							}
						})
					})
				}
			}
			alive.Wait()
		})
	}
}

// run plays the scenario on a broker that m may kill, and returns the effects
// that there were.
func (s scenario) run(t *testing.T, m *mortal) []string {
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	w.put(first, extraSecret)
	w.sessionRole()
	w.sim.AddPolicy("arn:aws:iam::123456789012:policy/extra", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}`)
	lease := s.begin(w)
	w.quiet()
	first.stop()

	if s.refuse != nil {
		m.refuse = s.refuse()
	}
	victim := w.mortalBroker(m, quickChores)
	m.arm()
	answers := s.act(w, lease)
	if m.killAt > 0 {
		w.diesOrFinishes(m, 0)
		victim.die()
		m.bury()
		if s.died != nil {
			s.died(w, lease)
		}
		w.broker(quickChores)
	} else if answers == nil {
		w.diesOrFinishes(m, s.effects)
	}
	var answer messages.Reply
	if answers != nil {
		answer, _ = w.answer(answers)
	}
	s.check(w, lease, answer)
	w.oneKey(answers, answer)
	w.quiet()
	victim.die()
	m.bury()
	w.endAll()
	if s.late != nil {
		s.late(w)
	}
	return m.seen()
}

// diesOrFinishes waits until the broker is dead, or has had at least so many effects
// and there is nothing left for it to do: not every run has as many as the first.
func (w *world) diesOrFinishes(m *mortal, least int) {
	w.t.Helper()
	since, effects := time.Now(), 0
	w.eventually("the broker dies or finishes", func() bool {
		if n := len(m.seen()); n > effects || !w.empty() {
			since, effects = time.Now(), n
		}
		return m.isDead() || effects >= least && time.Since(since) > time.Second
	})
}

// oneKey checks that all answers to one request bring the same key.
func (w *world) oneKey(answers *nats.Subscription, first messages.Reply) {
	w.t.Helper()
	for answers != nil {
		msg, err := answers.NextMsg(10 * time.Millisecond)
		if err != nil {
			return
		}
		r, err := messages.DecodeReply(msg.Data)
		w.ok(err)
		if r.Kind == messages.KindCredentials && (first.Credentials == nil || r.Credentials.AccessKeyID != first.Credentials.AccessKeyID) {
			w.t.Fatalf("two different keys were delivered: %+v and %+v", first, r)
		}
	}
}

// endAll revokes what is alive and checks that then nothing is left anywhere.
func (w *world) endAll() {
	w.t.Helper()
	w.sim.SetHook(nil)
	b := w.broker()
	defer b.stop()
	for _, rec := range w.records() {
		if !rec.State.Ended() {
			w.answer(w.publish(w.ns.Revoke(rec.Name()), ""))
			w.eventually("the lease is over", func() bool {
				w.clock.move(time.Minute) // a session's Deny stays until it has expired
				now, _ := w.record(rec.Name().String())
				return now.State.Ended()
			})
		}
	}
	w.nothingInAWS()
	w.quiet()
	w.toldInOrder()
	for _, rec := range w.records() {
		if rec.Sealed != nil || !rec.Due.IsZero() {
			w.t.Fatalf("a tombstone that is none: %+v", rec)
		}
	}
}

// die ends the broker at once, as if its process were gone.
func (b *broker) die() {
	b.once.Do(func() {
		b.nc.Close()
		b.sched.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Stop(ctx)
	})
}
