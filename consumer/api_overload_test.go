package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestRequestsAboveTheAPIsLimitAreAnswered(t *testing.T) {
	t.Parallel()
	const requests = 4096
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	release := make(chan struct{})
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			<-release
		}
		return iamsim.Verdict{}
	})
	defer close(release)
	w.Publish(w.Namespace.Renew(w.NameOf(r)), `{"ttl":"2h"}`)
	n := w.NameOf(r)
	for range requests {
		w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew", n.Identity, n.Secret, n.ID), w.Conn.NewInbox(), nil))
	}
	w.NoError(w.Conn.Flush())
	_, err := w.Conn.Request(w.Namespace.API("get", n.Identity, n.Secret, n.ID), nil, lessortest.Patience)
	if err != nil {
		t.Fatalf("no answer: %v; refusals logged: %d", err, w.Logs.Count("too many requests"))
	}
}

// TestFloodingIdentityDoesNotBlockOthers: alice takes as much of the API and of the
// workers as one identity gets, and bob is served at once.
func TestFloodingIdentityDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	alices, bobs := w.requestBy("alice", false), w.requestBy("bob", false)
	var names []string
	for range 8 { // each lease has one pending renewal, and others that wait for it
		names = append(names, w.requestBy("alice", false).Lease.Name)
	}
	names = append(names, alices.Lease.Name)
	w.WaitQueuesEmpty()
	release := make(chan struct{}) // until then renewals stay pending
	w.Sim.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict { <-release; return iamsim.Verdict{} })
	defer close(release)
	inbox := w.Conn.NewInbox()
	sub, err := w.Conn.SubscribeSync(inbox)
	w.NoError(err)
	const share, flood = 256, 400
	for i := range flood {
		w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew")+"."+names[i%len(names)], inbox, []byte(`{"ttl":"2h"}`)))
	}
	refused := 0
	for refused < flood-share-len(names)-8 { // the others are admitted, or wait on the stream
		r, _ := w.Answer(sub)
		w.WantError(r, messages.CodeUnavailable)
		if r.Error.RetryAfter != messages.Duration(time.Second) || !strings.Contains(r.Error.Message, "of this identity") {
			t.Fatalf("%+v", r.Error)
		}
		refused++
	}
	if r := w.Call(w.Conn, w.Namespace.API("get")+"."+bobs.Lease.Name, ""); r.Kind != messages.KindLease {
		t.Fatalf("bob: %v", r.Error)
	}
}
