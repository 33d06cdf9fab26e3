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
	"github.com/lessorhq/lessor/messages"
)

// backup takes a backup of streams, as "nats stream backup" does.
func (w *world) backup(streams ...string) (dir string) {
	w.t.Helper()
	dir = w.t.TempDir()
	m, err := jsm.New(w.nc)
	w.ok(err)
	for _, name := range streams {
		s, err := m.LoadStream(name)
		w.ok(err)
		_, err = s.SnapshotToDirectory(w.ctx(), filepath.Join(dir, name))
		w.ok(err)
	}
	return dir
}

// restore puts streams back as they were, as "nats stream restore" does.
func (w *world) restore(dir string, streams ...string) {
	w.t.Helper()
	m, err := jsm.New(w.nc)
	w.ok(err)
	for _, name := range streams {
		w.ok(w.js.DeleteStream(w.ctx(), name))
		_, _, err = m.RestoreSnapshotFromDirectory(w.ctx(), name, filepath.Join(dir, name))
		w.ok(err)
	}
}

func (w *world) restored(body string) messages.Restore {
	w.t.Helper()
	r := w.operate(w.ns.AdminRestore(), body)
	if r.Kind != messages.KindRestore {
		w.t.Fatalf("%+v %v", r, r.Error)
	}
	return *r.Restore
}

// yesterday is what a backup is taken of, and what came after it.
type yesterday struct {
	renewed messages.Reply // and its renewal is in no backup
	expired messages.Reply // as its record says, and nobody has renewed it
	later   messages.Reply // made after the backup
}

// TestARestoredBucketEndsNothingByItself restores yesterday's buckets under leases
// that were renewed and made since, in each way in which that is done.
func TestARestoredBucketEndsNothingByItself(t *testing.T) {
	ns := messages.Namespace{}
	lease := "KV_" + ns.LeaseBucket()
	buckets := []string{lease, "KV_" + ns.SecretBucket(), "KV_" + ns.StateBucket()}
	for name, c := range map[string]struct {
		streams []string // that are restored
		folder  string   // or the folder below the store that is put back
		told    bool     // an operator says so
		why     string
		events  bool // they know of the renewal
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
				w.testRestore(func() string { return w.copyFolder(c.folder) }, func(dir string) { w.putBack(dir, c.folder) }, c.told, c.why, c.events)
				return
			}
			w.testRestore(func() string { return w.backup(c.streams...) }, func(dir string) { w.restore(dir, c.streams...) }, c.told, c.why, c.events)
		})
	}
}

// copyFolder copies a folder of the NATS server's store while the server is stopped.
func (w *world) copyFolder(folder string) string {
	w.t.Helper()
	w.server.Close()
	dir := filepath.Join(w.t.TempDir(), "copy")
	w.ok(os.CopyFS(dir, os.DirFS(filepath.Join(w.dir, folder))))
	w.startNATS()
	return dir
}

// putBack puts a copy in a folder's place.
func (w *world) putBack(dir, folder string) {
	w.t.Helper()
	w.server.Close()
	folder = filepath.Join(w.dir, folder)
	w.ok(os.RemoveAll(folder))
	w.ok(os.CopyFS(folder, os.DirFS(dir)))
	w.startNATS()
}

func (w *world) testRestore(backup func() string, restore func(string), told bool, why string, events bool) {
	t := w.t
	b := w.broker()
	w.put(b, strings.Replace(plainSecret, `"default_ttl"`, `"hard_expiry":"none","default_ttl"`, 1))
	var y yesterday
	y.renewed, y.expired = w.lease("ci", `{"ttl":"1h"}`), w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	b.stop()
	w.broker().stop() // writes down how far the bucket is
	dir := backup()

	b = w.broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	if r, _ := w.answer(w.publish(w.ns.Renew(nameOf(w, y.renewed)), `{"ttl":"20h"}`)); r.Kind != messages.KindRenewed {
		t.Fatalf("%+v %v", r, r.Error)
	}
	y.later = w.lease("ci", `{"ttl":"20h"}`)
	w.quiet()
	w.eventually("it is written down how far the bucket is", func() bool {
		s, err := w.js.Stream(w.ctx(), "KV_"+w.ns.LeaseBucket())
		w.ok(err)
		e, err := w.bucket(w.ns.StateBucket()).Get(w.ctx(), "mark")
		w.ok(err)
		return strings.Contains(string(e.Value()), jsonField("sequence", s.CachedInfo().State.LastSeq))
	})
	b.stop()
	restore(dir)
	w.clock.move(3 * time.Hour)

	b = w.broker(func(c *consumer.Config) { c.Restored = told })
	w.isHeld(b, why)
	w.eventually("they are reminded of", func() bool {
		return strings.Count(w.logs.String(), "blocked by the restore guard: the record comes from a backup") >= 4
	})
	if s := w.sweep(""); !s.AwaitsConsent || len(s.Orphans) != 1 || s.Orphans[0].Removed {
		t.Errorf("swept: %+v", s)
	}
	for _, l := range []messages.Reply{y.renewed, y.expired, y.later} {
		if !w.works(l.Credentials) {
			t.Errorf("%s is cut", l.Lease.Name)
		}
	}
	// What people order is done, and what is made now ends in time.
	short := w.lease("ci", `{"ttl":"1h"}`)
	ordered := w.lease("ci", `{"ttl":"1h"}`)
	w.answer(w.publish(w.ns.Revoke(nameOf(w, ordered)), ""))
	w.state(ordered.Lease.Name, messages.StateRevoked)
	w.clock.move(2 * time.Hour)
	w.state(short.Lease.Name, messages.StateRevoked)

	// The next broker holds it too, though nothing shows any more.
	b.stop()
	b = w.broker()
	w.isHeld(b, why)

	r := w.restored("")
	if !r.Guarded || r.Due != 2 || len(r.Leases) != 2 || r.Orphans != 1 || r.Applied || !strings.Contains(r.Why, why) {
		t.Fatalf("%+v", r)
	}
	for _, l := range r.Leases {
		if known := !l.RenewedUntil.IsZero(); known != (events && l.Name == y.renewed.Lease.Name) || l.Username == "" || l.ExpiresAt.IsZero() {
			t.Errorf("told %+v", l)
		}
	}
	r = w.restored(`{"apply":true}`)
	if r.Guarded || !r.Applied || r.Due != 2 || len(r.Sweeps) != 1 || !r.Sweeps[0].Orphans[0].Removed {
		t.Fatalf("%+v", r)
	}
	w.state(y.expired.Lease.Name, messages.StateRevoked)
	if events {
		rec, _ := w.record(y.renewed.Lease.Name)
		if !w.works(y.renewed.Credentials) || rec.State != messages.StateActive || rec.Renewals != 1 || rec.ExpiresAt.Sub(y.renewed.Lease.IssuedAt) < 19*time.Hour {
			t.Errorf("the renewed lease: %+v", rec)
		}
		w.clock.move(20 * time.Hour)
	}
	w.state(y.renewed.Lease.Name, messages.StateRevoked)
	w.nothingInAWS()
	if r := w.restored(`{"apply":true}`); r.Guarded || r.Applied || r.Due != 0 {
		t.Errorf("once more: %+v", r)
	}
	b.stop()
	b = w.broker()
	if why, err := b.Held(w.ctx()); why != "" || err != nil {
		t.Errorf("held again: %s, %v", why, err)
	}
}

