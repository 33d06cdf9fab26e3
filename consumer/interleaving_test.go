package consumer_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Who is turned away because too many want something at once is told so.
func TestTooManyKnocksAreTold(t *testing.T) { tooMany(t, 4096) }
func tooMany(t *testing.T, knocks int) {
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
	for range knocks {
		w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew", n.Identity, n.Secret, n.ID), w.Conn.NewInbox(), nil))
	}
	w.NoError(w.Conn.Flush())
	time.Sleep(time.Second)
	_, err := w.Conn.Request(w.Namespace.API("get", n.Identity, n.Secret, n.ID), nil, 3*time.Second)
	if err != nil {
		t.Fatalf("never answered: %v; refusals logged: %d", err, w.Logs.Count("too many requests"))
	}
}

// A lease is revoked while it is being made: its requester is told.
func TestARequestWhoseLeaseIsRevokedInTheMakingIsAnswered(t *testing.T) {
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
	w.Eventually("revoking", func() bool { r, _ := w.Record(rec.Name().String()); return r.State != messages.StateProvisioning })
	close(release)
	w.WaitQueuesEmpty()
	if _, err := sub.NextMsg(3 * time.Second); err != nil {
		t.Fatalf("the request left the queue without an answer: %v; record %+v", err, w.Records()[0].State)
	}
}

// A CreateUser that AWS carries out after the lease was abandoned and buried.
func TestALateCreateUserIsNotOrphaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	stopped, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			once.Do(func() { close(stopped); <-release })
		}
		return iamsim.Verdict{}
	})
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.Clock.Advance(31 * time.Second)
	name := w.Records()[0].Name().String()
	w.Eventually("abandoned and buried", func() bool {
		w.Clock.Advance(5 * time.Second)
		r, _ := w.Record(name)
		return r.State.Ended()
	})
	close(release)
	w.Answer(sub)
	w.WaitQueuesEmpty()
	time.Sleep(time.Second)
	if n := w.Sim.UserCount(); n != 1 {
		t.Fatalf("%d users for one lease\n%s", n, w.Dump())
	}
}

func deliveryEffect(t *testing.T, body string) int {
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: 0, After: false}
	b := w.CrashingBroker(m)
	m.Arm()
	w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), body))
	b.Kill()
	for i, e := range m.Effects() {
		if strings.HasPrefix(e, "_INBOX") {
			return i + 1
		}
	}
	t.Fatal("no delivery")
	return 0
}

// A confirmation that was stored in time counts also where a repeated delivery
// meets nobody.
func TestAStoredConfirmationBeatsNobodyListens(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1h","confirm":true}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: true}
	b := w.CrashingBroker(m)
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body)
	answer, msg := w.Answer(sub)
	w.NoError(sub.Unsubscribe()) // it has what it wants
	w.Eventually("dead", m.Crashed)
	b.Kill()
	for range 600 { // the confirmations' queue has a backlog
		_, err := w.JS.PublishAsync(w.Namespace.Confirm(w.NameOf(answer), "bogus"), nil)
		w.NoError(err)
	}
	<-w.JS.PublishAsyncComplete()
	w.NoError(msg.Respond([]byte("I have it")))
	w.NoError(w.Conn.Flush())
	w.Broker(func(c *consumer.Config) { c.Workers.Confirm = 1 })
	w.WaitQueuesEmpty()
	rec, _ := w.Record(answer.Lease.Name)
	if rec.State != messages.StateActive {
		t.Fatalf("confirmed, and %s (%s)", rec.State, rec.Reason)
	}
}

// A replaced worker does not set AWS to an end that a renewal has moved meanwhile.
func TestAReplacedWorkerDoesNotUndoARenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	removal := lessortest.NewGate()
	s := w.newStall(atAction("CreateAccessKey"), func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "DeleteAccessKey" {
			removal.Pass(context.Background())
		}
		return iamsim.Verdict{}
	})
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	w.Broker()
	answer, _ := w.Answer(sub)
	w.WaitQueuesEmpty()
	s.resume()
	removal.WaitArrival(t, "the replaced worker deletes its key")
	s.broker.Scheduler.Stop()
	for {
		a := w.Renew(answer, `{"ttl":"5h"}`)
		if a.Kind == messages.KindRenewed {
			break
		}
	}
	removal.Open()
	time.Sleep(time.Second)
	rec, _ := w.Record(answer.Lease.Name)
	u, _ := w.Sim.User(rec.User.Name)
	if !strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z")) {
		t.Fatalf("record ends %s, AWS has %s", rec.ExpiresAt, u.InlinePolicies["lessor"])
	}
}

// A replaced worker does not delete the key of whoever replaced it.
func TestAReplacedWorkerLeavesTheNewKeyAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lost sync.Once
	s := w.newStall(atAction("ListAccessKeys"), func(s *stall, c iamsim.Call) (v iamsim.Verdict) {
		if c.AccessKeyID == s.keyID && c.Action == "CreateAccessKey" {
			lost.Do(func() { v.Do = iamsim.DropAfter })
		}
		return v
	})
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	w.Broker()
	answer, _ := w.Answer(sub)
	w.WaitQueuesEmpty()
	if !w.Works(answer.Credentials) {
		t.Fatal("does not work to begin with")
	}
	s.resume()
	time.Sleep(time.Second)
	if !w.Works(answer.Credentials) {
		t.Fatalf("the delivered key is dead\n%s", w.Dump())
	}
}

