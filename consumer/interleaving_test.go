package consumer_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func (w *world) sleepyBroker(s *sleeper, change ...func(*consumer.Config)) (*broker, string) {
	keyID, secret := w.sim.AddPrincipal("sleepy")
	nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(s))
	w.ok(err)
	change = append([]func(*consumer.Config){func(c *consumer.Config) {
		c.Workers.Request = 2 // or a sleeping broker gets one message after the other, and sleeps
		c.Provider = awsiam.New(awsiam.Options{
			Endpoint: w.aws.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
			Backoff: func(int) time.Duration { return 5 * time.Millisecond },
		})
	}}, change...)
	b, err := w.tryBroker(nc, change...)
	w.ok(err)
	return b, keyID
}

// Who is turned away because too many want something at once is told so.
func TestTooManyKnocksAreTold(t *testing.T) { tooMany(t, 4096) }
func tooMany(t *testing.T, knocks int) {
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	release := make(chan struct{})
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			<-release
		}
		return iamsim.Verdict{}
	})
	defer close(release)
	w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)
	n := nameOf(w, r)
	for range knocks {
		w.ok(w.nc.PublishRequest(w.ns.API("renew", n.Identity, n.Secret, n.ID), w.nc.NewInbox(), nil))
	}
	w.ok(w.nc.Flush())
	time.Sleep(time.Second)
	_, err := w.nc.Request(w.ns.API("get", n.Identity, n.Secret, n.ID), nil, 3*time.Second)
	if err != nil {
		t.Fatalf("never answered: %v; refusals logged: %d", err, strings.Count(w.logs.String(), "too many requests"))
	}
}

// A lease is revoked while it is being made: its requester is told.
func TestARequestWhoseLeaseIsRevokedInTheMakingIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	stopped, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			once.Do(func() { close(stopped) })
			<-release
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	rec := w.records()[0]
	w.publishFor("", w.ns.Revoke(rec.Name()), "")
	w.eventually("revoking", func() bool { r, _ := w.record(rec.Name().String()); return r.State != messages.StateProvisioning })
	close(release)
	w.quiet()
	if _, err := sub.NextMsg(3 * time.Second); err != nil {
		t.Fatalf("the request left the queue without an answer: %v; record %+v", err, w.records()[0].State)
	}
}

// A CreateUser that AWS carries out after the lease was abandoned and buried.
func TestALateCreateUserIsNotOrphaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	stopped, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			once.Do(func() { close(stopped); <-release })
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.clock.move(31 * time.Second)
	name := w.records()[0].Name().String()
	w.eventually("abandoned and buried", func() bool {
		w.clock.move(5 * time.Second)
		r, _ := w.record(name)
		return r.State.Ended()
	})
	close(release)
	w.answer(sub)
	w.quiet()
	time.Sleep(time.Second)
	if n := w.sim.UserCount(); n != 1 {
		t.Fatalf("%d users for one lease\n%s", n, w.dump())
	}
}

func deliveryEffect(t *testing.T, body string) int {
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	first.stop()
	m := newMortal(0, false)
	b := w.mortalBroker(m)
	m.arm()
	w.answer(w.publish(w.ns.Request("alice", "ci"), body))
	b.die()
	for i, e := range m.seen() {
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
	first := w.broker()
	w.put(first, plainSecret)
	first.stop()
	m := newMortal(at, true)
	b := w.mortalBroker(m)
	m.arm()
	sub := w.publish(w.ns.Request("alice", "ci"), body)
	answer, msg := w.answer(sub)
	w.ok(sub.Unsubscribe()) // it has what it wants
	w.eventually("dead", m.isDead)
	b.die()
	for range 600 { // the confirmations' queue has a backlog
		_, err := w.js.PublishAsync(w.ns.Confirm(nameOf(w, answer), "bogus"), nil)
		w.ok(err)
	}
	<-w.js.PublishAsyncComplete()
	w.ok(msg.Respond([]byte("I have it")))
	w.ok(w.nc.Flush())
	w.broker(func(c *consumer.Config) { c.Workers.Confirm = 1 })
	w.quiet()
	rec, _ := w.record(answer.Lease.Name)
	if rec.State != messages.StateActive {
		t.Fatalf("confirmed, and %s (%s)", rec.State, rec.Reason)
	}
}

// A replaced worker does not set AWS to an end that a renewal has moved meanwhile.
func TestAReplacedWorkerDoesNotUndoARenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSleeper()
	b1, keyID := w.sleepyBroker(s)
	w.put(b1, plainSecret)
	stopped, blocked, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, once2 sync.Once
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID {
			return iamsim.Verdict{}
		}
		if c.Action == "CreateAccessKey" {
			once.Do(func() { s.sleep(); close(stopped) })
		}
		s.wait()
		if c.Action == "DeleteAccessKey" {
			once2.Do(func() { close(blocked); <-release })
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.broker()
	answer, _ := w.answer(sub)
	w.quiet()
	s.wake()
	<-blocked
	b1.sched.Stop()
	for {
		a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, answer)), `{"ttl":"5h"}`))
		if a.Kind == messages.KindRenewed {
			break
		}
	}
	close(release)
	time.Sleep(time.Second)
	rec, _ := w.record(answer.Lease.Name)
	u, _ := w.sim.User(rec.User.Name)
	if !strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z")) {
		t.Fatalf("record ends %s, AWS has %s", rec.ExpiresAt, u.InlinePolicies["lessor"])
	}
}

