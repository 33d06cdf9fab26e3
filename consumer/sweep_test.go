package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// addOrphan adds a user whose tags say that it is an installation's, for a lease.
func (w *world) addOrphan(name, installation, lease string) {
	w.Sim.AddUser(name, "/lessor/", map[string]string{"lessor:installation": installation, "lessor:lease": lease, "lessor:attempt": "1"})
}

// sweep asks for a sweep of the only connection.
func (w *world) sweep(body string) messages.Sweep {
	w.T.Helper()
	r := w.Operate(w.Namespace.AdminSweep(), body)
	if r.Kind != messages.KindSweep || len(r.Sweeps) != 1 {
		w.T.Fatalf("%+v %v", r.Sweeps, r.Error)
	}
	return r.Sweeps[0]
}

func TestSweepRemovesOrphans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	lease := w.Lease("ci", "{}")
	ended := w.Lease("ci", "{}")
	w.Revoke(ended)
	w.WaitQueuesEmpty()
	id := b.Installation()
	w.addOrphan("late", id, ended.Lease.Name)     // its lease has ended
	w.addOrphan("lost", id, "bob.ci.0000000000")  // its lease has no record
	w.addOrphan("second", id, lease.Lease.Name)   // its lease has another user
	w.addOrphan("Damaged", id, "what is this?")   // a changed tag
	w.addOrphan("theirs", "another-one", "a.b.c") // of another installation
	w.Sim.AddUser("kim", "/lessor/", nil)         // without tags
	w.Sim.AddUser("elsewhere", "/people/", nil)   //
	w.Sim.AddLoginProfile("lost")                 // with parts that no lease makes
	w.Sim.AddAccessKey("lost")                    //
	w.Clock.Advance(20 * time.Minute)
	w.addOrphan("young", id, "bob.ci.1111111111")

	s := w.sweep("")
	removed := map[string]bool{}
	for _, o := range s.Orphans {
		removed[o.Username] = o.Removed
	}
	if len(removed) != 4 || !removed["late"] || !removed["lost"] || !removed["second"] || !removed["Damaged"] || s.AwaitsConsent || s.Error != "" || s.Account != "123456789012" {
		t.Fatalf("%+v", s)
	}
	var left []string
	for _, u := range w.Sim.Users() {
		left = append(left, u.Name)
	}
	if len(left) != 5 || !w.Works(lease.Credentials) { // the lease's, theirs, kim, elsewhere, young
		t.Fatalf("the users are %v", left)
	}
	w.WaitEvents("bob.ci.0000000000", messages.EventOrphanRemoved)
	if n := w.Logs.Count("an orphan is removed"); n != 4 {
		t.Fatalf("%d log lines", n)
	}
	w.Clock.Advance(20 * time.Minute)
	if s := w.sweep("{}"); len(s.Orphans) != 1 || s.Orphans[0].Username != "young" || !s.Orphans[0].Removed {
		t.Fatalf("the later sweep is %+v", s)
	}
}

// TestRemovalIsEmittedByTheNextSweep: a broker loses NATS while AWS deletes the user.
// Another broker emits the event, once.
func TestRemovalIsEmittedByTheNextSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.addOrphan("lost", b.Installation(), "bob.ci.0000000000")
	w.Clock.Advance(30 * time.Minute)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteUser" {
			b.Conn.Close()
		}
		return iamsim.Verdict{}
	})
	w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSweep(), w.Conn.NewInbox(), nil))
	w.Eventually("the orphan is deleted", func() bool { _, there := w.Sim.User("lost"); return !there })
	b.Kill()
	w.Sim.SetHook(nil)
	w.WaitEvents("bob.ci.0000000000")
	w.Broker()
	for range 2 {
		if s := w.sweep(""); s.Error != "" || len(s.Orphans) > 0 {
			t.Fatalf("%+v", s)
		}
		w.WaitEvents("bob.ci.0000000000", messages.EventOrphanRemoved)
	}
}

func TestBrokersSweepByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quick := func(c *consumer.Config) { c.MaintainEvery = time.Millisecond }
	b := w.Broker(quick)
	w.Broker(quick)
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.addOrphan("lost", b.Installation(), "bob.ci.0000000000")
	w.Eventually("the orphan is deleted", func() bool {
		w.Clock.Advance(10 * time.Minute) // a sweep that is in progress may have begun before
		_, there := w.Sim.User("lost")
		return !there
	})
	w.WaitEvents("bob.ci.0000000000", messages.EventOrphanRemoved)
}

// TestManyOrphansWaitForAnOperator: a lease bucket that was restored from a backup does
// not know the newer users.
func TestManyOrphansWaitForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	var leases []messages.Reply
	for range 11 {
		leases = append(leases, w.Lease("ci", `{"ttl":"24h"}`))
	}
	w.WaitQueuesEmpty()
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.LeaseBucket())
	w.NoError(err)
	for _, l := range leases {
		w.NoError(kv.Delete(w.Context(), l.Lease.Name))
	}
	w.Clock.Advance(30 * time.Minute)
	s := w.sweep("")
	if !s.AwaitsConsent || len(s.Orphans) != 11 || s.Orphans[0].Removed || w.Sim.UserCount() != 11 {
		t.Fatalf("%+v, %d users", s, w.Sim.UserCount())
	}
	if !w.Logs.Contain("are suspicious") {
		t.Fatal("the orphans are not logged")
	}
	if s = w.sweep(`{"apply":true}`); s.AwaitsConsent || len(s.Orphans) != 11 || !s.Orphans[10].Removed {
		t.Fatalf("%+v", s)
	}
	w.WaitNoUsers()
}

func TestSweepReportsWhatItCouldNotRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	for i := range 2 {
		w.addOrphan(fmt.Sprintf("lost%d", i), b.Installation(), fmt.Sprintf("bob.ci.000000000%d", i))
	}
	w.Clock.Advance(30 * time.Minute)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteUser" && c.User == "lost0" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied"}
		}
		return iamsim.Verdict{}
	})
	s := w.sweep("")
	if len(s.Orphans) != 2 || s.Orphans[0].Removed || !strings.Contains(s.Orphans[0].Error, "AccessDenied") || !s.Orphans[1].Removed {
		t.Fatalf("%+v", s)
	}
	w.Sim.SetHook(nil)
	if s := w.sweep(""); len(s.Orphans) != 1 || !s.Orphans[0].Removed {
		t.Fatalf("%+v", s)
	}
}

// TestUserNamedByAnUnreadableRecordIsNoOrphan: the user's tags name a lease without a
// record.
func TestUserNamedByAnUnreadableRecordIsNoOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.addOrphan("Moved", b.Installation(), "bob.ci.0000000000")
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
