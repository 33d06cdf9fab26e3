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
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestAPIRequestsGetOneReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Call(w.Conn, "lessor.api.request.alice.ci", `{"ttl":"1h"}`)
	w.WantActive(r)
	path := "alice.ci." + r.Lease.ID
	w.WantKind(w.Call(w.Conn, "lessor.api.renew."+path, `{"ttl":"3h"}`), messages.KindRenewed)
	if a := w.Call(w.Conn, "lessor.api.get."+path, ""); a.Kind != messages.KindLease || a.Lease.Renewals != 1 {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.Call(w.Conn, "lessor.api.list.alice", ""); a.Kind != messages.KindLeases || len(a.Leases) != 1 || a.Leases[0].Name != r.Lease.Name {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.Call(w.Conn, "lessor.api.list.bob", ""); a.Kind != messages.KindLeases || len(a.Leases) != 0 || a.Leases == nil {
		t.Fatalf("%+v %v", a, a.Error)
	}
	if a := w.Call(w.Conn, "lessor.api.revoke."+path, `{"reason":"done"}`); a.Kind != messages.KindRevoked || a.Lease.State != messages.StateRevoked {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
}

func TestAPIRefusesInvalidRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Call(w.Conn, "lessor.api.request.alice.ci", "")
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
		w.WantError(w.Call(w.Conn, c.subject, c.body), c.code)
	}
	w.WantActive(r)
	w.WaitQueuesEmpty()
}

func TestAPIRequestCanBeRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	first := w.Call(w.Conn, "lessor.api.request.alice.ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	again := w.Call(w.Conn, "lessor.api.request.alice.ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	if again.Credentials == nil || again.Credentials.AccessKeyID != first.Credentials.AccessKeyID {
		t.Fatalf("%+v %v", again, again.Error)
	}
	w.WantError(w.Call(w.Conn, "lessor.api.request.alice.ci", `{"confirm":false}`, messages.HeaderIdempotencyKey, "k"), messages.CodeIdempotencyMismatch)
}

// TestConcurrentRenewalsAreAllAnswered: the stream takes one pending message a lease,
// and the others wait.
func TestConcurrentRenewalsAreAllAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Call(w.Conn, "lessor.api.request.alice.ci", "")
	w.Sim.SetFaults(iamsim.Faults{Latency: 20 * time.Millisecond})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := w.Call(w.Conn, "lessor.api.renew.alice.ci."+r.Lease.ID, fmt.Sprintf(`{"ttl":"%dh"}`, i+1))
			if a.Kind != messages.KindRenewed {
				t.Errorf("%+v %v", a, a.Error)
			}
		})
	}
	all.Wait()
	rec, _ := w.Record(r.Lease.Name)
	if left := time.Until(rec.ExpiresAt); left < 19*time.Hour+50*time.Minute || rec.Renewals != 20 {
		t.Fatalf("after 20 renewals, the longest of 20h, %s are left and %d are counted", left, rec.Renewals)
	}
	u, _ := w.Sim.User(rec.User.Name)
	if !strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z")) {
		t.Fatalf("the Deny in the policy does not begin at %s: %s", rec.ExpiresAt, u.InlinePolicies["lessor"])
	}
}

func TestAPIListHasPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	var subs []*nats.Subscription
	for range 25 {
		subs = append(subs, w.Publish(w.Namespace.Request("alice", "ci"), "{}"))
	}
	want := map[string]bool{}
	for _, s := range subs {
		r, _ := w.Answer(s)
		want[r.Lease.Name] = true
	}
	after, pages := "", 0
	for {
		q, _ := json.Marshal(messages.ListRequest{Limit: 10, After: after, State: messages.StateActive, Secret: "ci"})
		a := w.Call(w.Conn, "lessor.api.list.alice", string(q))
		if len(a.Leases) > 10 {
			t.Fatalf("a page of %d", len(a.Leases))
		}
		for _, l := range a.Leases {
			if !want[l.Name] || l.Name <= after {
				t.Fatalf("%s is not expected on this page", l.Name)
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

// accounts is the configuration of a server with the broker's account and a requesters'
// account, which imports the API and nothing else.
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

func TestRequesterInAnotherAccountIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Conn.Close()
	w.NATS.Close()
	var err error
	w.NATS, err = embedded.Start(embedded.Options{StoreDir: w.Dir, Listen: "127.0.0.1:0", Configure: func(o *server.Options) {
		w.NoError(o.ProcessConfigString(accounts))
		o.JetStream, o.StoreDir, o.Port = true, w.Dir, server.RANDOM_PORT
	}})
	w.NoError(err)
	t.Cleanup(w.NATS.Close)
	w.Conn = w.Connect(nats.UserInfo("broker", "b"))
	w.JS, err = jetstream.New(w.Conn)
	w.NoError(err)
	b, err := w.TryBroker(w.Connect(nats.UserInfo("broker", "b")))
	w.NoError(err)
	w.Put(b, lessortest.Secret)

	alice := w.Connect(nats.UserInfo("alice", "a"), nats.CustomInboxPrefix("_INBOX_alice"))
	inbox := alice.NewInbox()
	sub, err := alice.SubscribeSync(inbox)
	w.NoError(err)
	w.NoError(alice.PublishRequest("lessor.api.request.alice.ci", inbox, []byte(`{"confirm":true}`)))
	r, msg := w.Answer(sub)
	w.NoError(msg.Respond(nil))
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.WantActive(r)
	w.WantKind(w.Call(alice, "lessor.api.revoke.alice.ci."+r.Lease.ID, ""), messages.KindRevoked)
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
}