// A worker that has undone one attempt does not bury another.
func TestUndoBuriesItsOwnAttemptOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var denied atomic.Bool
	s := w.newStall(never, func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "DeleteUser" {
			return iamsim.Verdict{After: s.pause}
		}
		if denied.Load() && c.AccessKeyID != s.keyID && c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	}, func(c *consumer.Config) { c.Workers = consumer.Workers{Request: 1, Renew: 1, Revoke: 1, Confirm: 1} })
	w.Put(s.broker, lessortest.Secret)
	const body = `{"ttl":"1h","confirm":true}`
	w.Lease("ci", body, messages.HeaderIdempotencyKey, "k") // and not confirmed
	w.WaitQueuesEmpty()
	w.Clock.Advance(11 * time.Second)
	s.wait()
	begun := time.Now()
	w.Broker()
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the other has undone it", func() bool { r := w.Records(); return len(r) == 1 && r[0].State.Ended() })
	denied.Store(true)
	answer := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.Revoke(answer)
	rec, _ := w.Record(answer.Lease.Name)
	t.Logf("before the first wakes, after %s: attempt %d %s, users %d", time.Since(begun), rec.Attempt, rec.State, w.Sim.UserCount())
	s.resume()
	time.Sleep(time.Second)
	rec, _ = w.Record(answer.Lease.Name)
	if rec.State.Ended() && w.Sim.UserCount() > 0 {
		t.Fatalf("the record says %s (attempt %d), and the user is there\n%s", rec.State, rec.Attempt, w.Dump())
	}
}

// What nobody waits for any more is not delivered.
func TestNothingIsDeliveredAfterTheDeadline(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m)
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body, messages.HeaderDeadline, time.Now().Add(100*time.Second).UTC().Format(time.RFC3339))
	w.Eventually("dead", m.Crashed)
	b.Kill()
	w.Clock.Advance(5 * time.Minute)
	cfg := w.Config(w.Connect())
	c, err := consumer.New(w.Context(), cfg)
	w.NoError(err)
	w.NoError(c.Start(w.Context()))
	defer func() { _ = c.Stop(w.Context()) }()
	answer, _ := w.Answer(sub)
	if answer.Kind == messages.KindCredentials {
		t.Fatalf("delivered at %s: ended %s", w.Clock.Now(), answer.Lease.ExpiresAt)
	}
}

// The lease expired before it could be delivered: its requester is told.
func TestARequestWhoseLeaseExpiredUndeliveredIsAnswered(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: at, After: false}
	b := w.CrashingBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.Arm()
	sub := w.Publish(w.Namespace.Request("alice", "ci"), body)
	w.Eventually("dead", m.Crashed)
	b.Kill()
	w.Clock.Advance(5 * time.Minute)
	w.Broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.WaitQueuesEmpty()
	if msg, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("left the queue without an answer: %v %+v", err, w.Records()[0].Reason)
	} else {
		t.Logf("%s", msg.Data[:60])
	}
}

func TestARepeatOfAFailingRequestIsToldTheTruth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), extraSecret)
	w.Deny("DeleteUser")
	w.WantError(w.Request("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
	w.WantError(w.Request("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
}

func TestASequenceThatComesAgainIsAnotherMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.Stream(messages.VerbRequest)))
	w.Eventually("made anew", func() bool {
		_, err := w.JS.Stream(w.Context(), w.Namespace.Stream(messages.VerbRequest))
		return err == nil
	})
	w.WantError(w.Request("ci", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
}

// A rolling restart: no plain request at the front door goes unanswered.
func TestARollingRestartAnswersEveryKnock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	lost, asked, refused := 0, 0, map[string]int{}
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
				asked++
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
		time.Sleep(100 * time.Millisecond)
		b.Close()
	}
	close(stop)
	all.Wait()
	t.Logf("%d asked, %d never answered, %v", asked, lost, refused)
	if lost > 0 || refused["404"]+lost != asked {
		t.Fail()
	}
}

// A stop that is out of lessortest.Patience cuts ready_within short, and delivers nothing.
func TestAStopDoesNotDeliverWhatItGivesUp(t *testing.T) {
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
	w.Eventually("active", func() bool { r := w.Records(); return len(r) == 1 && r[0].State == messages.StateActive })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = b.Stop(ctx)
	if m, err := sub.NextMsg(time.Second); err == nil {
		r, _ := messages.DecodeReply(m.Data)
		rec, _ := w.Record(r.Lease.Name)
		t.Fatalf("delivered with ready %v after a moment of 30s; settled: %v, queue empty: %v", *r.Ready, rec.Settled(), w.QueuesAreEmpty())
	}
}

// A stop does not wait for knocks that wait for what only it could have done.
func TestAStopEndsKnocksThatWait(t *testing.T) {
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
	time.Sleep(300 * time.Millisecond)
	w.NoError(w.Conn.PublishRequest(w.Namespace.API("renew", n.Identity, n.Secret, n.ID), w.Conn.NewInbox(), nil))
	time.Sleep(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	begun := time.Now()
	err := b.Stop(ctx)
	t.Logf("stop took %s: %v", time.Since(begun), err)
	if err != nil {
		t.Fail()
	}
}
