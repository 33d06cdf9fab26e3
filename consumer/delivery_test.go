package consumer_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

func TestALeaseThatNobodyWaitsForIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	w.publishFor(w.nc.NewInbox(), w.ns.Request("alice", "ci"), "{}")
	w.eventually("the lease is over", func() bool {
		recs := w.records()
		return len(recs) == 1 && recs[0].State == messages.StateRevoked && recs[0].Reason == messages.ReasonUndelivered
	})
	w.nothingInAWS()
	w.quiet()
	w.told(w.records()[0].Name().String(), messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestAListenerWhoComesAMomentLateIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	inbox := w.nc.NewInbox()
	w.publishFor(inbox, w.ns.Request("alice", "ci"), "{}")
	w.eventually("the user exists", func() bool { return w.sim.UserCount() == 1 })
	sub, err := w.nc.SubscribeSync(inbox)
	w.ok(err)
	if r, _ := w.answer(sub); r.Kind != messages.KindCredentials {
		t.Fatalf("%+v %v", r, r.Error)
	}
}

func TestAnUnconfirmedLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"confirm":true}`)
	w.quiet()
	if rec, _ := w.record(r.Lease.Name); rec.Settled() || rec.State != messages.StateActive {
		t.Fatalf("it does not wait for its confirmation: %+v", rec)
	}
	w.clock.move(11 * time.Second)
	w.over(r, messages.ReasonUndelivered)
	w.told(r.Lease.Name, messages.EventIssued, messages.EventUndelivered, messages.EventRevoked)
}

func TestAConfirmedLeaseLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r, msg := w.answer(w.publish(w.ns.Request("alice", "ci"), `{"confirm":true}`))
	w.ok(msg.Respond([]byte("any answer will do")))
	w.told(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.clock.move(30 * time.Minute)
	w.alive(r)
	w.quiet()
}

func TestAForgedConfirmationCountsForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	r := w.lease("ci", `{"confirm":true}`)
	_, err := w.js.Publish(w.ctx(), w.ns.Confirm(nameOf(w, r), "forged"), nil)
	w.ok(err)
	w.quiet()
	w.clock.move(11 * time.Second)
	w.over(r, messages.ReasonUndelivered)
}

func TestAConfirmationCountsThatCameWhileTheBrokerWasDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	r, msg := w.answer(w.publish(w.ns.Request("alice", "ci"), `{"confirm":true}`))
	w.quiet()
	b.die()
	w.ok(msg.Respond(nil))
	w.ok(w.nc.Flush())
	w.clock.move(time.Minute)
	w.broker()
	w.told(r.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.alive(r)
	w.quiet()
}

func TestADeliveryIsSentAgainUnchangedToWhoeverRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	first := w.lease("ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "k")
	again, msg := w.answer(w.publish(w.ns.Request("alice", "ci"), `{"confirm":true}`, messages.HeaderIdempotencyKey, "k"))
	if again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
		t.Fatalf("not the same: %+v", again)
	}
	w.ok(msg.Respond(nil))
	w.told(first.Lease.Name, messages.EventIssued, messages.EventConfirmed)
	w.quiet()
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
			held := newHoldback(func(subject string, frame []byte) bool {
				return strings.HasPrefix(subject, "$KV.") && bytes.Contains(frame, []byte(`"delivered_at"`))
			})
			nc, err := nats.Connect(w.server.URL(), nats.SetCustomDialer(held))
			w.ok(err)
			t.Cleanup(nc.Close)
			b, err := w.tryBroker(nc)
			w.ok(err)
			w.put(b, plainSecret)
			answers := w.publish(w.ns.Request("alice", "ci"), "{}")
			first, _ := w.answer(answers)
			<-held.there
			if !waits {
				w.ok(answers.Unsubscribe())
				w.ok(w.nc.Flush())
			} else if again, _ := w.answer(answers); again.Credentials == nil || again.Credentials.SecretAccessKey.Reveal() != first.Credentials.SecretAccessKey.Reveal() {
				t.Errorf("what comes again is %+v", again)
			}
			w.quiet()
			close(held.pass)
			if rec, _ := w.record(first.Lease.Name); !rec.Settled() {
				t.Errorf("the delivery is not written down: %+v", rec)
			}
			w.alive(first)
		})
	}
}

// TestTheSearchForSecretsFindsThem: the search that follows every test would see
// a key in a stream and in the log.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	r := w.lease("ci", "{}")
	if found := w.leaks(); len(found) > 0 {
		t.Fatalf("in clear in %v", found)
	}
	secret := r.Credentials.SecretAccessKey.Reveal()
	_, err := w.js.Publish(w.ctx(), w.ns.Event(nameOf(w, r), "leaked"), []byte(secret))
	w.ok(err)
	_, err = w.logs.Write([]byte(secret))
	w.ok(err)
	found := w.leaks()
	if !slices.Contains(found, "the log") || !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "LESSOR_EVENT") }) {
		t.Fatalf("found only in %v", found)
	}
	b.stop()
	w.server.Close()
	w.ok(os.RemoveAll(w.dir))
	w.logs.b.Reset()
}
