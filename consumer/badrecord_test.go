package consumer_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// spoil writes over what stands at a key, and returns what stood there and the new
// revision.
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

// TestARecordThatCanNotBeReadIsSetAside: it is left as it is, its user is left alone,
// what is asked about it waits, everything else goes on; and when it can be read
// again, so does it.
func TestARecordThatCanNotBeReadIsSetAside(t *testing.T) {
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
	w.Eventually("they are set aside", func() bool { return b.Scheduler.Counts().Unreadable == len(kinds)+1 })

	// What comes by the front door is told.
	for _, kind := range kinds {
		name := w.NameOf(leases[kind])
		for _, verb := range []string{"get", "renew", "revoke"} {
			w.WantError(w.Operate(w.Namespace.API(verb, name.Identity, name.Secret, name.ID), ""), messages.CodeRecordUnreadable)
		}
		w.WantError(w.adminLease(messages.AdminLeaseRevoke, `{"lease":"`+name.String()+`"}`), messages.CodeRecordUnreadable)
		w.WantError(w.adminLease(messages.AdminLeaseRevoke, `{"lease":"`+name.String()+`","force":true}`), messages.CodeRecordUnreadable)
	}
	// What is on the streams waits, a request until its deadline.
	for _, kind := range kinds {
		w.Publish(w.Namespace.Renew(w.NameOf(leases[kind])), `{"ttl":"24h"}`)
		w.Publish(w.Namespace.Revoke(w.NameOf(leases[kind])), "")
	}
	w.WantError(w.Request("ci", `{"ttl":"24h"}`, messages.HeaderIdempotencyKey, kinds[0],
		messages.HeaderDeadline, w.Clock.Now().Add(100*time.Millisecond).UTC().Format(time.RFC3339Nano)), messages.CodeDeadlineExceeded)
	w.Eventually("they are tried again", func() bool {
		return !slices.ContainsFunc(kinds, func(kind string) bool {
			return w.Logs.Count(`"lease":"`+leases[kind].Lease.Name+`","error":"record_unreadable`) < 4
		})
	})

	// All else goes on.
	if r := w.Operate(w.Namespace.API("list", "alice"), ""); len(r.Leases) != 1 || r.Leases[0].Name != fine.Lease.Name {
		t.Errorf("listed: %+v %v", r.Leases, r.Error)
	}
	if r := w.Renew(fine, `{"ttl":"1h","clamp":true}`); r.Kind != messages.KindRenewed {
		t.Errorf("renewed: %+v %v", r, r.Error)
	}
	w.Revoke(fine)
	w.state2(kv, fine.Lease.Name, messages.StateRevoked)
	if b.Scheduler.Healthy() != nil || b.Healthy(w.Context()) != nil {
		t.Errorf("not healthy: %v, %v", b.Scheduler.Healthy(), b.Healthy(w.Context()))
	}
	r := w.adminLease(messages.AdminLeaseList, `{"failing":true}`)
	var told []string
	for _, u := range r.Unreadable {
		told = append(told, u.Key)
		if u.Why == "" || len(u.Why) > 300 || u.Revision == 0 {
			t.Errorf("told %+v", u)
		}
	}
	want := []string{"stray"}
	for _, kind := range kinds {
		want = append(want, leases[kind].Lease.Name)
	}
	if slices.Sort(want); !slices.Equal(told, want) || len(r.Leases) != 0 {
		t.Errorf("operators are told of %v, want %v", told, want)
	}

	// The sweep takes their users for theirs, and removes others. Whose user it is that
	// has a tag that says nothing can't be told.
	w.stray("lost", b.Installation(), "bob.ci.0000000000")
	w.stray("Damaged", b.Installation(), "what is this?")
	w.Clock.Advance(30 * time.Minute)
	if s := w.sweep(""); s.Error != "" || len(s.Orphans) != 1 || s.Orphans[0].Username != "lost" || !s.Orphans[0].Removed {
		t.Errorf("swept: %+v", s)
	}
	for _, kind := range kinds {
		e, err := kv.Get(w.Context(), leases[kind].Lease.Name)
		if err != nil || e.Revision() != revisions[kind] {
			t.Errorf("%s was touched: %v", kind, err)
		}
		if !w.Works(leases[kind].Credentials) {
			t.Errorf("%s: the key does not work any more", kind)
		}
		if n := w.Logs.Count(`"lease":"` + leases[kind].Lease.Name + `","revision":`); n != 1 {
			t.Errorf("%s is reported %d times", kind, n)
		}
	}

	// They are put right: what waited is done.
	w.NoError(kv.Delete(w.Context(), "stray"))
	for _, kind := range kinds {
		_, err := kv.Put(w.Context(), leases[kind].Lease.Name, good[kind])
		w.NoError(err)
	}
	for _, kind := range kinds {
		w.WaitState(leases[kind].Lease.Name, messages.StateRevoked)
	}
	w.WaitQueuesEmpty()
	w.Eventually("nothing is set aside", func() bool { return b.Scheduler.Counts().Unreadable == 0 })
	if s := w.sweep(""); len(s.Orphans) != 1 || s.Orphans[0].Username != "Damaged" {
		t.Errorf("swept: %+v", s)
	}
	w.WaitNoUsers()
}

