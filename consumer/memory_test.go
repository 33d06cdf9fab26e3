package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// meanwhile changes a lease's record as another broker does.
func (w *world) meanwhile(name string, change func(record.Record) (record.Record, error)) {
	w.t.Helper()
	kv := w.bucket(w.ns.LeaseBucket())
	e, err := kv.Get(w.ctx(), name)
	w.ok(err)
	r, err := record.DecodeAt(name, e.Value())
	w.ok(err)
	r, err = change(r)
	w.ok(err)
	data, err := r.Encode()
	w.ok(err)
	_, err = kv.Update(w.ctx(), name, data, e.Revision())
	w.ok(err)
}

const softSecret = `{"name":"soft","default_ttl":"1h","max_ttl":"24h","hard_expiry":"none","aws":{"managed_policies":["arn:aws:iam::aws:policy/ReadOnlyAccess"]}}`

// readsOf is how many messages of the lease bucket have been asked for by name.
func (w *world) readsOf(do func()) (n int) {
	w.t.Helper()
	sub, err := w.nc.SubscribeSync("$JS.API.STREAM.MSG.GET.KV_" + w.ns.LeaseBucket())
	w.ok(err)
	w.ok(w.nc.Flush())
	do()
	w.ok(w.nc.Flush())
	n, _, err = sub.Pending()
	w.ok(err)
	w.ok(sub.Unsubscribe())
	return n
}

// What a broker has written it need not read.
func TestABrokerRemembersWhatItHasWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, softSecret)
	lease := w.lease("soft", "")
	w.quiet()
	reads := w.readsOf(func() {
		for i := range 3 {
			a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"2h"}`))
			if a.Kind != messages.KindRenewed || a.Lease.Renewals != i+1 {
				t.Fatalf("%+v %v", a, a.Error)
			}
		}
		if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), "")); a.Kind != messages.KindRevoked {
			t.Fatalf("%+v %v", a, a.Error)
		}
	})
	if reads != 0 {
		t.Errorf("the record was read %d times", reads)
	}
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRenewed, messages.EventRenewed, messages.EventRevoked)
}

// The brokers of these tests believe all that they remember (see tryBroker). Whatever
// another has written since counts.
func TestWhatIsRememberedMayBeOutOfDate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, softSecret)
	w.put(b, plainSecret)
	renewedElsewhere := func(end time.Duration) func(r record.Record) (record.Record, error) {
		return func(r record.Record) (record.Record, error) {
			return r.Renew(r.IssuedAt.Add(end), 1000, w.clock.now(), record.Timing{}.WithDefaults())
		}
	}
	endedElsewhere := func(r record.Record) (record.Record, error) {
		r, err := r.End(messages.ReasonRequested, "", w.clock.now(), record.Timing{}.WithDefaults())
		if err != nil {
			return r, err
		}
		return r.Ended(w.clock.now())
	}
	for _, secret := range []string{"soft", "ci"} {
		t.Run(secret, func(t *testing.T) {
			lease := w.lease(secret, "")
			w.quiet()
			w.meanwhile(lease.Lease.Name, renewedElsewhere(5*time.Hour))
			a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"2h"}`))
			if a.Kind != messages.KindRenewed || a.Lease.Renewals != 2 || !a.Lease.ExpiresAt.Equal(lease.Lease.IssuedAt.Add(5*time.Hour)) {
				t.Errorf("a renewal forgot another: %+v %v", a.Lease, a.Error)
			}
			w.meanwhile(lease.Lease.Name, renewedElsewhere(6*time.Hour))
			if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, lease)), "")); a.Kind != messages.KindRevoked || a.Lease.Renewals != 3 {
				t.Errorf("%+v %v", a, a.Error)
			}
			w.state(lease.Lease.Name, messages.StateRevoked)
			w.told(lease.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)

			gone := w.lease(secret, "")
			w.quiet()
			w.meanwhile(gone.Lease.Name, endedElsewhere)
			writes, err := w.nc.SubscribeSync("$KV." + w.ns.LeaseBucket() + "." + gone.Lease.Name)
			w.ok(err)
			for range 3 {
				a, _ = w.answer(w.publish(w.ns.Renew(nameOf(w, gone)), `{"ttl":"2h"}`))
				w.refused(a, messages.CodeLeaseEnded)
			}
			w.ok(w.nc.Flush())
			if n, _, _ := writes.Pending(); n > 1 {
				t.Errorf("what had been refused was written %d times", n)
			}
			if a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, gone)), "")); a.Kind != messages.KindRevoked {
				t.Errorf("%+v %v", a, a.Error)
			}
		})
	}
}

