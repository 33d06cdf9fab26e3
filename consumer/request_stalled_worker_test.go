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

// TestStalledWorkerStopsWhenItWasReplaced pauses a broker at each of its calls to AWS,
// has another take over and finish, and resumes the first.
func TestStalledWorkerStopsWhenItWasReplaced(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateUser", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "CreateAccessKey"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.newStall(atAction(action), nil)
			first := s.broker
			w.Put(first, lessortest.Secret)
			answers := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
			s.wait()
			w.Broker()
			answer, _ := w.Answer(answers)
			w.WaitQueuesEmpty()
			w.WantActive(answer)
			s.resume()
			w.Eventually("the first worker has noticed", func() bool {
				return w.Logs.Contain("another worker has the lease")
			})
			w.WantActive(answer)
			w.WantOneKey(answers, answer)
			rec, _ := w.Record(answer.Lease.Name)
			w.Eventually("AWS has the end of the lease", func() bool {
				u, _ := w.Sim.User(rec.User.Name)
				return strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z"))
			})
			first.Close()
			w.RevokeAll()
		})
	}
}

// TestStalledWorkersUserIsRemovedAlthoughAWSShowsItLate: the CreateUser of a replaced
// worker is carried out after the lease has ended, and AWS does not show the user for a
// while.
func TestStalledWorkersUserIsRemovedAlthoughAWSShowsItLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hidden atomic.Bool
	s := w.newStall(atAction("CreateUser"), func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "GetUser" && hidden.Load() {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 404, Code: "NoSuchEntity", Message: "The user with name x cannot be found."}
		}
		return iamsim.Verdict{}
	})
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	w.Broker()
	answer, _ := w.Answer(sub)
	w.WaitQueuesEmpty()
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(answer)), "")
	w.Eventually("the lease has ended", func() bool { r, _ := w.Record(answer.Lease.Name); return r.State.Ended() && w.Sim.UserCount() == 0 })
	hidden.Store(true)
	s.resume()
	w.waitCall(s.keyID, "GetUser")
	hidden.Store(false)
	w.Eventually("the user is removed", func() bool {
		w.Clock.Advance(time.Second)
		return w.Sim.UserCount() == 0
	})
}

// TestReplacedWorkerServesOtherRequests: AWS does not let the replaced worker delete
// the key that it made.
func TestReplacedWorkerServesOtherRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.newStall(atAction("CreateAccessKey"), func(s *stall, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID && c.Action == "DeleteAccessKey" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	}, func(c *consumer.Config) { c.Workers.Request = 1 })
	w.Put(s.broker, lessortest.Secret)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	s.wait()
	b2 := w.Broker()
	w.Answer(sub)
	w.WaitQueuesEmpty()
	b2.Close()
	s.resume()
	w.waitCall(s.keyID, "DeleteAccessKey")
	sub = w.Publish(w.Namespace.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(8 * time.Second); err != nil {
		t.Fatalf("bob has no answer: %v; the removal of the key failed %d times", err, w.Logs.Count("could not be taken back yet"))
	}
}

// TestReplacedWorkerKeepsTheEndOfARenewal: a renewal moves the lease's end while the
// replaced worker sets the policy of the lease that it has lost.
func TestReplacedWorkerKeepsTheEndOfARenewal(t *testing.T) {
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
	s.broker.Close() // it finishes what it does
	rec, _ := w.Record(answer.Lease.Name)
	u, _ := w.Sim.User(rec.User.Name)
	if !strings.Contains(u.InlinePolicies["lessor"], rec.ExpiresAt.Format("2006-01-02T15:04:05Z")) {
		t.Fatalf("the record ends at %s, and AWS has %s", rec.ExpiresAt, u.InlinePolicies["lessor"])
	}
}

func TestReplacedWorkerDoesNotDeleteTheNewKey(t *testing.T) {
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
		t.Fatal("the delivered key does not work")
	}
	s.resume()
	s.broker.Close() // it finishes what it does
	if !w.Works(answer.Credentials) {
		t.Fatalf("the delivered key does not work\n%s", w.Dump())
	}
}

// TestTeardownEndsItsOwnAttemptOnly pauses a broker when it has deleted the user of one
// attempt. Meanwhile the lease ends and begins anew.
func TestTeardownEndsItsOwnAttemptOnly(t *testing.T) {
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
	w.Lease("ci", body, messages.HeaderIdempotencyKey, "k") // not confirmed
	w.WaitQueuesEmpty()
	w.Clock.Advance(11 * time.Second)
	s.wait()
	w.Broker()
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the other broker has ended the lease", func() bool { r := w.Records(); return len(r) == 1 && r[0].State.Ended() })
	denied.Store(true)
	answer := w.Lease("ci", body, messages.HeaderIdempotencyKey, "k")
	w.Revoke(answer)
	rec, _ := w.Record(answer.Lease.Name)
	t.Logf("before the first broker resumes: attempt %d %s, %d users", rec.Attempt, rec.State, w.Sim.UserCount())
	s.resume()
	s.broker.Close() // it finishes what it does
	rec, _ = w.Record(answer.Lease.Name)
	if rec.State.Ended() && w.Sim.UserCount() > 0 {
		t.Fatalf("the lease is %s (attempt %d), and its user exists\n%s", rec.State, rec.Attempt, w.Dump())
	}
}