// state2 is state where other records can't be read.
func (w *world) state2(kv jetstream.KeyValue, name string, s messages.State) {
	w.T.Helper()
	for end := time.Now().Add(lessortest.Patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		e, err := kv.Get(w.Context(), name)
		w.NoError(err)
		if r, err := record.Decode(e.Value()); err == nil && r.State == s {
			return
		}
	}
	w.T.Fatalf("%s is never %s", name, s)
}

// A user whose tags name a lease that there is not, and whose name a record has that
// can't be read, is that record's.
func TestTheUserThatIsLeftInARecordIsNoOrphan(t *testing.T) {
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.stray("Moved", b.Installation(), "bob.ci.0000000000")
	kv := w.Bucket(w.Namespace.LeaseBucket())
	_, err := kv.PutString(w.Context(), "bob.ci.1111111111", `{"v":2,"user":{"name":"moved"}}`)
	w.NoError(err)
	w.Clock.Advance(30 * time.Minute)
	if s := w.sweep(""); s.Error != "" || len(s.Orphans) != 0 {
		t.Fatalf("%+v", s)
	}
	w.NoError(kv.Delete(w.Context(), "bob.ci.1111111111"))
	if s := w.sweep(""); len(s.Orphans) != 1 || !s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
}

// TestABadDefinitionStopsNothingElse: damaged, another's, or a newer broker's, which
// nobody may write over.
func TestABadDefinitionStopsNothingElse(t *testing.T) {
	w := newWorld(t)
	b := w.Broker()
	names := map[string]func([]byte) []byte{
		"damaged": func(d []byte) []byte { return d[:len(d)/2] },
		"empty":   func([]byte) []byte { return nil },
		"another": func(d []byte) []byte { return bytes.Replace(d, []byte(`"another"`), []byte(`"ci"`), 1) },
		"newer":   func(d []byte) []byte { return bytes.Replace(d, []byte(`"v":1`), []byte(`"v":2,"colour":"red"`), 1) },
	}
	kv := w.Bucket(w.Namespace.SecretBucket())
	w.Put(b, lessortest.Secret)
	revisions := map[string]uint64{}
	for name, how := range names {
		w.Put(b, strings.Replace(lessortest.Secret, `"ci"`, `"`+name+`"`, 1))
		_, revisions[name] = w.spoil(kv, name, how)
	}
	for name := range names {
		w.Eventually("the broker knows", func() bool {
			_, err := b.Secrets().Get(w.Context(), name)
			return err != nil
		})
		code := messages.CodeInvalidSecret
		if name == "newer" {
			code = messages.CodeInternal
		}
		w.WantError(w.Request(name, "{}"), code)
	}
	w.Lease("ci", "{}")
	all := w.Operate(w.Namespace.AdminSecret(messages.AdminList), "")
	if len(all.Secrets) != len(names)+1 {
		t.Fatalf("listed: %+v %v", all.Secrets, all.Error)
	}
	for _, i := range all.Secrets {
		if _, bad := names[i.Name]; bad != (len(i.Notes) > 0) {
			t.Errorf("%s has the notes %q", i.Name, i.Notes)
		}
	}
	if from, err := b.Secrets().NamesFrom(w.Context(), "test"); err != nil || len(from) != 2 { // ci, and of another what is around it
		t.Errorf("names: %v, %v", from, err)
	}
	d, err := messages.DecodeDynamicSecret([]byte(strings.Replace(lessortest.Secret, `"ci"`, `"newer"`, 1)))
	w.NoError(err)
	if _, err := b.Secrets().Put(w.Context(), d, "test"); err == nil {
		t.Error("an older broker writes over a newer one's definition")
	}
	w.WantError(w.Operate(w.Namespace.AdminSecret(messages.AdminDelete), `{"name":"newer","force":true}`), messages.CodeInternal)
	if e, err := kv.Get(w.Context(), "newer"); err != nil || e.Revision() != revisions["newer"] {
		t.Errorf("it was touched: %v", err)
	}
	for _, name := range []string{"damaged", "empty", "another"} {
		w.Put(b, strings.Replace(lessortest.Secret, `"ci"`, `"`+name+`"`, 1))
		w.Lease(name, "{}")
	}
}