// A replaced worker does not delete the key of whoever replaced it.
func TestAReplacedWorkerLeavesTheNewKeyAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSleeper()
	b1, keyID := w.sleepyBroker(s)
	w.put(b1, plainSecret)
	stopped := make(chan struct{})
	var once, lost sync.Once
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID {
			return iamsim.Verdict{}
		}
		v := iamsim.Verdict{}
		if c.Action == "CreateAccessKey" {
			lost.Do(func() { v.Do = iamsim.DropAfter })
		}
		if c.Action == "ListAccessKeys" {
			once.Do(func() { s.sleep(); close(stopped) })
		}
		s.wait()
		return v
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	<-stopped
	w.broker()
	answer, _ := w.answer(sub)
	w.quiet()
	if !w.works(answer.Credentials) {
		t.Fatal("does not work to begin with")
	}
	s.wake()
	time.Sleep(time.Second)
	if !w.works(answer.Credentials) {
		t.Fatalf("the delivered key is dead\n%s", w.dump())
	}
}

// A worker that has undone one attempt does not bury another.
func TestUndoBuriesItsOwnAttemptOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSleeper()
	b1, keyID := w.sleepyBroker(s, func(c *consumer.Config) { c.Workers = consumer.Workers{Request: 1, Renew: 1, Revoke: 1, Confirm: 1} })
	w.put(b1, plainSecret)
	stopped := make(chan struct{})
	var once sync.Once
	var denied atomic.Bool
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == keyID && c.Action == "DeleteUser" {
			return iamsim.Verdict{After: func() { once.Do(func() { s.sleep(); close(stopped) }) }}
		}
		if denied.Load() && c.AccessKeyID != keyID && c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
	const body = `{"ttl":"1h","confirm":true}`
	w.lease("ci", body, messages.HeaderIdempotencyKey, "k") // and not confirmed
	w.quiet()
	w.clock.move(11 * time.Second)
	<-stopped
	begun := time.Now()
	w.broker()
	w.clock.move(3 * time.Minute)
	w.eventually("the other has undone it", func() bool { r := w.records(); return len(r) == 1 && r[0].State.Ended() })
	denied.Store(true)
	answer := w.lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.answer(w.publish(w.ns.Revoke(nameOf(w, answer)), ""))
	rec, _ := w.record(answer.Lease.Name)
	t.Logf("before the first wakes, after %s: attempt %d %s, users %d", time.Since(begun), rec.Attempt, rec.State, w.sim.UserCount())
	s.wake()
	time.Sleep(time.Second)
	rec, _ = w.record(answer.Lease.Name)
	if rec.State.Ended() && w.sim.UserCount() > 0 {
		t.Fatalf("the record says %s (attempt %d), and the user is there\n%s", rec.State, rec.Attempt, w.dump())
	}
}

