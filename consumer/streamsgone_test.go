package consumer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// TestStreamsAreDeletedByHand: what carries work is made again, and the leases go on.
func TestStreamsAreDeletedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	lives := w.lease("ci", `{"ttl":"23h"}`)
	w.quiet()
	n := w.ns
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		w.ok(w.js.DeleteConsumer(w.ctx(), n.Stream(v), n.Consumer(v)))
		w.goesOn(b, lives)
		w.ok(w.js.DeleteStream(w.ctx(), n.Stream(v)))
		w.goesOn(b, lives)
	}
	w.ok(w.js.DeleteStream(w.ctx(), n.EventStream()))
	w.lease("ci", `{"ttl":"1m"}`) // it waits for where its event is kept
	w.eventually("the event stream is there again", func() bool {
		_, err := w.js.Stream(w.ctx(), n.EventStream())
		return err == nil
	})
	w.goesOn(b, lives)
	if made := w.lines("is made again; requesters may repeat their requests"); made != 5 {
		t.Errorf("%d lines about 5 streams that were made again", made)
	}
	w.quiet()
	w.alive(lives)
}

// goesOn leases, confirms, renews and revokes, and lets a lease expire, as soon as all
// streams and consumers are there again.
func (w *world) goesOn(b *broker, lives messages.Reply) {
	w.t.Helper()
	w.eventually("streams and consumers are there", func() bool {
		for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
			if _, err := w.js.Consumer(w.ctx(), w.ns.Stream(v), w.ns.Consumer(v)); err != nil {
				return false
			}
		}
		return true
	})
	w.says(b, "")
	sub := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`)
	r, delivery := w.answer(sub)
	if r.Kind != messages.KindCredentials {
		w.t.Fatalf("%+v %v", r, r.Error)
	}
	w.ok(delivery.Respond(nil))
	w.eventually("it is confirmed", func() bool {
		rec, _ := w.record(r.Lease.Name)
		return rec.Settled()
	})
	if a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, r)), `{"ttl":"2h"}`)); a.Kind != messages.KindRenewed {
		w.t.Fatalf("%+v %v", a, a.Error)
	}
	if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), "")); a.Kind != messages.KindRevoked {
		w.t.Fatalf("%+v %v", a, a.Error)
	}
	expires := w.lease("ci", `{"ttl":"1m"}`)
	w.clock.move(time.Minute)
	w.state(expires.Lease.Name, messages.StateRevoked)
	w.alive(lives)
}

// TestTheLeaseBucketIsDeletedByHand: that is told, nothing is made or ended, no broker
// puts an empty bucket in its place, and all goes on when a person has restored it.
func TestTheLeaseBucketIsDeletedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	due, lives := w.lease("ci", `{"ttl":"10m"}`), w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	kept := map[string][]byte{}
	kv, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket())
	w.ok(err)
	for _, r := range w.records() {
		e, err := kv.Get(w.ctx(), r.Name().String())
		w.ok(err)
		kept[e.Key()] = e.Value()
	}
	w.ok(w.js.DeleteKeyValue(w.ctx(), w.ns.LeaseBucket()))
	w.says(b, "the lease bucket is missing")
	w.clock.move(time.Hour)
	made := w.created()
	w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`)
	w.eventually("both were tried", func() bool {
		log := w.logs.String()
		return strings.Contains(log, `"request_id":"request:3"`) && strings.Contains(log, `"lease":"`+due.Lease.Name+`","error":"read`)
	})
	name := nameOf(w, lives)
	for _, subject := range []string{w.ns.API("get", name.Identity, name.Secret, name.ID), w.ns.API("list", name.Identity), w.ns.API("revoke", name.Identity, name.Secret, name.ID)} {
		if r, err := w.door(subject); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable || !r.Error.Retryable {
			t.Errorf("%s without the bucket: %+v %v %v", subject, r, r.Error, err)
		}
	}
	// Another one does not start on what is left.
	waits := make(chan error, 1)
	starting := make(chan error, 1)
	ctx, cancel := context.WithCancel(w.ctx())
	cfg := w.config(w.connect())
	cfg.Waiting = func(why error) {
		select {
		case waits <- why:
		default:
		}
	}
	go func() { _, err := consumer.New(ctx, cfg); starting <- err }()
	select {
	case why := <-waits:
		if !strings.Contains(why.Error(), "the lease bucket is missing") {
			t.Errorf("a start without the bucket waits for %v", why)
		}
	case err := <-starting:
		t.Fatalf("a start without the bucket does not wait: %v", err)
	}
	cancel()
	if err := <-starting; err == nil {
		t.Error("a broker has started without the leases")
	}
	if _, err := w.js.KeyValue(w.ctx(), w.ns.LeaseBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Fatalf("an empty bucket has taken the place of the leases: %v", err)
	}
	if w.created() != made || w.sim.UserCount() != 2 {
		t.Errorf("%d users made and %d there without a bucket", w.created()-made, w.sim.UserCount())
	}
	if n := w.lines("JetStream fails"); n > 4 {
		t.Errorf("%d lines about one trouble", n)
	}

	kv, err = w.js.CreateKeyValue(w.ctx(), jetstream.KeyValueConfig{Bucket: w.ns.LeaseBucket()})
	w.ok(err)
	for key, value := range kept {
		_, err := kv.Put(w.ctx(), key, value)
		w.ok(err)
	}
	w.state(due.Lease.Name, messages.StateRevoked)
	w.says(b, "")
	w.quiet()
	w.state(lives.Lease.Name, messages.StateActive)
	if !w.works(lives.Credentials) {
		t.Error("a lease does not live on")
	}
	w.everyUserHasALease()
}

// TestNoBucketIsMadeAgain: an empty one would look like one in which there never was
// anything.
func TestNoBucketIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady()
	w.put(b, plainSecret)
	w.ok(w.js.DeleteKeyValue(w.ctx(), w.ns.SecretBucket()))
	w.says(b, "restore it from a backup")
	asked, err := w.nc.SubscribeSync("$JS.API.STREAM.INFO.KV_" + w.ns.SecretBucket())
	w.ok(err)
	for range 4 { // streams are made when they are missed for the second time
		_, err := asked.NextMsg(patience)
		w.ok(err)
	}
	if _, err := w.js.KeyValue(w.ctx(), w.ns.SecretBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the bucket is there again: %v", err)
	}
}
