package consumer_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// spoil overwrites the value at a key, and returns the old value and the new revision.
func (w *world) spoil(kv jetstream.KeyValue, key string, how func(good []byte) []byte) (good []byte, revision uint64) {
	w.T.Helper()
	e, err := kv.Get(w.Context(), key)
	w.NoError(err)
	revision, err = kv.Put(w.Context(), key, how(bytes.Clone(e.Value())))
	w.NoError(err)
	return e.Value(), revision
}

// spoils are the ways in which a record can be unreadable.
var spoils = map[string]func([]byte) []byte{
	"empty":         func([]byte) []byte { return nil },
	"cut off":       func(r []byte) []byte { return r[:len(r)/2] },
	"newer":         func(r []byte) []byte { return bytes.Replace(r, []byte(`"v":1,`), []byte(`"v":2,"colour":"red",`), 1) },
	"unknown field": func(r []byte) []byte { return bytes.Replace(r, []byte(`"v":1,`), []byte(`"v":1,"colour":"red",`), 1) },
	"another's":     func(r []byte) []byte { return bytes.Replace(r, []byte(`"alice"`), []byte(`"bob"`), 1) },
	"junk":          func([]byte) []byte { return bytes.Repeat([]byte("junk"), 1<<18-64) },
}

// TestUnreadableRecordIsLeftAlone: the record and its user stay as they are, messages
// about the lease wait, all other work continues. When the record is readable again, so
// does the work on it.
func TestUnreadableRecordIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	kv := w.Bucket(w.Namespace.LeaseBucket())
	kinds := slices.Sorted(maps.Keys(spoils))
	leases, good, revisions := map[string]messages.Reply{}, map[string][]byte{}, map[string]uint64{}
	for _, kind := range kinds {
		leases[kind] = w.Lease("ci", `{"ttl":"24h"}`, messages.HeaderIdempotencyKey, kind)
	}
	fine := w.Lease("ci", `{"ttl":"24h"}`)
	w.WaitQueuesEmpty()
	for _, kind := range kinds {
		name := leases[kind].Lease.Name
		good[kind], revisions[kind] = w.spoil(kv, name, spoils[kind])
	}
	_, err := kv.PutString(w.Context(), "stray", "{}")
	w.NoError(err)
	w.Eventually("the records are set aside", func() bool { return b.Scheduler.Counts().Unreadable == len(kinds)+1 })

	// API and admin requests are refused.
	for _, kind := range kinds {
		name := w.NameOf(leases[kind])
		for _, verb := range []string{"get", "renew", "revoke"} {
			w.WantError(w.Operate(w.Namespace.API(verb, name.Identity, name.Secret, name.ID), ""), messages.CodeRecordUnreadable)
		}
		w.WantError(w.adminLease(messages.AdminLeaseRevoke, `{"lease":"`+name.String()+`"}`), messages.CodeRecordUnreadable)
		w.WantError(w.adminLease(messages.AdminLeaseRevoke, `{"lease":"`+name.String()+`","force":true}`), messages.CodeRecordUnreadable)
	}
	// Messages on the streams wait, a request until its deadline.
	for _, kind := range kinds {
		w.Publish(w.Namespace.Renew(w.NameOf(leases[kind])), `{"ttl":"24h"}`)
		w.Publish(w.Namespace.Revoke(w.NameOf(leases[kind])), "")
	}
	w.WantError(w.Request("ci", `{"ttl":"24h"}`, messages.HeaderIdempotencyKey, kinds[0],
		messages.HeaderDeadline, w.Clock.Now().Add(100*time.Millisecond).UTC().Format(time.RFC3339Nano)), messages.CodeDeadlineExceeded)
	w.Eventually("the messages are retried", func() bool {
		return !slices.ContainsFunc(kinds, func(kind string) bool {
			return w.Logs.Count(`"lease":"`+leases[kind].Lease.Name+`","error":"record_unreadable`) < 4
		})
	})

	// All other work continues.
	if r := w.Operate(w.Namespace.API("list", "alice"), ""); len(r.Leases) != 1 || r.Leases[0].Name != fine.Lease.Name {
		t.Errorf("listed: %+v %v", r.Leases, r.Error)
	}
	if r := w.Renew(fine, `{"ttl":"1h","clamp":true}`); r.Kind != messages.KindRenewed {
		t.Errorf("renewed: %+v %v", r, r.Error)
	}
	w.Revoke(fine)
	w.waitStateAmongUnreadable(kv, fine.Lease.Name, messages.StateRevoked)
	if b.Scheduler.Healthy() != nil || b.Healthy(w.Context()) != nil {
		t.Errorf("not healthy: %v, %v", b.Scheduler.Healthy(), b.Healthy(w.Context()))
	}
	r := w.adminLease(messages.AdminLeaseList, `{"failing":true}`)
	var listed []string
	for _, u := range r.Unreadable {
		listed = append(listed, u.Key)
		if u.Why == "" || len(u.Why) > 300 || u.Revision == 0 {
			t.Errorf("listed as %+v", u)
		}
	}
	want := []string{"stray"}
	for _, kind := range kinds {
		want = append(want, leases[kind].Lease.Name)
	}
	if slices.Sort(want); !slices.Equal(listed, want) || len(r.Leases) != 0 {
		t.Errorf("operators see %v, want %v", listed, want)
	}

	// The sweep leaves the users of these records, and removes orphans. Of a user with a
	// damaged tag it is not known whether it belongs to one of them.
	w.addOrphan("lost", b.Installation(), "bob.ci.0000000000")
	w.addOrphan("Damaged", b.Installation(), "what is this?")
	w.Clock.Advance(30 * time.Minute)
	if s := w.sweep(""); s.Error != "" || len(s.Orphans) != 1 || s.Orphans[0].Username != "lost" || !s.Orphans[0].Removed {
		t.Errorf("the sweep is %+v", s)
	}
	for _, kind := range kinds {
		e, err := kv.Get(w.Context(), leases[kind].Lease.Name)
		if err != nil || e.Revision() != revisions[kind] {
			t.Errorf("the record %s was written: %v", kind, err)
		}
		if !w.Works(leases[kind].Credentials) {
			t.Errorf("%s: the key does not work", kind)
		}
		if n := w.Logs.Count(`"lease":"` + leases[kind].Lease.Name + `","revision":`); n != 1 {
			t.Errorf("%s is reported %d times", kind, n)
		}
	}

	// The records are repaired: the messages that waited are handled.
	w.NoError(kv.Delete(w.Context(), "stray"))
	for _, kind := range kinds {
		_, err := kv.Put(w.Context(), leases[kind].Lease.Name, good[kind])
		w.NoError(err)
	}
	for _, kind := range kinds {
		w.WaitState(leases[kind].Lease.Name, messages.StateRevoked)
	}
	w.WaitQueuesEmpty()
	w.Eventually("no record is set aside", func() bool { return b.Scheduler.Counts().Unreadable == 0 })
	if s := w.sweep(""); len(s.Orphans) != 1 || s.Orphans[0].Username != "Damaged" {
		t.Errorf("the sweep is %+v", s)
	}
	w.WaitNoUsers()
}

// waitStateAmongUnreadable is WaitState for buckets with records that can't be read.
func (w *world) waitStateAmongUnreadable(kv jetstream.KeyValue, name string, s messages.State) {
	w.T.Helper()
	for end := time.Now().Add(lessortest.Patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		e, err := kv.Get(w.Context(), name)
		w.NoError(err)
		if r, err := record.Decode(e.Value()); err == nil && r.State == s {
			return
		}
	}
	w.T.Fatalf("%s is not %s in time", name, s)
}