// A renewal that counted, and could not be told, comes again to the broker that
// remembers it: it counts once.
func TestARenewalThatComesAgainCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, softSecret)
	lease := w.lease("soft", "")
	w.quiet()
	events, err := w.js.Stream(w.ctx(), w.ns.EventStream())
	w.ok(err)
	cfg := events.CachedInfo().Config
	deaf := cfg
	deaf.Subjects = []string{"elsewhere.>"}
	_, err = w.js.UpdateStream(w.ctx(), deaf)
	w.ok(err)
	answers := w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"2h"}`)
	w.eventually("it counts, and can't be told", func() bool {
		rec, _ := w.record(lease.Lease.Name)
		return rec.Renewals > 0 && w.lines(`"request_id":"renew:1"`) > 1
	})
	_, err = w.js.UpdateStream(w.ctx(), cfg)
	w.ok(err)
	if a, _ := w.answer(answers); a.Kind != messages.KindRenewed || a.Lease.Renewals != 1 {
		t.Errorf("%+v %v", a, a.Error)
	}
	w.told(lease.Lease.Name, messages.EventIssued, messages.EventRenewed)
}

// A confirmation counts for the delivery that it answers, and not for what a broker
// remembers of the lease.
func TestAConfirmationIsNotJudgedByMemoryAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	answers := w.publish(w.ns.Request("alice", "ci"), `{"confirm":true}`)
	lease, delivery := w.answer(answers)
	w.quiet()
	w.meanwhile(lease.Lease.Name, func(r record.Record) (record.Record, error) {
		return r.Renew(r.IssuedAt.Add(2*time.Hour), 1000, w.clock.now(), record.Timing{}.WithDefaults())
	})
	w.ok(delivery.Respond(nil))
	w.eventually("it is confirmed", func() bool {
		rec, _ := w.record(lease.Lease.Name)
		return rec.Settled() && rec.Renewals == 1
	})
}

// The index spares a broker the writes that would be refused.
func TestAReplicaIsNotAskedInVain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	current := true
	b := w.broker(func(c *consumer.Config) {
		c.Current = func(messages.LeaseName, uint64) bool { return current }
	})
	w.put(b, softSecret)
	lease := w.lease("soft", "")
	w.quiet()
	w.meanwhile(lease.Lease.Name, func(r record.Record) (record.Record, error) {
		return r.Renew(r.IssuedAt.Add(2*time.Hour), 1000, w.clock.now(), record.Timing{}.WithDefaults())
	})
	current = false
	refused, err := w.nc.SubscribeSync("$KV." + w.ns.LeaseBucket() + "." + lease.Lease.Name)
	w.ok(err)
	w.ok(w.nc.Flush())
	if a, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, lease)), `{"ttl":"3h"}`)); a.Kind != messages.KindRenewed || a.Lease.Renewals != 2 {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.ok(w.nc.Flush())
	if n, _, _ := refused.Pending(); n != 1 {
		t.Errorf("the record was written %d times", n)
	}
}

// A broker forgets what it wrote long ago.
func TestMemoryHasAnEnd(t *testing.T) {
	m := consumer.NewMemory()
	name := func(i int) messages.LeaseName {
		return messages.LeaseName{Identity: "alice", Secret: "ci", ID: fmt.Sprint(i)}
	}
	const half = consumer.MaxRemembered
	for i := range 3 * half {
		m.Keep(name(i), uint64(i+1), messages.StateActive)
		m.Keep(name(0), uint64(i+1), messages.StateActive) // it is written again and again
	}
	for i, want := range map[int]bool{0: true, 1: false, half / 2: false, 3*half - 1: true, 2*half + half/2: true} {
		if _, ok := m.Recall(name(i)); ok != want {
			t.Errorf("lease %d of %d is remembered: %v", i, 3*half, ok)
		}
	}
	if n := m.Len(); n > 2*half {
		t.Errorf("%d records are remembered", n)
	}
	m.Keep(name(0), 1, messages.StateActive)
	if at, _ := m.Recall(name(0)); at != 3*half {
		t.Errorf("what is told late counts: revision %d", at)
	}
	m.Keep(name(0), 4*half, messages.StateRevoking)
	if _, ok := m.Recall(name(0)); ok {
		t.Error("a lease that is not active is remembered")
	}
}
