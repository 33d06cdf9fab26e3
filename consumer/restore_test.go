package consumer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jsm.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// backup takes a backup of streams, as "nats stream backup" does.
func (w *world) backup(streams ...string) (dir string) {
	w.T.Helper()
	dir = w.T.TempDir()
	m, err := jsm.New(w.Conn)
	w.NoError(err)
	for _, name := range streams {
		s, err := m.LoadStream(name)
		w.NoError(err)
		_, err = s.SnapshotToDirectory(w.Context(), filepath.Join(dir, name))
		w.NoError(err)
	}
	return dir
}

// restore puts streams back as they were, as "nats stream restore" does.
func (w *world) restore(dir string, streams ...string) {
	w.T.Helper()
	m, err := jsm.New(w.Conn)
	w.NoError(err)
	for _, name := range streams {
		w.NoError(w.JS.DeleteStream(w.Context(), name))
		_, _, err = m.RestoreSnapshotFromDirectory(w.Context(), name, filepath.Join(dir, name))
		w.NoError(err)
	}
}

// adminRestore asks the admin service about the restore, or to apply it.
func (w *world) adminRestore(body string) messages.Restore {
	w.T.Helper()
	r := w.Operate(w.Namespace.AdminRestore(), body)
	w.WantKind(r, messages.KindRestore)
	return *r.Restore
}

// yesterday is the leases that a backup is taken of, and one that was made after it.
type yesterday struct {
	renewed messages.Reply // after the backup
	expired messages.Reply // and was not renewed
	later   messages.Reply // made after the backup
}

// copyFolder copies a folder of the NATS server's store while the server is stopped.
func (w *world) copyFolder(folder string) string {
	w.T.Helper()
	w.NATS.Close()
	dir := filepath.Join(w.T.TempDir(), "copy")
	w.NoError(os.CopyFS(dir, os.DirFS(filepath.Join(w.Dir, folder))))
	w.StartNATS()
	return dir
}

// putBack puts a copy in a folder's place.
func (w *world) putBack(dir, folder string) {
	w.T.Helper()
	w.NATS.Close()
	folder = filepath.Join(w.Dir, folder)
	w.NoError(os.RemoveAll(folder))
	w.NoError(os.CopyFS(folder, os.DirFS(dir)))
	w.StartNATS()
}

