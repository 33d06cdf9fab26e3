package consumer_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestRequestIsAnsweredIfItsLeaseIsRevokedWhileItIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	stopped, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			once.Do(func() { close(stopped) })
			<-release
		}
		return iamsim.Verdict{}
	})
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	rec := w.Records()[0]
	w.PublishReply("", w.Namespace.Revoke(rec.Name()), "")
	w.Eventually("the revocation has begun", func() bool { r, _ := w.Record(rec.Name().String()); return r.State != messages.StateProvisioning })
	close(release)
	w.WaitQueuesEmpty()
	if _, err := sub.NextMsg(3 * time.Second); err != nil {
		t.Fatalf("the message left the queue without an answer: %v; the lease is %+v", err, w.Records()[0].State)
	}
}

// TestUserCreatedAfterTheLeaseWasAbandonedIsNotOrphaned delays CreateUser until the
// lease has been abandoned and has ended.
func TestUserCreatedAfterTheLeaseWasAbandonedIsNotOrphaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	stopped, release, created := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) (v iamsim.Verdict) {
		if c.Action == "CreateUser" {
			once.Do(func() { close(stopped); <-release; v.After = func() { close(created) } })
		}
		return v
	})
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.Clock.Advance(31 * time.Second)
	name := w.Records()[0].Name().String()
	w.Eventually("the lease was abandoned and has ended", func() bool {
		w.Clock.Advance(5 * time.Second)
		r, _ := w.Record(name)
		return r.State.Ended()
	})
	close(release)
	w.Answer(sub)
	<-created
	w.WaitQueuesEmpty()
	w.Eventually("the lease has one user", func() bool { return w.Sim.UserCount() == 1 })
}
