package scheduler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

func TestReminderIsPublishedWhenDueAndRepeatedUntilTheRecordChanges(t *testing.T) {
	f := newFixtureWithStreams(t)
	r := f.lease("one", time.Minute)
	f.put(r)
	f.startLoaded(1)
	cons := f.reminders()
	if id := f.take(cons, 50*time.Millisecond); id != "" {
		t.Fatal("a reminder before the lease is due")
	}
	for _, wait := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute, 4 * time.Minute} {
		f.advance(wait)
		if id := f.take(cons, patience); id != "one" {
			t.Fatalf("no reminder after %s more", wait)
		}
		if id := f.take(cons, 30*time.Millisecond); id != "" {
			t.Fatal("two reminders at once")
		}
	}
	next, err := r.TakeOver(record.Origin{}, f.now(), record.Timing{Provision: time.Hour})
	f.ok(err)
	f.put(next)
	f.eventually("the new record is indexed", func() bool {
		f.advance(time.Second)
		return f.take(cons, 10*time.Millisecond) == ""
	})
	f.advance(30 * time.Minute)
	if id := f.take(cons, 50*time.Millisecond); id != "" {
		t.Fatal("a reminder for the due time of the old record")
	}
	f.advance(31 * time.Minute)
	if id := f.take(cons, patience); id != "one" {
		t.Fatal("no reminder for the new due time")
	}
}

// A resync must not make a lease whose record has not changed due again.
func TestResyncDoesNotRepeatReminders(t *testing.T) {
	f := newFixtureWithStreams(t)
	f.put(f.lease("one", 0))
	s := f.startLoaded(1, resyncEvery(5*time.Millisecond))
	cons := f.reminders()
	if id := f.take(cons, patience); id != "one" {
		t.Fatal("no reminder")
	}
	f.put(f.lease("two", time.Hour))
	s.Forget("alice.ci.two")
	f.eventually("there was a resync", func() bool { return s.Has("alice.ci.two") })
	if id := f.take(cons, 100*time.Millisecond); id != "" {
		t.Fatalf("a second reminder of %s", id)
	}
}

func TestManySchedulersPublishOneReminder(t *testing.T) {
	f := newFixtureWithStreams(t)
	for range 3 {
		f.start()
	}
	cons := f.reminders()
	const n = 200
	for i := range n {
		f.put(f.lease(fmt.Sprintf("l%d", i), time.Minute))
	}
	f.advance(time.Minute)
	stream, err := f.js.Stream(t.Context(), f.ns.Stream(messages.VerbRevoke))
	f.ok(err)
	f.eventually("there is a reminder for each lease", func() bool {
		info, err := stream.Info(t.Context())
		f.ok(err)
		if info.State.Msgs > n {
			t.Fatalf("%d reminders for %d leases", info.State.Msgs, n)
		}
		return info.State.Msgs == n
	})
	seen := map[string]bool{}
	for range n {
		seen[f.take(cons, patience)] = true
	}
	if len(seen) != n {
		t.Fatalf("reminders for %d of %d leases", len(seen), n)
	}
}

func TestOverdueLeaseIsRemindedOfWhileLeasesLoad(t *testing.T) {
	f := newFixtureWithStreams(t)
	cons := f.reminders()
	s := f.create()
	overdue := f.message(f.lease("overdue", -time.Hour))
	s.Update(bucket.Entry{Key: "alice.ci.overdue", Header: overdue.Header, Value: overdue.Data, Revision: 1})
	s.RunOnce(t.Context())
	if id := f.take(cons, patience); id != "overdue" {
		t.Error("no reminder")
	}
	if s.Healthy() == nil {
		t.Error("it is healthy while it loads")
	}
}

// The stream does not exist when the lease falls due.
func TestReminderThatIsNotStoredIsPublishedAgain(t *testing.T) {
	f := newFixtureWithStreams(t)
	f.put(f.lease("one", time.Minute))
	f.startLoaded(1, func(c *scheduler.Config) { c.RemindAgain = time.Hour })
	f.ok(f.js.DeleteStream(t.Context(), f.ns.Stream(messages.VerbRevoke)))
	refused := make(chan struct{})
	sub, err := f.nc.Subscribe(f.ns.VerbFilter(messages.VerbRevoke), func(*nats.Msg) { close(refused) })
	f.ok(err)
	f.ok(sub.AutoUnsubscribe(1))
	f.advance(2 * time.Minute)
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatal("no reminder was published")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = f.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: f.ns.Stream(messages.VerbRevoke), Subjects: []string{f.ns.VerbFilter(messages.VerbRevoke)}, Retention: jetstream.WorkQueuePolicy,
	})
	f.ok(err)
	cons := f.reminders()
	f.eventually("a reminder is stored", func() bool {
		f.advance(time.Second)
		return f.take(cons, 20*time.Millisecond) == "one"
	})
}
