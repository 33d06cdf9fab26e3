//go:build unix

package natsconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/scheduler"
)

// published collects the subjects of all messages in the brokers' account.
type published struct {
	mu       sync.Mutex
	subjects map[string]bool
}

func (p *published) note(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subjects[m.Subject] = true
}

func (p *published) has(permission string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subjects {
		if server.SubjectsCollide(s, permission) {
			return true
		}
	}
	return false
}

// TestBrokerNeedsExactlyItsPermissions makes a broker do everything that it can do. NATS
// refuses it nothing, and each permission is used.
func TestBrokerNeedsExactlyItsPermissions(t *testing.T) {
	t.Parallel()
	for _, setup := range []natsSetup{staticUsers, jwtUsers} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			w := newTestWorld(t, setup)
			seen := &published{subjects: map[string]bool{}}
			if setup == staticUsers {
				_, err := w.connect("", natsWitness).Subscribe(">", seen.note)
				w.ok(err)
			}
			w.serve()
			w.life()
			w.reconnect()
			subscribed := w.subscriptions()
			due := w.renewed()
			w.stop()
			if setup == staticUsers {
				w.change()
				w.serve(func(c *consumer.Config) { c.Restored = true }) // which restores the settings
				w.restore(due)
				w.fill()
				for _, b := range []string{w.ns.LeaseBucket(), w.ns.SecretBucket(), w.ns.StateBucket()} {
					clitest.Eventually(t, "flow control of "+b, func() bool { return seen.has("$JS.FC.KV_" + b + ".>") })
				}
				w.stop()
			}
			w.notViolated()
			if setup == jwtUsers {
				return // the permissions are the same
			}
			may := brokerPermissions(w.ns, "broker")
			for _, p := range may.publish {
				if !seen.has(p) {
					t.Errorf("the broker may publish on %s and does not need to", p)
				}
			}
			for _, p := range may.subscribe {
				if !slices.ContainsFunc(subscribed, func(s string) bool { return server.SubjectsCollide(s, p) }) {
					t.Errorf("the broker may subscribe to %s and does not need to", p)
				}
			}
		})
	}
}

// life makes a broker do everything that it can do with leases and definitions.
func (w *testWorld) life() {
	w.t.Helper()
	alice, olga := w.connect("requester", "alice"), w.connect("operator", "olga")
	is := func(a response, kind string) messages.Reply {
		w.t.Helper()
		if a.reply.Kind != kind {
			w.t.Fatalf("%q, not %q: %+v %v", a.reply.Kind, kind, a, a.reply.Error)
		}
		return a.reply
	}
	admin := func(v messages.AdminVerb, body string) messages.Reply {
		w.t.Helper()
		kinds := map[messages.AdminVerb]string{
			messages.AdminList: messages.KindSecrets, messages.AdminDelete: messages.KindDeletion, messages.AdminCheck: messages.KindCheck,
		}
		kind := kinds[v]
		if kind == "" {
			kind = messages.KindSecret
		}
		return is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminSecret(v)), body), kind)
	}

	// A lease that is confirmed, renewed, read and revoked.
	a := w.request(alice, w.ns.API("request", "alice", "ci"), `{"confirm":true}`)
	first := is(a, messages.KindCredentials).Lease.Name
	w.ok(a.msg.Respond(nil))
	w.awaitEvent(olga, first, messages.EventConfirmed)
	is(w.request(alice, w.ns.API("renew", first), `{"ttl":"2h"}`), messages.KindRenewed)
	is(w.request(alice, w.ns.API("get", first), ""), messages.KindLease)
	is(w.request(alice, w.ns.API("list", "alice"), ""), messages.KindLeases)
	is(w.request(alice, w.ns.API("revoke", first), ""), messages.KindRevoked)

	// One that expires, by the scheduler.
	expires := w.lease(alice, "alice", `{"ttl":"1m"}`).Lease.Name
	clitest.Eventually(w.t, "it has expired", func() bool {
		w.pass(time.Minute)
		return slices.Contains(w.events(olga, expires), messages.EventRevoked)
	})

	// One that is not confirmed. The broker checks first whether a confirmation is stored.
	unconfirmed := w.lease(alice, "alice", `{"confirm":true}`).Lease.Name
	clitest.Eventually(w.t, "it is undelivered", func() bool {
		w.pass(time.Minute)
		return slices.Contains(w.events(olga, unconfirmed), messages.EventUndelivered)
	})

	// A definition with an access key of its own.
	id, secret := w.sim.AddPrincipal("owner")
	definition := fmt.Sprintf(`{"name":"demo","aws":{"path":"/demo/","auth":{"method":"access_key","access_key_id":%q,"secret_access_key":%q}}}`, id, secret)
	admin(messages.AdminPut, `{"definition":`+definition+`}`)
	admin(messages.AdminGet, `{"name":"demo"}`)
	admin(messages.AdminList, "")
	admin(messages.AdminCheck, `{"name":"demo"}`)
	admin(messages.AdminRotateKey, `{"name":"demo"}`)
	owned := is(w.request(alice, w.ns.API("request", "alice", "demo"), ""), messages.KindCredentials)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseList)), ""), messages.KindLeases)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseRetry)), ""), messages.KindAccepted)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminSweep()), ""), messages.KindSweep)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminKey()), ""), messages.KindKey)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminRestore()), ""), messages.KindRestore)
	admin(messages.AdminDelete, `{"name":"demo"}`)
	w.awaitEvent(olga, owned.Lease.Name, messages.EventRevoked)
	is(w.request(olga, w.ns.AdminAs("olga", w.ns.AdminLease(messages.AdminLeaseRevoke)), `{"identity":"alice"}`), messages.KindAccepted)
}