// testRestore takes a backup, changes what it is of, restores it, and has an operator
// apply the restore.
func (w *world) testRestore(backup func() string, restore func(string), flag bool, why string, events bool) {
	t := w.T
	b := w.Broker()
	w.Put(b, strings.Replace(lessortest.Secret, `"default_ttl"`, `"hard_expiry":"none","default_ttl"`, 1))
	var y yesterday
	y.renewed, y.expired = w.Lease("ci", `{"ttl":"1h"}`), w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	b.Close()
	w.Broker().Close() // stores the position of the bucket
	dir := backup()

	b = w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	w.WantKind(w.Renew(y.renewed, `{"ttl":"20h"}`), messages.KindRenewed)
	y.later = w.Lease("ci", `{"ttl":"20h"}`)
	w.WaitQueuesEmpty()
	w.Eventually("the position of the bucket is stored", func() bool {
		s, err := w.JS.Stream(w.Context(), "KV_"+w.Namespace.LeaseBucket())
		w.NoError(err)
		e, err := w.Bucket(w.Namespace.StateBucket()).Get(w.Context(), "mark")
		w.NoError(err)
		return strings.Contains(string(e.Value()), jsonField("sequence", s.CachedInfo().State.LastSeq))
	})
	b.Close()
	restore(dir)
	w.Clock.Advance(3 * time.Hour)

	b = w.Broker(func(c *consumer.Config) { c.Restored = flag })
	w.wantGuarded(b, why)
	w.Eventually("the guard blocks the reminders", func() bool {
		return w.Logs.Count("blocked by the restore guard: the record comes from a backup") >= 4
	})
	if s := w.sweep(""); !s.AwaitsConsent || len(s.Orphans) != 1 || s.Orphans[0].Removed {
		t.Errorf("the sweep is %+v", s)
	}
	for _, l := range []messages.Reply{y.renewed, y.expired, y.later} {
		if !w.Works(l.Credentials) {
			t.Errorf("the key of %s does not work", l.Lease.Name)
		}
	}
	// Commands are carried out, and new leases end in time.
	short := w.Lease("ci", `{"ttl":"1h"}`)
	revoked := w.Lease("ci", `{"ttl":"1h"}`)
	w.Revoke(revoked)
	w.WaitState(revoked.Lease.Name, messages.StateRevoked)
	w.Clock.Advance(2 * time.Hour)
	w.WaitState(short.Lease.Name, messages.StateRevoked)

	// The guard is active in the next broker, too.
	b.Close()
	b = w.Broker()
	w.wantGuarded(b, why)

	r := w.adminRestore("")
	if !r.Guarded || r.Due != 2 || len(r.Leases) != 2 || r.Orphans != 1 || r.Applied || !strings.Contains(r.Why, why) {
		t.Fatalf("%+v", r)
	}
	for _, l := range r.Leases {
		if known := !l.RenewedUntil.IsZero(); known != (events && l.Name == y.renewed.Lease.Name) || l.Username == "" || l.ExpiresAt.IsZero() {
			t.Errorf("reported %+v", l)
		}
	}
	r = w.adminRestore(`{"apply":true}`)
	if r.Guarded || !r.Applied || r.Due != 2 || len(r.Sweeps) != 1 || !r.Sweeps[0].Orphans[0].Removed {
		t.Fatalf("%+v", r)
	}
	w.WaitState(y.expired.Lease.Name, messages.StateRevoked)
	if events {
		rec, _ := w.Record(y.renewed.Lease.Name)
		if !w.Works(y.renewed.Credentials) || rec.State != messages.StateActive || rec.Renewals != 1 || rec.ExpiresAt.Sub(y.renewed.Lease.IssuedAt) < 19*time.Hour {
			t.Errorf("the renewed lease: %+v", rec)
		}
		w.Clock.Advance(20 * time.Hour)
	}
	w.WaitState(y.renewed.Lease.Name, messages.StateRevoked)
	w.WaitNoUsers()
	if r := w.adminRestore(`{"apply":true}`); r.Guarded || r.Applied || r.Due != 0 {
		t.Errorf("the second restore is %+v", r)
	}
	b.Close()
	b = w.Broker()
	if why, err := b.Held(w.Context()); why != "" || err != nil {
		t.Errorf("the guard is active again: %s, %v", why, err)
	}
}

// wantGuarded fails the test unless the restore guard is active for a reason.
func (w *world) wantGuarded(b *lessortest.Broker, reason string) {
	w.T.Helper()
	why, err := b.Held(w.Context())
	if err != nil || !strings.Contains(why, reason) {
		w.T.Fatalf("the guard is %q, %v; want %q", why, err, reason)
	}
	if b.Healthy(w.Context()) != nil || !w.Logs.Contain("the lease bucket was restored: no lease") {
		w.T.Error("the guard is not logged, or the broker is not healthy")
	}
}

// jsonField is a field of a JSON object.
func jsonField(name string, n uint64) string {
	data, _ := json.Marshal(map[string]uint64{name: n})
	return strings.Trim(string(data), "{}")
}

