package consumer_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestRenewalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	name := w.NameOf(r)
	renew := func(body string) messages.Reply {
		r, _ := w.Answer(w.Publish(w.Namespace.Renew(name), body))
		return r
	}
	over := renew(`{"ttl":"25h"}`)
	w.WantError(over, messages.CodeTTLExceedsMax)
	if !strings.Contains(over.Error.Message, "23h59m") {
		t.Fatalf("the error does not name the largest ttl: %q", over.Error.Message)
	}
	if c := renew(`{"ttl":"25h","clamp":true}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("not clamped: %+v", c)
	}
	if c := renew(`{"ttl":"1m"}`); c.Kind != messages.KindRenewed || !c.Lease.ExpiresAt.Equal(c.Lease.MaxExpiresAt) {
		t.Fatalf("the renewal shortened the lease: %+v", c)
	}
	w.WantError(renew(`{"ttl":"1h","more":1}`), messages.CodeInvalidRequest)
	w.Answer(w.Publish(w.Namespace.Revoke(name), ""))
	w.WantError(renew(`{}`), messages.CodeLeaseEnded)
	missing := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "nosuch"}
	for _, subject := range []string{w.Namespace.Renew(missing), w.Namespace.Revoke(missing)} {
		r, _ := w.Answer(w.Publish(subject, ""))
		w.WantError(r, messages.CodeLeaseNotFound)
	}
	w.WaitQueuesEmpty()
}

func TestRenewalStoredBeforeTheEndCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	b.Kill()
	renewal := w.Publish(w.Namespace.Renew(w.NameOf(r)), `{"ttl":"3h"}`)
	w.Clock.Advance(90 * time.Minute)
	w.Broker()
	w.WantKind(first(w.Answer(renewal)), messages.KindRenewed)
	w.WaitQueuesEmpty()
	w.WantActive(r)
}

// TestRenewalOrExpiryWinsARace renews leases about the moment at which they end.
// Whatever the answer is, it is true.
func TestRenewalOrExpiryWinsARace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Broker()
	var all sync.WaitGroup
	var renewed, ended int
	var mu sync.Mutex
	for i := range 40 {
		r := w.Lease("ci", `{"ttl":"1s"}`)
		all.Go(func() {
			lead := time.Duration(i-20) * 2 * time.Millisecond
			time.Sleep(time.Until(r.Lease.ExpiresAt) + lead) // the race is with the clock
			sub, err := w.Conn.SubscribeSync(w.Conn.NewInbox())
			if err != nil {
				t.Error(err)
				return
			}
			msg := nats.NewMsg(w.Namespace.Renew(messages.LeaseName{Identity: "alice", Secret: "ci", ID: r.Lease.ID}))
			msg.Data = []byte(`{"ttl":"1h"}`)
			msg.Header.Set(messages.HeaderReplyTo, sub.Subject)
			if _, err := w.JS.PublishMsg(context.Background(), msg); err != nil {
				t.Error(err)
				return
			}
			m, err := sub.NextMsg(lessortest.Patience)
			if err != nil {
				t.Error("no answer to a renewal:", err)
				return
			}
			a, err := messages.DecodeReply(m.Data)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && a.Kind == messages.KindRenewed:
				renewed++
				if !w.Works(r.Credentials) {
					t.Error("a lease was renewed, and its key does not work")
				}
			case err == nil && a.Kind == messages.KindError && a.Error.Code == messages.CodeLeaseEnded:
				ended++
			default:
				t.Errorf("%+v %v %v", a, a.Error, err)
			}
		})
	}
	all.Wait()
	w.WaitQueuesEmpty()
	w.Eventually("the leases that were not renewed have ended", func() bool {
		w.Clock.Advance(time.Second)
		return w.Sim.UserCount() == renewed
	})
	t.Logf("%d renewed, %d ended", renewed, ended)
	if renewed == 0 || ended == 0 {
		t.Fatalf("%d were renewed and %d ended: there was no race", renewed, ended)
	}
}

// TestLateRenewalDoesNotReviveARevokedKey: the policy of a renewal reaches AWS after
// the lease was revoked, while the key can't be deleted. It must not replace the Deny
// of the teardown.
func TestLateRenewalDoesNotReviveARevokedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var puts atomic.Int32
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			if puts.Add(1) == 1 {
				once.Do(func() { close(blocked) })
				<-release
			}
		}
		if c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
	renewal := w.Publish(w.Namespace.Renew(w.NameOf(r)), `{"ttl":"2h"}`)
	<-blocked
	w.Revoke(r)
	rec, _ := w.Record(r.Lease.Name)
	if rec.State != messages.StateRevoking || w.Works(r.Credentials) {
		t.Fatalf("the lease is %s, the key works: %v", rec.State, w.Works(r.Credentials))
	}
	close(release)
	w.Answer(renewal)
	if w.Works(r.Credentials) {
		rec, _ := w.Record(r.Lease.Name)
		t.Fatalf("the lease is %s, and its key works again; the next attempt is in %s", rec.State, time.Until(rec.Due))
	}
}