// What nobody waits for any more is not delivered.
func TestNothingIsDeliveredAfterTheDeadline(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	first.stop()
	m := newMortal(at, false)
	b := w.mortalBroker(m)
	m.arm()
	sub := w.publish(w.ns.Request("alice", "ci"), body, messages.HeaderDeadline, time.Now().Add(100*time.Second).UTC().Format(time.RFC3339))
	w.eventually("dead", m.isDead)
	b.die()
	w.clock.move(5 * time.Minute)
	cfg := w.config(w.connect())
	c, err := consumer.New(w.ctx(), cfg)
	w.ok(err)
	w.ok(c.Start(w.ctx()))
	defer func() { _ = c.Stop(w.ctx()) }()
	answer, _ := w.answer(sub)
	if answer.Kind == messages.KindCredentials {
		t.Fatalf("delivered at %s: ended %s", w.clock.now(), answer.Lease.ExpiresAt)
	}
}

// The lease expired before it could be delivered: its requester is told.
func TestARequestWhoseLeaseExpiredUndeliveredIsAnswered(t *testing.T) {
	t.Parallel()
	const body = `{"ttl":"1m"}`
	at := deliveryEffect(t, body)
	w := newWorld(t)
	first := w.broker()
	w.put(first, plainSecret)
	first.stop()
	m := newMortal(at, false)
	b := w.mortalBroker(m, func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	m.arm()
	sub := w.publish(w.ns.Request("alice", "ci"), body)
	w.eventually("dead", m.isDead)
	b.die()
	w.clock.move(5 * time.Minute)
	w.broker(func(c *consumer.Config) { c.Streams.AckWait = 3 * time.Second })
	w.quiet()
	if msg, err := sub.NextMsg(2 * time.Second); err != nil {
		t.Fatalf("left the queue without an answer: %v %+v", err, w.records()[0].Reason)
	} else {
		t.Logf("%s", msg.Data[:60])
	}
}

func TestARepeatOfAFailingRequestIsToldTheTruth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), extraSecret)
	w.denies("DeleteUser")
	w.refused(w.ask("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
	w.refused(w.ask("extra", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeProviderRejected)
}

func TestASequenceThatComesAgainIsAnotherMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.quiet()
	w.ok(w.js.DeleteStream(w.ctx(), w.ns.Stream(messages.VerbRequest)))
	w.eventually("made anew", func() bool {
		_, err := w.js.Stream(w.ctx(), w.ns.Stream(messages.VerbRequest))
		return err == nil
	})
	w.refused(w.ask("ci", "{}", messages.HeaderIdempotencyKey, "k"), messages.CodeAlreadyDelivered)
}

// A rolling restart: no plain request at the front door goes unanswered.
func TestARollingRestartAnswersEveryKnock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
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
				m, err := w.nc.Request(w.ns.API("get", "alice", "ci", "nosuch"), nil, 2*time.Second)
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
		b := w.broker()
		time.Sleep(100 * time.Millisecond)
		b.stop()
	}
	close(stop)
	all.Wait()
	t.Logf("%d asked, %d never answered, %v", asked, lost, refused)
	if lost > 0 || refused["404"]+lost != asked {
		t.Fail()
	}
}

// A stop that is out of patience cuts ready_within short, and delivers nothing.
func TestAStopDoesNotDeliverWhatItGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" && c.AccessKeyID != w.keyID {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "InvalidClientTokenId"}
		}
		return iamsim.Verdict{}
	})
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h","ready_within":"30s"}`)
	w.eventually("active", func() bool { r := w.records(); return len(r) == 1 && r[0].State == messages.StateActive })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = b.Stop(ctx)
	if m, err := sub.NextMsg(time.Second); err == nil {
		r, _ := messages.DecodeReply(m.Data)
		rec, _ := w.record(r.Lease.Name)
		t.Fatalf("delivered with ready %v after a moment of 30s; settled: %v, queue empty: %v", *r.Ready, rec.Settled(), w.empty())
	}
}

// A stop does not wait for knocks that wait for what only it could have done.
func TestAStopEndsKnocksThatWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	r := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutUserPolicy" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 500, Code: "ServiceFailure"}
		}
		return iamsim.Verdict{}
	})
	n := nameOf(w, r)
	w.publish(w.ns.Renew(n), `{"ttl":"2h"}`)
	time.Sleep(300 * time.Millisecond)
	w.ok(w.nc.PublishRequest(w.ns.API("renew", n.Identity, n.Secret, n.ID), w.nc.NewInbox(), nil))
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
