package consumer_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestUnreadableDefinitionStopsNothingElse: it is damaged, has another's name, or is a
// newer broker's, which must not be overwritten.
func TestUnreadableDefinitionStopsNothingElse(t *testing.T) {
	t.Parallel()
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
		w.Eventually("the broker has the change", func() bool {
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
		t.Fatalf("the list is %+v %v", all.Secrets, all.Error)
	}
	for _, i := range all.Secrets {
		if _, bad := names[i.Name]; bad != (len(i.Notes) > 0) {
			t.Errorf("%s has the notes %q", i.Name, i.Notes)
		}
	}
	if from, err := b.Secrets().NamesFrom(w.Context(), "test"); err != nil || len(from) != 2 { // ci, and the name around the other definition
		t.Errorf("the names are %v, %v", from, err)
	}
	d, err := messages.DecodeDynamicSecret([]byte(strings.Replace(lessortest.Secret, `"ci"`, `"newer"`, 1)))
	w.NoError(err)
	if _, err := b.Secrets().Put(w.Context(), d, "test"); err == nil {
		t.Error("an older broker overwrites a newer one's definition")
	}
	w.WantError(w.Operate(w.Namespace.AdminSecret(messages.AdminDelete), `{"name":"newer","force":true}`), messages.CodeInternal)
	if e, err := kv.Get(w.Context(), "newer"); err != nil || e.Revision() != revisions["newer"] {
		t.Errorf("it was written: %v", err)
	}
	for _, name := range []string{"damaged", "empty", "another"} {
		w.Put(b, strings.Replace(lessortest.Secret, `"ci"`, `"`+name+`"`, 1))
		w.Lease(name, "{}")
	}
}

// TestUnreadableConnectionStopsNothingElse: brokers start, and other definitions issue
// leases. Work that needs the connection waits until it is readable again.
func TestUnreadableConnectionStopsNothingElse(t *testing.T) {
	t.Parallel()
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
				t.Errorf("the list is %+v %v", r.Secrets, r.Error)
			}
			w.WantError(w.Revoke(near), messages.CodeProviderUnavailable)
			sweeps := w.Operate(w.Namespace.AdminSweep(), "").Sweeps
			if len(sweeps) != 2 || sweeps[0].Error == "" && sweeps[1].Error == "" || sweeps[0].Error != "" && sweeps[1].Error != "" {
				t.Errorf("the sweeps are %+v", sweeps)
			}
			w.Clock.Advance(3 * time.Hour) // long enough for unused connections to be removed
			w.Eventually("the far lease has ended", func() bool { return w.Sim.UserCount() == 1 })
			if e, err := kv.Get(w.Context(), key); err != nil || e.Revision() != revision {
				t.Errorf("it was written: %v", err)
			}
			_, err := kv.Put(w.Context(), key, good)
			w.NoError(err)
			w.adminLease(messages.AdminLeaseRetry, "")
			w.WaitNoUsers()
		})
	}
}

// TestDamagedInstallationIDIsNotReplaced: with another id the installation would not
// find its users.
func TestDamagedInstallationIDIsNotReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker().Close()
	_, err := w.Bucket(w.Namespace.StateBucket()).PutString(w.Context(), "installation", "")
	w.NoError(err)
	if _, err := w.TryBroker(w.Connect()); err == nil || !strings.Contains(err.Error(), "lessor:installation") {
		t.Fatalf("the broker has started: %v", err)
	}
}