// TestABadConnectionStopsNothingElse: brokers start, and other definitions give
// leases; what it is needed for waits until it is put right.
func TestABadConnectionStopsNothingElse(t *testing.T) {
	for name, how := range map[string]func([]byte) []byte{
		"damaged": func(d []byte) []byte { return d[:len(d)/2] },
		"newer":   func(d []byte) []byte { return bytes.Replace(d, []byte(`"v":1`), []byte(`"v":2`), 1) },
		"another's": func(d []byte) []byte {
			return bytes.Replace(d, []byte(`"name":"default-`), []byte(`"name":"other-`), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.Broker()
			w.Put(b, lessortest.Secret)
			w.Put(b, `{"name":"far","aws":{"region":"eu-west-3"}}`)
			near, far := w.Lease("ci", "{}"), w.Lease("far", "{}")
			w.WaitQueuesEmpty()
			b.Close()
			kv := w.Bucket(w.Namespace.StateBucket())
			const key = "connection.default-us-east-1"
			good, revision := w.spoil(kv, key, how)

			w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
			w.Lease("far", "{}")
			if r := w.Revoke(far); r.Kind != messages.KindRevoked {
				t.Errorf("%+v %v", r, r.Error)
			}
			if r := w.Operate(w.Namespace.AdminSecret(messages.AdminList), ""); len(r.Secrets) != 2 || !strings.Contains(strings.Join(r.Secrets[0].Notes, ""), "connection") {
				t.Errorf("listed: %+v %v", r.Secrets, r.Error)
			}
			w.WantError(w.Revoke(near), messages.CodeProviderUnavailable)
			sweeps := w.Operate(w.Namespace.AdminSweep(), "").Sweeps
			if len(sweeps) != 2 || sweeps[0].Error == "" && sweeps[1].Error == "" || sweeps[0].Error != "" && sweeps[1].Error != "" {
				t.Errorf("swept: %+v", sweeps)
			}
			w.Clock.Advance(3 * time.Hour) // long enough to drop what nothing names
			w.Eventually("the far lease is over", func() bool { return w.Sim.UserCount() == 1 })
			if e, err := kv.Get(w.Context(), key); err != nil || e.Revision() != revision {
				t.Errorf("it was touched: %v", err)
			}
			_, err := kv.Put(w.Context(), key, good)
			w.NoError(err)
			w.adminLease(messages.AdminLeaseRetry, "")
			w.WaitNoUsers()
		})
	}
}

func first[A, B any](a A, _ B) A { return a }

// Without its id an installation would write another on its users, or none.
func TestADamagedInstallationIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	w.Broker().Close()
	_, err := w.Bucket(w.Namespace.StateBucket()).PutString(w.Context(), "installation", "")
	w.NoError(err)
	if _, err := w.TryBroker(w.Connect()); err == nil || !strings.Contains(err.Error(), "lessor:installation") {
		t.Fatalf("started: %v", err)
	}
}