// renewed returns a lease that has an event of a renewal.
func (w *testWorld) renewed() messages.Lease {
	w.t.Helper()
	alice := w.connect("requester", "alice")
	l := w.lease(alice, "alice", `{"ttl":"1m"}`).Lease
	if a := w.request(alice, w.ns.API("renew", l.Name), `{"ttl":"2m"}`); a.reply.Kind != messages.KindRenewed {
		w.t.Fatalf("%+v %v", a, a.reply.Error)
	}
	return *l
}

// restore lifts the restore guard as an operator. due is a lease that has expired by its
// record.
func (w *testWorld) restore(due messages.Lease) {
	w.t.Helper()
	w.pass(time.Hour)
	olga := w.connect("operator", "olga")
	for _, body := range []string{"", `{"apply":true}`} {
		a := w.request(olga, w.ns.AdminAs("olga", w.ns.AdminRestore()), body)
		if r := a.reply.Restore; r == nil || r.Due == 0 || r.Leases[0].Name != due.Name {
			w.t.Fatalf("%+v %v", a, a.reply.Error)
		}
	}
	w.awaitEvent(olga, due.Name, messages.EventRevoked)
}

// awaitEvent waits for an event about a lease.
func (w *testWorld) awaitEvent(nc *nats.Conn, lease string, event messages.EventType) {
	w.t.Helper()
	clitest.Eventually(w.t, lease+" "+string(event), func() bool { return slices.Contains(w.events(nc, lease), event) })
}

// reconnect breaks the broker's connection and waits until the broker works again.
func (w *testWorld) reconnect() {
	w.t.Helper()
	back := w.conn.StatusChanged(nats.CONNECTED)
	w.ok(w.conn.ForceReconnect())
	<-back
	w.ok(w.conn.Flush())
	alice := w.connect("requester", "alice")
	for range 3 { // until the workers of each verb have new pulls
		l := w.lease(alice, "alice", "")
		w.request(alice, w.ns.API("renew", l.Lease.Name), "")
		w.request(alice, w.ns.API("revoke", l.Lease.Name), "")
	}
}