func (w *world) isHeld(b *broker, says string) {
	w.t.Helper()
	why, err := b.Held(w.ctx())
	if err != nil || !strings.Contains(why, says) {
		w.t.Fatalf("held: %q, %v; want %q", why, err, says)
	}
	if b.Healthy(w.ctx()) != nil || !strings.Contains(w.logs.String(), "the lease bucket was restored: no lease") {
		w.t.Error("nobody is told, or it is not healthy")
	}
}

func jsonField(name string, n uint64) string {
	data, _ := json.Marshal(map[string]uint64{name: n})
	return strings.Trim(string(data), "{}")
}

// TestNothingIsHeldWithoutReason: not an installation that is new, nor one whose last
// broker did not write down how far the bucket is; not after a stop, a long break, or
// events that are about no change.
func TestNothingIsHeldWithoutReason(t *testing.T) {
	w := newWorld(t)
	free := func(b *broker) {
		t.Helper()
		if why, err := b.Held(w.ctx()); why != "" || err != nil {
			t.Fatalf("held: %s, %v", why, err)
		}
	}
	b := w.broker()
	free(b)
	w.put(b, plainSecret)
	lease := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	b.stop()
	w.ok(w.bucket(w.ns.StateBucket()).Delete(w.ctx(), "mark")) // as before there was one
	b = w.broker()
	free(b)
	w.refused(w.ask("nothing", "{}"), messages.CodeSecretNotFound)
	b.stop()
	_, err := w.bucket(w.ns.StateBucket()).PutString(w.ctx(), "mark", `{"v":7}`)
	w.ok(err)
	w.clock.move(24 * time.Hour)
	b = w.broker()
	free(b)
	w.state(lease.Lease.Name, messages.StateRevoked)
	b.stop()
	b = w.broker()
	free(b)
	if r := w.restored(`{"apply":true}`); r.Guarded || r.Applied || r.Sweeps != nil {
		t.Errorf("%+v", r)
	}
}

// TestABucketThatIsRestoredUnderARunningBrokerIsHeld, and one that is made anew.
func TestABucketThatIsRestoredUnderARunningBrokerIsHeld(t *testing.T) {
	w := newWorld(t)
	w.put(w.broker(), plainSecret)
	lease := "KV_" + w.ns.LeaseBucket()
	dir := w.backup(lease)
	b := w.broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
	w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	w.eventually("it is written down how far the bucket is", func() bool {
		e, err := w.bucket(w.ns.StateBucket()).Get(w.ctx(), "mark")
		w.ok(err)
		return !strings.Contains(string(e.Value()), `"sequence":0`)
	})
	w.restore(dir, lease)
	w.eventually("it is held", func() bool {
		why, err := b.Held(w.ctx())
		return err == nil && why != ""
	})
	w.clock.move(time.Hour)
	if s := w.sweep(""); !s.AwaitsConsent || len(s.Orphans) != 1 {
		t.Errorf("swept: %+v", s)
	}
}

// A hold that a newer broker wrote, or that is damaged, holds everything.
func TestAHoldThatCanNotBeReadHolds(t *testing.T) {
	w := newWorld(t)
	b := w.broker()
	w.put(b, plainSecret)
	_, err := w.bucket(w.ns.StateBucket()).PutString(w.ctx(), "hold", `{"v":2}`)
	w.ok(err)
	l := w.lease("ci", `{"ttl":"1h"}`)
	w.quiet()
	w.clock.move(2 * time.Hour)
	w.eventually("it is reminded of", func() bool {
		return strings.Contains(w.logs.String(), "blocked by the restore guard: the record comes")
	})
	if r := w.restored(`{"apply":true}`); !r.Applied || r.Due != 1 {
		t.Errorf("%+v", r)
	}
	w.state(l.Lease.Name, messages.StateRevoked)
}
