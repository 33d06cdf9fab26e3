package consumer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestDeletedStreamsAreMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steadyBroker()
	w.Put(b, lessortest.Secret)
	lives := w.Lease("ci", `{"ttl":"23h"}`)
	w.WaitQueuesEmpty()
	n := w.Namespace
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		w.NoError(w.JS.DeleteConsumer(w.Context(), n.Stream(v), n.Consumer(v)))
		w.wantWorking(b, lives)
		w.NoError(w.JS.DeleteStream(w.Context(), n.Stream(v)))
		w.wantWorking(b, lives)
	}
	w.NoError(w.JS.DeleteStream(w.Context(), n.EventStream()))
	w.Lease("ci", `{"ttl":"1m"}`) // its event needs the stream
	w.Eventually("the event stream exists again", func() bool {
		_, err := w.JS.Stream(w.Context(), n.EventStream())
		return err == nil
	})
	w.wantWorking(b, lives)
	if made := w.Logs.Count("is made again; requesters may repeat their requests"); made != 5 {
		t.Errorf("%d log lines about 5 streams that were made again", made)
	}
	w.WaitQueuesEmpty()
	w.WantActive(lives)
}

// wantWorking issues, confirms, renews and revokes a lease and lets one expire, as soon
// as all the streams and consumers exist.
func (w *world) wantWorking(b *lessortest.Broker, lives messages.Reply) {
	w.T.Helper()
	w.Eventually("the streams and consumers exist", func() bool {
		for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
			if _, err := w.JS.Consumer(w.Context(), w.Namespace.Stream(v), w.Namespace.Consumer(v)); err != nil {
				return false
			}
		}
		return true
	})
	w.WaitHealth(b, "")
	sub := w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h","confirm":true}`)
	r, delivery := w.Answer(sub)
	w.WantKind(r, messages.KindCredentials)
	w.NoError(delivery.Respond(nil))
	w.Eventually("the delivery is settled", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.Settled()
	})
	w.WantKind(w.Renew(r, `{"ttl":"2h"}`), messages.KindRenewed)
	w.WantKind(w.Revoke(r), messages.KindRevoked)
	expires := w.Lease("ci", `{"ttl":"1m"}`)
	w.Clock.Advance(time.Minute)
	w.WaitState(expires.Lease.Name, messages.StateRevoked)
	w.WantActive(lives)
}

// TestDeletedLeaseBucketIsNotReplaced: the broker reports it, no lease is made or
// ended, no broker makes an empty bucket in its place, and the work continues when an
// operator has restored it.
func TestDeletedLeaseBucketIsNotReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steadyBroker()
	w.Put(b, lessortest.Secret)
	due, lives := w.Lease("ci", `{"ttl":"10m"}`), w.Lease("ci", `{"ttl":"3h"}`)
	w.WaitQueuesEmpty()
	kept := map[string][]byte{}
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.LeaseBucket())
	w.NoError(err)
	for _, r := range w.Records() {
		e, err := kv.Get(w.Context(), r.Name().String())
		w.NoError(err)
		kept[e.Key()] = e.Value()
	}
	w.NoError(w.JS.DeleteKeyValue(w.Context(), w.Namespace.LeaseBucket()))
	w.WaitHealth(b, "the lease bucket is missing")
	w.Clock.Advance(time.Hour)
	made := w.createdUsers()
	w.Publish(w.Namespace.Request("alice", "ci"), `{"ttl":"1h"}`)
	w.Eventually("the request and the reminder were tried", func() bool {
		log := w.Logs.String()
		return strings.Contains(log, `"request_id":"request:3"`) && strings.Contains(log, `"lease":"`+due.Lease.Name+`","error":"read`)
	})
	name := w.NameOf(lives)
	for _, subject := range []string{w.Namespace.API("get", name.Identity, name.Secret, name.ID), w.Namespace.API("list", name.Identity), w.Namespace.API("revoke", name.Identity, name.Secret, name.ID)} {
		if r, err := w.callAPI(subject); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable || !r.Error.Retryable {
			t.Errorf("%s without the bucket: %+v %v %v", subject, r, r.Error, err)
		}
	}
	// Another broker does not start.
	waits := make(chan error, 1)
	starting := make(chan error, 1)
	ctx, cancel := context.WithCancel(w.Context())
	cfg := w.Config(w.Connect())
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
			t.Errorf("the start without the bucket waits for %v", why)
		}
	case err := <-starting:
		t.Fatalf("the start without the bucket does not wait: %v", err)
	}
	cancel()
	if err := <-starting; err == nil {
		t.Error("a broker has started without the lease bucket")
	}
	if _, err := w.JS.KeyValue(w.Context(), w.Namespace.LeaseBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Fatalf("an empty bucket has replaced the lease bucket: %v", err)
	}
	if w.createdUsers() != made || w.Sim.UserCount() != 2 {
		t.Errorf("%d users were made and %d exist without the bucket", w.createdUsers()-made, w.Sim.UserCount())
	}
	if n := w.Logs.Count("JetStream fails"); n > 4 {
		t.Errorf("%d log lines about one problem", n)
	}

	kv, err = w.JS.CreateKeyValue(w.Context(), jetstream.KeyValueConfig{Bucket: w.Namespace.LeaseBucket()})
	w.NoError(err)
	for key, value := range kept {
		_, err := kv.Put(w.Context(), key, value)
		w.NoError(err)
	}
	w.WaitState(due.Lease.Name, messages.StateRevoked)
	w.WaitHealth(b, "")
	w.WaitQueuesEmpty()
	w.WaitState(lives.Lease.Name, messages.StateActive)
	if !w.Works(lives.Credentials) {
		t.Error("the key of a live lease does not work")
	}
	w.wantNoOrphans()
}

// TestDeletedBucketIsNotMadeAgain: an empty bucket would look like a new
// installation's.
func TestDeletedBucketIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steadyBroker()
	w.Put(b, lessortest.Secret)
	w.NoError(w.JS.DeleteKeyValue(w.Context(), w.Namespace.SecretBucket()))
	w.WaitHealth(b, "restore it from a backup")
	asked, err := w.Conn.SubscribeSync("$JS.API.STREAM.INFO.KV_" + w.Namespace.SecretBucket())
	w.NoError(err)
	for range 4 { // a stream is made again when it is missing for the second time
		_, err := asked.NextMsg(lessortest.Patience)
		w.NoError(err)
	}
	if _, err := w.JS.KeyValue(w.Context(), w.Namespace.SecretBucket()); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the bucket exists again: %v", err)
	}
}

// TestDeletedEventStreamIsMadeAgain: and no worker waits for it.
func TestDeletedEventStreamIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.Workers.Request = 2 }), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	w.Lease("ci", "{}")
	w.Lease("ci", "{}")
	sub := w.Publish(w.Namespace.Request("bob", "ci"), `{"ttl":"1h"}`)
	if _, err := sub.NextMsg(15 * time.Second); err != nil {
		_, serr := w.JS.Stream(w.Context(), w.Namespace.EventStream())
		t.Fatalf("bob has no answer: %v; event stream: %v", err, serr)
	}
}