// TestRestoredBucketEndsNoLeaseByItself restores yesterday's buckets under leases that
// were renewed and made since, in each way in which that is done.
func TestRestoredBucketEndsNoLeaseByItself(t *testing.T) {
	t.Parallel()
	ns := messages.Namespace{}
	lease := "KV_" + ns.LeaseBucket()
	buckets := []string{lease, "KV_" + ns.SecretBucket(), "KV_" + ns.StateBucket()}
	for name, c := range map[string]struct {
		streams []string // that are restored
		folder  string   // or the folder below the store that is put back
		flag    bool     // the broker is started with Restored
		why     string
		events  bool // the events have the renewal
	}{
		"the lease bucket":       {buckets[:1], "", false, "not the one that it was", true},
		"all buckets":            {buckets, "", false, "not the one that it was", true},
		"everything":             {append([]string{ns.EventStream()}, buckets...), "", false, "not the one that it was", false},
		"the lease bucket files": {nil, "jetstream/$G/streams/" + lease, false, "has gone back", true},
		"all files":              {nil, "jetstream", true, "--restored", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.folder != "" {
				w.testRestore(func() string { return w.copyFolder(c.folder) }, func(dir string) { w.putBack(dir, c.folder) }, c.flag, c.why, c.events)
				return
			}
			w.testRestore(func() string { return w.backup(c.streams...) }, func(dir string) { w.restore(dir, c.streams...) }, c.flag, c.why, c.events)
		})
	}
}

// TestRestoreGuardIsInactiveWithoutARestore: neither in a new installation nor in one
// whose last broker did not store the position of the bucket; not after a stop, a long
// break, or events that are about no change.
func TestRestoreGuardIsInactiveWithoutARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	free := func(b *lessortest.Broker) {
		t.Helper()
		if why, err := b.Held(w.Context()); why != "" || err != nil {
			t.Fatalf("the guard is active: %s, %v", why, err)
		}
	}
	b := w.Broker()
	free(b)
	w.Put(b, lessortest.Secret)
	lease := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	b.Close()
	w.NoError(w.Bucket(w.Namespace.StateBucket()).Delete(w.Context(), "mark")) // as before marks existed
	b = w.Broker()
	free(b)
	w.WantError(w.Request("nothing", "{}"), messages.CodeSecretNotFound)
	b.Close()
	_, err := w.Bucket(w.Namespace.StateBucket()).PutString(w.Context(), "mark", `{"v":7}`)
	w.NoError(err)
	w.Clock.Advance(24 * time.Hour)
	b = w.Broker()
	free(b)
	w.WaitState(lease.Lease.Name, messages.StateRevoked)
	b.Close()
	b = w.Broker()
	free(b)
	if r := w.adminRestore(`{"apply":true}`); r.Guarded || r.Applied || r.Sweeps != nil {
		t.Errorf("%+v", r)
	}
}

func TestRestoreUnderARunningBrokerActivatesTheGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	lease := "KV_" + w.Namespace.LeaseBucket()
	dir := w.backup(lease)
	b := w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	w.Eventually("the position of the bucket is stored", func() bool {
		e, err := w.Bucket(w.Namespace.StateBucket()).Get(w.Context(), "mark")
		w.NoError(err)
		return !strings.Contains(string(e.Value()), `"sequence":0`)
	})
	w.restore(dir, lease)
	w.Eventually("the guard is active", func() bool {
		why, err := b.Held(w.Context())
		return err == nil && why != ""
	})
	w.Clock.Advance(time.Hour)
	if s := w.sweep(""); !s.AwaitsConsent || len(s.Orphans) != 1 {
		t.Errorf("the sweep is %+v", s)
	}
}

// TestUnreadableGuardBlocks: a newer broker has written it, or it is damaged.
func TestUnreadableGuardBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	_, err := w.Bucket(w.Namespace.StateBucket()).PutString(w.Context(), "hold", `{"v":2}`)
	w.NoError(err)
	l := w.Lease("ci", `{"ttl":"1h"}`)
	w.WaitQueuesEmpty()
	w.Clock.Advance(2 * time.Hour)
	w.Eventually("the guard blocks the reminder", func() bool {
		return w.Logs.Contain("blocked by the restore guard: the record comes")
	})
	if r := w.adminRestore(`{"apply":true}`); !r.Applied || r.Due != 1 {
		t.Errorf("%+v", r)
	}
	w.WaitState(l.Lease.Name, messages.StateRevoked)
}
