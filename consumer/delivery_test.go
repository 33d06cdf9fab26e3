package consumer_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestALeaseThatNobodyWaitsForIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), "{}")
	w.Eventually("the lease is over", func() bool {
		recs := w.Records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked && recs[0].Reason == messages.ReasonUndelivered
	})
	w.WaitNoUsers()
	w.WaitQueuesEmpty()
	w.WaitEvents(w.Records()[0].Name().String(), messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestAListenerWhoComesAMomentLateIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	inbox := w.Conn.NewInbox()
	w.PublishReply(inbox, w.Namespace.Request("alice", "ci"), "{}")
	w.Eventually("the user exists", func() bool { return w.Sim.UserCount() == 1 })
	sub, err := w.Conn.SubscribeSync(inbox)
	w.NoError(err)
	w.WantKind(first(w.Answer(sub)), messages.KindCredentials)
}

func TestAnUnconfirmedLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"confirm":true}`)
	w.WaitQueuesEmpty()
	if rec, _ := w.Record(r.Lease.Name); rec.Settled() || rec.State != messages.StateActive {
		t.Fatalf("it does not wait for its confirmation: %+v", rec)
	}
	w.Clock.Advance(11 * time.Second)
	w.WaitRevoked(r, messages.ReasonUndelivered)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestAConfirmedLeaseLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`))
	w.NoError(msg.Respond([]byte("any answer will do")))
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.Clock.Advance(30 * time.Minute)
	w.WantActive(r)
	w.WaitQueuesEmpty()
}

func TestAForgedConfirmationCountsForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	r := w.Lease("ci", `{"confirm":true}`)
	_, err := w.JS.Publish(w.Context(), w.Namespace.Confirm(w.NameOf(r), "forged"), nil)
	w.NoError(err)
	w.WaitQueuesEmpty()
	w.Clock.Advance(11 * time.Second)
	w.WaitRevoked(r, messages.ReasonUndelivered)
}

func TestAConfirmationCountsThatCameWhileTheBrokerWasDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`))
	w.WaitQueuesEmpty()
	b.Kill()
	w.NoError(msg.Respond(nil))
	w.NoError(w.Conn.Flush())
	w.Clock.Advance(time.Minute)
	w.Broker()
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.WantActive(r)
	w.WaitQueuesEmpty()
}

func TestADeliveryIsSentAgainUnchangedToWhoeverRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	first := w.Lease("ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	again, msg := w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, messages.HeaderIdempotencyKey, "k"))
	if again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
		t.Fatalf("not the same: %+v", again)
	}
	w.NoError(msg.Respond(nil))
	w.WaitEvents(first.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.WaitQueuesEmpty()
}

// TestADeliveryThatMayBeLostIsHandedOverAgain: while the delivery can't be written down
// NATS has trouble, and may have lost it with a server. The requester gets the same
// again, and where it has gone meanwhile, its lease lives.
func TestADeliveryThatMayBeLostIsHandedOverAgain(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		t.Run(map[bool]string{true: "who waits", false: "who has gone"}[waits], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			line := lessortest.NewLine()
			settled := line.Delay(func(subject string, message []byte) bool {
				return strings.HasPrefix(subject, "$KV.") && bytes.Contains(message, []byte(`"delivered_at"`))
			})
			b := w.BrokerOn(w.Dial(0, line.Option()))
			w.Put(b, lessortest.Secret)
			answers := w.Publish(w.Namespace.Request("alice", "ci"), "{}")
			first, _ := w.Answer(answers)
			<-settled.Arrived
			if !waits {
				w.NoError(answers.Unsubscribe())
				w.NoError(w.Conn.Flush())
			} else if again, _ := w.Answer(answers); again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
				t.Errorf("what comes again is %+v", again)
			}
			w.WaitQueuesEmpty()
			settled.Release()
			if rec, _ := w.Record(first.Lease.Name); !rec.Settled() {
				t.Errorf("the delivery is not written down: %+v", rec)
			}
			w.WantActive(first)
		})
	}
}

// TestTheSearchForSecretsFindsThem: the search that follows every test would see
// a key in a stream and in the log.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", "{}")
	if found := w.Leaks(); len(found) > 0 {
		t.Fatalf("in clear in %v", found)
	}
	secret := r.Credentials.SecretAccessKey.Reveal()
	_, err := w.JS.Publish(w.Context(), w.Namespace.Event(w.NameOf(r), "leaked"), []byte(secret))
	w.NoError(err)
	_, err = w.Logs.Write([]byte(secret))
	w.NoError(err)
	found := w.Leaks()
	if !slices.Contains(found, "the log") || !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "LESSOR_EVENT") }) {
		t.Fatalf("found only in %v", found)
	}
	b.Close()
	w.NATS.Close()
	w.NoError(os.RemoveAll(w.Dir))
	w.Logs.Reset()
}
