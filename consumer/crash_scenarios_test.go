package consumer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// issue begins a scenario with a lease of ci.
func issue(body string) func(*world) messages.Reply {
	return func(w *world) messages.Reply { return w.Lease("ci", body) }
}

// nothing begins a scenario without a lease.
func nothing(*world) messages.Reply { return messages.Reply{} }

var scenarios = []scenario{{
	name:  "request",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	},
	check:   func(w *world, _, answer messages.Reply) { w.WantActive(answer) },
	effects: 12,
}, {
	name:  "request with confirm",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		inbox := w.Conn.NewInbox()
		answers, err := w.Conn.SubscribeSync(inbox)
		w.NoError(err)
		confirming, err := w.Conn.Subscribe(inbox, func(m *nats.Msg) { _ = m.Respond([]byte("thanks")) })
		w.NoError(err)
		w.T.Cleanup(func() { _ = confirming.Unsubscribe() })
		w.PublishReply(inbox, w.Namespace.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`)
		return answers
	},
	check: func(w *world, _, answer messages.Reply) {
		w.WantActive(answer)
		w.Eventually("the delivery is confirmed", func() bool {
			rec, _ := w.Record(answer.Lease.Name)
			return rec.Settled() && rec.State == messages.StateActive
		})
	},
	effects: 14,
}, {
	name:  "request without responders",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
		return nil
	},
	check: func(w *world, _, _ messages.Reply) {
		w.Eventually("the lease has ended", func() bool {
			w.Clock.Advance(time.Second)
			recs := w.Records()
			return len(recs) == 1 && recs[0].State.Ended()
		})
		w.WaitNoUsers()
	},
	effects: 18,
}, {
	name: "request that AWS refuses",
	begin: func(w *world) messages.Reply {
		w.Sim.RemovePolicy("arn:aws:iam::123456789012:policy/extra")
		return messages.Reply{}
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Request("alice", "extra"), `{"ttl":"1h"}`)
	},
	check: func(w *world, _, answer messages.Reply) {
		w.WantError(answer, messages.CodeProviderRejected)
		w.Eventually("the lease has ended", func() bool {
			w.Clock.Advance(time.Second) // AWS may not show a young user; it is looked for until it is older
			recs := w.Records()
			return len(recs) == 1 && recs[0].State == messages.StateFailed
		})
		w.WaitNoUsers()
	},
	effects: 10,
}, {
	name:  "renewal",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Renew(w.NameOf(lease)), `{"ttl":"5h"}`)
	},
	check: func(w *world, lease, answer messages.Reply) {
		if answer.Kind != messages.KindRenewed || answer.Lease.Renewals != 1 {
			w.T.Fatalf("not renewed once: %+v", answer)
		}
		w.Clock.Advance(4 * time.Hour)
		w.WantActive(lease)
	},
	effects: 5,
}, {
	name:  "revocation",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Revoke(w.NameOf(lease)), "")
	},
	check: func(w *world, lease, answer messages.Reply) {
		if answer.Kind != messages.KindRevoked && !(answer.Kind == messages.KindError && answer.Error.Retryable) {
			w.T.Fatalf("not revoked: %+v", answer)
		}
		w.WaitRevoked(lease, messages.ReasonRequested)
	},
	effects: 9,
}, {
	name:  "expiry",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.Clock.Advance(time.Hour)
		return nil
	},
	check:   func(w *world, lease, _ messages.Reply) { w.WaitRevoked(lease, messages.ReasonExpired) },
	effects: 9,
}, {
	// The Deny in the user's policy keeps the key from being used.
	name:  "expiry while AWS fails to delete the key",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.Clock.Advance(time.Hour + time.Second)
		return nil
	},
	refuse: func() func(iamsim.Call) bool {
		var failed atomic.Int64 // as often as a call is repeated
		return func(c iamsim.Call) bool { return c.Action == "DeleteAccessKey" && failed.Add(1) <= 4 }
	},
	crashed: func(w *world, lease messages.Reply) {
		if w.Works(lease.Credentials) {
			w.T.Error("the key works, and no broker runs that would delete it")
		}
	},
	check:   func(w *world, lease, _ messages.Reply) { w.WaitRevoked(lease, messages.ReasonExpired) },
	effects: 9,
}, {
	name: "request for a session",
	begin: func(w *world) messages.Reply {
		w.storeSecret(strings.Replace(denying(sessionSecret), `"ci"`, `"session"`, 1))
		return messages.Reply{}
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Request("alice", "session"), `{"ttl":"1h"}`)
	},
	check: func(w *world, _, answer messages.Reply) {
		if answer.Kind != messages.KindCredentials || !w.Works(answer.Credentials) {
			w.T.Fatalf("no working session: %+v %v", answer, answer.Error)
		}
	},
	effects: 7,
}, {
	name: "revocation of a session",
	begin: func(w *world) messages.Reply {
		w.storeSecret(strings.Replace(denying(sessionSecret), `"ci"`, `"session"`, 1))
		return w.Lease("session", `{"ttl":"1h"}`)
	},
	act: func(w *world, lease messages.Reply) *nats.Subscription {
		return w.Publish(w.Namespace.Revoke(w.NameOf(lease)), "")
	},
	check: func(w *world, lease, _ messages.Reply) {
		w.Eventually("the session is denied", func() bool {
			w.Clock.Advance(time.Second)
			rec, _ := w.Record(lease.Lease.Name)
			return rec.SessionDenied() && !w.Works(lease.Credentials)
		})
		w.Clock.Advance(62 * time.Minute)
		w.WaitState(lease.Lease.Name, messages.StateRevoked)
	},
	late: func(w *world) {
		if p := w.Sim.RolePolicies("deploy"); len(p) != 1 {
			w.T.Fatalf("the role has the policies %v", p)
		}
	},
	effects: 6,
}, {
	name:  "deletion of a definition",
	begin: issue(`{"ttl":"1h"}`),
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(messages.AdminDelete), w.Conn.NewInbox(), []byte(`{"name":"ci"}`)))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		if r := w.adminSecret(messages.AdminGet, `{"name":"ci"}`); r.Kind == messages.KindSecret && r.Secret.State == messages.SecretActive {
			w.adminSecret(messages.AdminDelete, `{"name":"ci"}`) // the broker crashed before it began
		}
		w.WaitRevoked(lease, messages.ReasonSecretDeleted)
		w.waitSecretDeleted("ci")
	},
	effects: 12,
}, {
	name:  "dry run of a definition",
	begin: nothing,
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(messages.AdminCheck), w.Conn.NewInbox(), []byte(`{"name":"ci"}`)))
		return nil
	},
	check: func(w *world, _, _ messages.Reply) {
		w.Eventually("the dry run has ended", func() bool {
			w.Clock.Advance(time.Second)
			for _, rec := range w.Records() {
				if !rec.State.Ended() {
					return false
				}
			}
			return true
		})
		w.WaitNoUsers()
	},
	effects: 12,
}, {
	name: "rotation of a key",
	signsWith: func(w *world) func(string) bool {
		return func(id string) bool { return slices.Contains(w.managerKeys(), id) }
	},
	begin: func(w *world) messages.Reply {
		keyID, secret := w.manager()
		w.storeSecret(keyed("keyed", keyID, secret))
		w.storeSecret(keyed("keyed2", keyID, secret))
		w.Lease("keyed2", `{"ttl":"1h"}`)
		return w.Lease("keyed", `{"ttl":"1h"}`)
	},
	act: func(w *world, _ messages.Reply) *nats.Subscription {
		w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(messages.AdminRotateKey), w.Conn.NewInbox(), []byte(`{"name":"keyed"}`)))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		before := w.adminSecret(messages.AdminGet, `{"name":"keyed"}`).Secret.Definition.AWS.Auth.AccessKeyID
		w.Clock.Advance(3 * time.Minute) // the claim of the broker that crashed has expired
		w.Eventually("the rotation has finished", func() bool {
			ids := w.managerKeys()
			now := w.adminSecret(messages.AdminGet, `{"name":"keyed"}`).Secret.Connection.AccessKeyID
			if now == before && len(ids) == 1 {
				w.adminSecret(messages.AdminRotateKey, `{"name":"keyed"}`) // the broker crashed before it began
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
			user, _ := w.Sim.User(lease.Credentials.Username)
			w.addOrphan(fmt.Sprintf("lost%d", i), user.Tags["lessor:installation"], fmt.Sprintf("bob.ci.000000000%d", i))
			w.Sim.AddAccessKey(fmt.Sprintf("lost%d", i))
		}
		w.Clock.Advance(30 * time.Minute)
		w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSweep(), w.Conn.NewInbox(), nil))
		return nil
	},
	check: func(w *world, lease, _ messages.Reply) {
		w.Clock.Advance(2 * time.Hour)
		w.sweep("")
		w.WantActive(lease)
		for i := range 2 { // once, also if the broker crashed between the removal and its event
			w.WaitEvents(fmt.Sprintf("bob.ci.000000000%d", i), messages.EventOrphanRemoved)
		}
	},
	effects: 13,
}}

// extraSecret is a definition with a managed policy that AWS may not have.
const extraSecret = `{"name":"extra","aws":{"groups":["deployers"],"managed_policies":["arn:aws:iam::123456789012:policy/extra"]}}`
