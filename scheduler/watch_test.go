package scheduler_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

func TestNewDoesNotUseTheConnection(t *testing.T) {
	f := newFixtureWithStreams(t)
	before := f.nc.Stats()
	s := f.create()
	if s.Healthy() == nil {
		t.Error("it is healthy before it was started")
	}
	s.Stop()
	if after := f.nc.Stats(); after.OutMsgs != before.OutMsgs {
		t.Errorf("%d messages were sent", after.OutMsgs-before.OutMsgs)
	}
}

func TestEndedLeaseIsDropped(t *testing.T) {
	f := newFixtureWithStreams(t)
	s := f.start()
	r := f.lease("one", time.Hour)
	f.put(r)
	f.put(f.lease("two", time.Hour))
	f.eventually("the leases are indexed", func() bool { return s.Leases() == 2 })
	ended, err := r.Fail(messages.Errorf(messages.CodeInternal, "x"), true, f.now(), record.Timing{})
	f.ok(err)
	f.put(ended)
	f.eventually("one is dropped", func() bool { return s.Leases() == 1 })
	f.ok(f.kv.Delete(t.Context(), "alice.ci.two"))
	f.eventually("both are dropped", func() bool { return s.Leases() == 0 })
}

func TestLeasesAreCountedByState(t *testing.T) {
	f := newFixtureWithStreams(t)
	s := f.start()
	begun := f.lease("begun", time.Hour)
	ending := f.lease("ending", time.Hour)
	ending.State, ending.IssuedAt = messages.StateRevoking, f.now()
	failing := f.lease("failing", time.Hour)
	failing.State, failing.TeardownError, failing.TeardownTries = messages.StateRevoking, "AWS answered DeleteUser with AccessDenied", 1
	cleanup := f.lease("cleanup", time.Hour)
	cleanup.State, cleanup.IssuedAt, cleanup.KeyDeletedAt = messages.StateRevoking, f.now(), f.now()
	ended := f.lease("ended", time.Hour)
	ended.State, ended.Due = messages.StateRevoked, time.Time{}
	working := f.lease("active", time.Hour)
	working.State = messages.StateActive
	for _, r := range []record.Record{begun, ending, failing, cleanup, ended, working} {
		f.put(r)
	}
	want := scheduler.Counts{Provisioning: 1, Active: 1, Revoking: 3, Failing: 1}
	f.eventually("they are counted", func() bool { return s.Counts() == want })
	if ofIdentity, ofSecret, loaded := s.Live("alice", "ci"); ofIdentity != 4 || ofSecret != 4 || !loaded {
		t.Errorf("live: %d and %d, loaded %t; want 4, without the one of which cleanup is left", ofIdentity, ofSecret, loaded)
	}
	failing.TeardownError = ""
	f.put(failing)
	want.Failing = 0
	f.eventually("one does not fail any more", func() bool { return s.Counts() == want })
}

func TestBucketMayBeMadeAfterTheStart(t *testing.T) {
	f := newFixture(t)
	f.makeStream()
	s := f.start()
	f.eventually("it is not healthy", func() bool { return s.Healthy() != nil })
	f.makeBucket()
	f.put(f.lease("one", time.Minute))
	cons := f.reminders()
	f.eventually("the lease is loaded", func() bool { return s.Healthy() == nil && s.Leases() == 1 })
	f.advance(time.Minute)
	if id := f.take(cons, patience); id != "one" {
		t.Fatal("no reminder")
	}
}

func TestRatesAreUnknownUntilLeasesAreLoaded(t *testing.T) {
	f := newFixture(t)
	s := f.start() // there is no bucket yet
	name := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "1"}
	if _, loaded := s.Admit(name, 1, 1); loaded {
		t.Error("Admit counts")
	}
	if _, loaded := s.Room("alice", "ci", 1); loaded {
		t.Error("Room counts")
	}
	if s.Known(name) {
		t.Error("the lease is known")
	}
}

