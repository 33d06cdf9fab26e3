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

func TestRollingRestartAnswersEveryAPIRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	lost, sent, refused := 0, 0, map[string]int{}
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m, err := w.Conn.Request(w.Namespace.API("get", "alice", "ci", "nosuch"), nil, 2*time.Second)
				mu.Lock()
				sent++
				if err != nil {
					lost++
				} else {
					refused[m.Header.Get("Nats-Service-Error-Code")]++
				}
				mu.Unlock()
			}
		})
	}
	for range 10 {
		b := w.Broker()
		mu.Lock()
		before := sent
		mu.Unlock()
		w.Eventually("the brokers answer requests", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return sent > before+50
		})
		b.Close()
	}
	close(stop)
	all.Wait()
	t.Logf("%d requests, %d without an answer, %v", sent, lost, refused)
	if lost > 0 || refused["404"]+lost != sent {
		t.Fail()
	}
}

// TestStopEndsWaitingAPIRequests: they wait for a message that only this broker could
// handle.
func TestStopEndsWaitingAPIRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500, Code: "ServiceFailure"}
		}
		return iamsim.Verdict{}
	})
	n := w.NameOf(r)
	w.Publish(w.Namespace.Renew(n), `{"ttl":"2h"}`)
	w.waitCall("", "PutUserPolicy")
	attempts, err := w.Conn.SubscribeSync(w.Namespace.Renew(n)) // of the API request to be stored
	w.NoError(err)
	w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew", n.Identity, n.Secret, n.ID), w.Conn.NewInbox(), nil))
	_, err = attempts.NextMsg(lessortest.Patience)
	w.NoError(err)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	begun := time.Now()
	err = b.Stop(ctx)
	t.Logf("the stop took %s: %v", time.Since(begun), err)
	if err != nil {
		t.Fail()
	}
}

// TestStopDeliversNothingThatItInterrupts stops a broker that waits for ready_within,
// with little patience.
func TestStopDeliversNothingThatItInterrupts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" && c.AccessKeyID != w.KeyID {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "InvalidClientTokenId"}
		}
		return iamsim.Verdict{}
	})
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h","ready_within":"30s"}`)
	w.Eventually("the lease is active", func() bool { r := w.Records(); return len(r) == 1 && r[0].State == messages.StateActive })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = b.Stop(ctx)
	if m, err := sub.NextMsg(500 * time.Millisecond); err == nil {
		r, _ := messages.DecodeReply(m.Data)
		rec, _ := w.Record(r.Lease.Name)
		t.Fatalf("delivered with ready %v; settled: %v, queue empty: %v", *r.Ready, rec.Settled(), w.QueuesAreEmpty())
	}
}
