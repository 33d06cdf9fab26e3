package consumer_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// call makes a plain NATS request, as `nats req` does, and checks that one reply
// comes and no more.
func (w *world) call(nc *nats.Conn, subject, body string, header ...string) messages.Reply {
	w.t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	w.ok(err)
	defer func() { _ = sub.Unsubscribe() }()
	msg := nats.NewMsg(subject)
	msg.Data, msg.Reply = []byte(body), inbox
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	w.ok(nc.PublishMsg(msg))
	r, _ := w.answer(sub)
	if extra, err := sub.NextMsg(20 * time.Millisecond); err == nil {
		w.t.Fatalf("a second reply: %s", extra.Data)
	}
	return r
}

func TestThePlainRequestGetsOneReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.call(w.nc, "lessor.api.request.alice.ci", `{"ttl":"1h"}`)
	w.alive(r)
	path := "alice.ci." + r.Lease.ID
	if a := w.call(w.nc, "lessor.api.renew."+path, `{"ttl":"3h"}`); a.Kind != messages.KindRenewed {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.call(w.nc, "lessor.api.get."+path, ""); a.Kind != messages.KindLease || a.Lease.Renewals != 1 {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.call(w.nc, "lessor.api.list.alice", ""); a.Kind != messages.KindLeases || len(a.Leases) != 1 || a.Leases[0].Name != r.Lease.Name {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.call(w.nc, "lessor.api.list.bob", ""); a.Kind != messages.KindLeases || len(a.Leases) != 0 || a.Leases == nil {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.call(w.nc, "lessor.api.revoke."+path, `{"reason":"done"}`); a.Kind != messages.KindRevoked || a.Lease.State != messages.StateRevoked {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.nothingInAWS()
	w.quiet()
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
}

func TestTheFrontDoorRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.call(w.nc, "lessor.api.request.alice.ci", "")
	for _, c := range []struct {
		subject, body string
		code          messages.Code
	}{
		{"lessor.api.request.alice.nope", "", messages.CodeSecretNotFound},
		{"lessor.api.request.alice.ci", `{"x":1}`, messages.CodeInvalidRequest},
		{"lessor.api.request.alice.ci", strings.Repeat(" ", messages.MaxBody+1), messages.CodeTooLarge},
		{"lessor.api.request.Alice.ci", "", messages.CodeInvalidSubject},
		{"lessor.api.request.alice.CI", "", messages.CodeInvalidSubject},
		{"lessor.api.request.alice.ci", `{"ttl":"2d"}`, messages.CodeTTLExceedsMax},
		{"lessor.api.renew.alice.ci.nosuch", "", messages.CodeLeaseNotFound},
		{"lessor.api.revoke.alice.ci.nosuch", "", messages.CodeLeaseNotFound},
		{"lessor.api.get.alice.ci.nosuch", "", messages.CodeLeaseNotFound},
		{"lessor.api.renew.bob.ci." + r.Lease.ID, "", messages.CodeLeaseNotFound},
		{"lessor.api.revoke.bob.ci." + r.Lease.ID, "", messages.CodeLeaseNotFound},
		{"lessor.api.get.bob.ci." + r.Lease.ID, "", messages.CodeLeaseNotFound},
		{"lessor.api.renew.alice.ci." + r.Lease.ID, `{"ttl":7}`, messages.CodeInvalidRequest},
		{"lessor.api.revoke.alice.ci." + r.Lease.ID, `{"why":""}`, messages.CodeInvalidRequest},
		{"lessor.api.list.alice", `{"limit":9999}`, messages.CodeInvalidRequest},
		{"lessor.api.get.alice.ci." + r.Lease.ID, `{"a":1}`, messages.CodeInvalidRequest},
	} {
		w.refused(w.call(w.nc, c.subject, c.body), c.code)
	}
	w.alive(r)
	w.quiet()
}

func TestAPlainRequestMayBeRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	first := w.call(w.nc, "lessor.api.request.alice.ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	again := w.call(w.nc, "lessor.api.request.alice.ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	if again.Credentials == nil || again.Credentials.AccessKeyID != first.Credentials.AccessKeyID {
		t.Fatalf("%+v %v", again, again.Error)
	}
	w.refused(w.call(w.nc, "lessor.api.request.alice.ci", `{"confirm":false}`, messages.HeaderIdempotencyKey, "k"), messages.CodeIdempotencyMismatch)
}

// TestRenewalsAtOnceAreAllAnswered: a stream holds one pending message a lease,
// and nobody's is lost for it.
func TestRenewalsAtOnceAreAllAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.call(w.nc, "lessor.api.request.alice.ci", "")
	w.sim.SetFaults(iamsim.Faults{Latency: 20 * time.Millisecond})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := w.call(w.nc, "lessor.api.renew.alice.ci."+r.Lease.ID, fmt.Sprintf(`{"ttl":"%dh"}`, i+1))
			if a.Kind != messages.KindRenewed {
				t.Errorf("%+v %v", a, a.Error)
			}
		})
	}
	all.Wait()
	rec, _ := w.record(r.Lease.Name)
	if left := time.Until(rec.ExpiresAt); left < 19*time.Hour+50*time.Minute || rec.Renewals != 20 {
		t.Fatalf("after 20 renewals, the longest of 20h: %s left, %d counted", left, rec.Renewals)
	}
	u, _ := w.sim.User(rec.User.Name)
	if !strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z")) {
		t.Fatalf("AWS refuses the key at another time than %s: %s", rec.ExpiresAt, u.InlinePolicies["lessor"])
	}
}

func TestAListComesInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	var subs []*nats.Subscription
	for range 25 {
		subs = append(subs, w.publish(w.ns.Request("alice", "ci"), "{}"))
	}
	want := map[string]bool{}
	for _, s := range subs {
		r, _ := w.answer(s)
		want[r.Lease.Name] = true
	}
	after, pages := "", 0
	for {
		q, _ := json.Marshal(messages.ListRequest{Limit: 10, After: after, State: messages.StateActive, Secret: "ci"})
		a := w.call(w.nc, "lessor.api.list.alice", string(q))
		if len(a.Leases) > 10 {
			t.Fatalf("a page of %d", len(a.Leases))
		}
		for _, l := range a.Leases {
			if !want[l.Name] || l.Name <= after {
				t.Fatalf("%s is not expected here", l.Name)
			}
			delete(want, l.Name)
			after = l.Name
		}
		pages++
		if a.Next == "" {
			break
		}
	}
	if len(want) > 0 || pages != 3 {
		t.Fatalf("%d leases are missing, %d pages", len(want), pages)
	}
}

// accounts is a server with a broker's account and a requesters', which imports
// the front door and nothing else.
const accounts = `
accounts {
  BROKER {
    jetstream: enabled
    users: [{user: broker, password: b}]
    exports: [{service: "lessor.api.>", response_type: Singleton}]
  }
  APPS {
    users: [{user: alice, password: a, permissions: {
      publish: ["lessor.api.*.alice", "lessor.api.*.alice.>"], subscribe: "_INBOX_alice.>", allow_responses: true}}]
    imports: [{service: {account: BROKER, subject: "lessor.api.>"}}]
  }
}`

func TestARequesterInAnotherAccountIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.nc.Close()
	w.server.Close()
	var err error
	w.server, err = embedded.Start(embedded.Options{StoreDir: w.dir, Listen: "127.0.0.1:0", Configure: func(o *server.Options) {
		w.ok(o.ProcessConfigString(accounts))
		o.JetStream, o.StoreDir, o.Port = true, w.dir, server.RANDOM_PORT
	}})
	w.ok(err)
	t.Cleanup(w.server.Close)
	w.nc = w.connect(nats.UserInfo("broker", "b"))
	w.js, err = jetstream.New(w.nc)
	w.ok(err)
	b, err := w.tryBroker(w.connect(nats.UserInfo("broker", "b")))
	w.ok(err)
	w.put(b, plainSecret)

	alice := w.connect(nats.UserInfo("alice", "a"), nats.CustomInboxPrefix("_INBOX_alice"))
	inbox := alice.NewInbox()
	sub, err := alice.SubscribeSync(inbox)
	w.ok(err)
	w.ok(alice.PublishRequest("lessor.api.request.alice.ci", inbox, []byte(`{"confirm":true}`)))
	r, msg := w.answer(sub)
	w.ok(msg.Respond(nil))
	w.told(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.alive(r)
	if a := w.call(alice, "lessor.api.revoke.alice.ci."+r.Lease.ID, ""); a.Kind != messages.KindRevoked {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.nothingInAWS()
	w.quiet()
}