func TestResyncFindsWhatTheWatchMissed(t *testing.T) {
	f := newFixtureWithStreams(t)
	for i := range 20 {
		f.put(f.lease(fmt.Sprintf("l%d", i), time.Hour))
	}
	s := f.startLoaded(20, resyncEvery(20*time.Millisecond))
	s.Forget("alice.ci.l7")
	f.eventually("the missed record is indexed", func() bool { return s.Has("alice.ci.l7") })
	s.Invent("alice.ci.gone", f.now().Add(time.Hour), 3)
	f.eventually("the missed deletion is seen", func() bool { return s.Leases() == 20 && !s.Has("alice.ci.gone") })
	s.Invent("alice.ci.l8", f.now().Add(time.Hour), 3000)
	cons := f.reminders()
	f.advance(time.Hour)
	seen := map[string]bool{}
	f.eventually("all are due by their records", func() bool {
		if id := f.take(cons, 10*time.Millisecond); id != "" {
			seen[id] = true
		}
		return len(seen) == 20
	})
}

// A purge leaves no marker, so the watch reports nothing.
func TestResyncDropsPurgedLeases(t *testing.T) {
	f := newFixtureWithStreams(t)
	f.put(f.lease("one", time.Hour))
	s := f.startLoaded(1, resyncEvery(20*time.Millisecond))
	f.ok(f.stream().Purge(t.Context()))
	f.eventually("it is dropped", func() bool { return s.Leases() == 0 })
}

func TestResyncIsRightWhileLeasesChange(t *testing.T) {
	f := newFixtureWithStreams(t)
	var log logBook
	s := f.startLoaded(0, resyncEvery(time.Millisecond), func(c *scheduler.Config) { c.Log = zerolog.New(&log) })
	live := map[string]bool{}
	for i := 0; i < 300 || log.loads() < 10; i++ {
		r := f.lease(fmt.Sprintf("l%d", i%30), time.Hour)
		if live[r.ID] = i%3 != 2; !live[r.ID] {
			r.State, r.Due = messages.StateRevoked, time.Time{}
		}
		f.put(r)
	}
	f.eventually("the index has the live leases", func() bool {
		for id, alive := range live {
			if s.Has("alice.ci."+id) != alive {
				return false
			}
		}
		return true
	})
}

// The revisions of the new bucket begin at 1 again.
func TestBucketThatIsMadeAnewIsReadAtOnce(t *testing.T) {
	f := newFixtureWithStreams(t)
	first := f.lease("one", time.Hour)
	f.put(first)
	s := f.startLoaded(1, func(c *scheduler.Config) { c.Check = 20 * time.Millisecond })
	f.ok(f.js.DeleteKeyValue(t.Context(), f.ns.LeaseBucket()))
	f.makeBucket()
	first.Due = first.Due.Add(-30 * time.Minute)
	f.put(first) // at the revision that the index has
	f.put(f.lease("two", time.Hour))
	f.eventually("the new lease is indexed", func() bool { return s.Has("alice.ci.two") })
	cons := f.reminders()
	f.advance(31 * time.Minute)
	if id := f.take(cons, patience); id != "one" {
		t.Error("the record of the old bucket is still indexed")
	}
}

func TestBucketThatIsRestoredIsReadAtOnce(t *testing.T) {
	f := newFixtureWithStreams(t)
	old := f.lease("one", time.Hour)
	f.put(old)
	manager, err := jsm.New(f.nc)
	f.ok(err)
	backup := filepath.Join(t.TempDir(), "backup")
	name := bucket.StreamName(f.ns.LeaseBucket())
	stream, err := manager.LoadStream(name)
	f.ok(err)
	_, err = stream.SnapshotToDirectory(t.Context(), backup)
	f.ok(err)
	renewed := old
	renewed.Due = old.Due.Add(5 * time.Hour)
	f.put(renewed)
	f.put(f.lease("two", time.Hour))
	s := f.startLoaded(2, func(c *scheduler.Config) { c.Check = 20 * time.Millisecond })

	f.ok(f.js.DeleteStream(t.Context(), name))
	_, _, err = manager.RestoreSnapshotFromDirectory(t.Context(), name, backup)
	f.ok(err)
	f.eventually("what is not in the backup is dropped", func() bool { return s.Leases() == 1 && !s.Has("alice.ci.two") })
	cons := f.reminders()
	f.advance(61 * time.Minute)
	if id := f.take(cons, patience); id != "one" {
		t.Error("the restored record is not indexed")
	}
}