// subscriptions returns the subscriptions of the broker as the server reports them to the
// system account.
func (w *testWorld) subscriptions() []string {
	w.t.Helper()
	reply, err := w.connect("system", systemUser).Request("$SYS.REQ.SERVER.PING.CONNZ", []byte(`{"subscriptions":true,"auth":true}`), clitest.Patience)
	w.ok(err)
	var answer struct {
		Data struct {
			Connections []struct {
				Account string   `json:"account"`
				Name    string   `json:"name"`
				List    []string `json:"subscriptions_list"`
			} `json:"connections"`
		} `json:"data"`
	}
	w.ok(json.Unmarshal(reply.Data, &answer))
	var all []string
	for _, c := range answer.Data.Connections {
		if c.Account == brokerAccount && c.Name == "lessor broker" {
			all = append(all, c.List...)
		}
	}
	return all
}

// change changes a setting of every stream.
func (w *testWorld) change() {
	w.t.Helper()
	js, err := jetstream.New(w.connect("", natsWitness))
	w.ok(err)
	streams := js.ListStreams(w.t.Context())
	changed := 0
	for s := range streams.Info() {
		s.Config.Duplicates = time.Minute
		_, err := js.UpdateStream(w.t.Context(), s.Config)
		w.ok(err)
		changed++
	}
	w.ok(streams.Err())
	if changed != 8 {
		w.t.Errorf("there are %d streams", changed)
	}
}

// fill writes so much to the buckets that the server uses flow control for watches.
func (w *testWorld) fill() {
	w.t.Helper()
	js, err := jetstream.New(w.connect("", natsWitness))
	w.ok(err)
	much := bytes.Repeat([]byte("x"), 128<<10)
	for i := range 40 {
		for _, key := range []string{"KV.lessor_lease.alice.ci.x%d", "KV.lessor_secret.x%d", "KV.lessor_state.connection.x%d"} {
			_, err := js.Publish(w.t.Context(), "$"+fmt.Sprintf(key, i), much)
			w.ok(err)
		}
	}
}

// TestRolesHaveEnoughPermissions runs worker and scheduler on connections of their own, each
// with the permissions of its role. The sweeper runs in the worker and needs no more.
func TestRolesHaveEnoughPermissions(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, staticUsers)
	worker, sweeper := workerPermissions(w.ns, "x"), sweeperPermissions(w.ns, "x")
	for i, list := range [][]string{sweeper.publish, sweeper.subscribe} {
		for _, p := range list {
			if !slices.Contains([][]string{worker.publish, worker.subscribe}[i], p) {
				t.Errorf("the worker lacks a permission of the sweeper: %s", p)
			}
		}
	}
	w.serve() // which creates the streams
	lease := w.lease(w.connect("requester", "alice"), "alice", `{"ttl":"1m"}`).Lease
	w.stop()

	conn := func(role string) *nats.Conn {
		nc, err := nats.Connect(w.server.URL(), nats.UserInfo(role, natsWitness), nats.CustomInboxPrefix("_INBOX_"+role), nats.ErrorHandler(w.violation))
		w.ok(err)
		t.Cleanup(nc.Close)
		return nc
	}
	cfg := w.config
	cfg.Conn = conn("worker")
	ctx, cancel := context.WithTimeout(t.Context(), 2*clitest.Patience)
	defer cancel()
	c, err := consumer.New(ctx, cfg)
	w.ok(err)
	w.ok(c.Start(ctx))
	s, err := scheduler.New(scheduler.Config{Conn: conn("scheduler"), Now: w.now, Tick: 10 * time.Millisecond, Check: 10 * time.Millisecond})
	w.ok(err)
	s.Start()
	w.pass(time.Hour)
	audrey := w.connect("auditor", "audrey")
	clitest.Eventually(t, "the lease has expired", func() bool { return slices.Contains(w.events(audrey, lease.Name), messages.EventRevoked) })
	s.Stop()
	w.ok(c.Stop(ctx))
	w.notViolated()
}
