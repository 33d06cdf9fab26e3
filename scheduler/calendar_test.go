package scheduler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

// state makes the state bucket.
func (b *bench) state() jetstream.KeyValue {
	b.t.Helper()
	_, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{
		Name: "KV_" + b.ns.StateBucket(), Subjects: []string{"$KV." + b.ns.StateBucket() + ".>"}, MaxMsgsPerSubject: 1,
		Discard: jetstream.DiscardNew, AllowMsgTTL: true,
	})
	b.ok(err)
	kv, err := b.js.KeyValue(b.t.Context(), b.ns.StateBucket())
	b.ok(err)
	return kv
}

func keepsCalendar(c *scheduler.Config) { c.Calendar, c.CalendarEvery = 1, 5*time.Millisecond }

// written waits until the calendar goes up to a record that is put now.
func (b *bench) written(state jetstream.KeyValue) {
	b.t.Helper()
	bucket, err := b.kv.Status(b.t.Context())
	b.ok(err)
	last := bucket.(*jetstream.KeyValueBucketStatus).StreamInfo().State.LastSeq
	b.eventually("the calendar is written", func() bool {
		e, err := state.Get(b.t.Context(), "due-mark")
		return err == nil && string(e.Value()) == fmt.Sprint(last)
	})
}

func (b *bench) pages(state jetstream.KeyValue) (keys []string) {
	b.t.Helper()
	all, err := state.Keys(b.t.Context())
	if !errors.Is(err, jetstream.ErrNoKeysFound) {
		b.ok(err)
	}
	for _, key := range all {
		if strings.HasPrefix(key, "due.") {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestWhatIsDueIsServedBeforeTheLeasesAreLoaded: they can't be, here, since the bucket
// is away.
func TestWhatIsDueIsServedBeforeTheLeasesAreLoaded(t *testing.T) {
	b := newBench(t)
	b.streams()
	state := b.state()
	renewed, ended := b.lease("renewed", time.Minute), b.lease("ended", time.Minute)
	for _, r := range []record.Record{b.lease("later", time.Hour), b.lease("due", time.Minute), renewed, ended} {
		b.put(r)
	}
	first := b.schedule(keepsCalendar)
	b.written(state)
	renewed.Due = b.now().Add(2 * time.Hour)
	b.put(renewed)
	b.written(state)
	first.Stop()

	b.ok(b.js.DeleteKeyValue(t.Context(), b.ns.LeaseBucket()))
	b.move(30 * time.Minute)
	second := b.schedule(keepsCalendar)
	cons := b.reminders()
	seen := map[string]bool{b.take(cons, patience): true, b.take(cons, patience): true}
	if !seen["due"] || !seen["ended"] {
		t.Errorf("reminded of %v", seen)
	}
	if id := b.take(cons, 30*time.Millisecond); id != "" {
		t.Errorf("reminded of %s, by what the calendar said before", id)
	}
	if _, _, loaded := second.Live("alice", "ci"); loaded || second.Healthy() == nil {
		t.Error("it takes the calendar for the bucket")
	}
}

// TestTheBucketIsBelievedAndNotTheCalendar: what the calendar has and the bucket has
// not is forgotten.
func TestTheBucketIsBelievedAndNotTheCalendar(t *testing.T) {
	b := newBench(t)
	b.streams()
	state := b.state()
	b.put(b.lease("one", time.Hour))
	_, err := state.Put(t.Context(), "due-mark", []byte("1"))
	b.ok(err)
	_, err = state.Put(t.Context(), "due.1.x", fmt.Appendf(nil, "junk\n1 alice.ci.gone\n1 alice.ci.one\n1 stray\n\n1"))
	b.ok(err)
	s := b.schedule()
	b.eventually("the leases are loaded", func() bool { return s.Healthy() == nil })
	if s.Leases() != 1 || s.Knows("alice.ci.gone") || s.Knows("stray") {
		t.Errorf("%d leases are known", s.Leases())
	}
}

// TestWhatWasWrittenSinceTheCalendarIsReadFirst: the mark says where to begin.
func TestWhatWasWrittenSinceTheCalendarIsReadFirst(t *testing.T) {
	b := newBench(t)
	b.streams()
	state := b.state()
	for i := range 3 {
		b.put(b.lease(fmt.Sprintf("l%d", i), time.Hour))
	}
	_, err := state.Put(t.Context(), "due-mark", []byte("2"))
	b.ok(err)
	if known := scheduler.Recalled(b.nc, b.now); len(known) != 1 || known[0] != "alice.ci.l2" {
		t.Errorf("known are %v", known)
	}
}

func TestFewLeasesHaveNoCalendar(t *testing.T) {
	b := newBench(t)
	b.streams()
	state := b.state()
	s := b.schedule(keepsCalendar, func(c *scheduler.Config) { c.Calendar = 3 })
	b.put(b.lease("one", time.Hour))
	b.put(b.lease("two", time.Hour))
	b.eventually("the leases are known", func() bool { return s.Healthy() == nil && s.Leases() == 2 })
	if keys := b.pages(state); len(keys) > 0 {
		t.Errorf("there is %v", keys)
	}
	b.put(b.lease("three", time.Hour)) // and now all are written down
	b.written(state)
	if keys := b.pages(state); len(keys) != 1 {
		t.Errorf("there is %v", keys)
	}
	if e, err := state.Get(t.Context(), b.pages(state)[0]); err != nil || strings.Count(string(e.Value()), "\n") != 3 {
		t.Errorf("the page is %v, %v", e, err)
	}
}

// TestPagesGoByThemselves: an hour after the last that they tell of.
func TestPagesGoByThemselves(t *testing.T) {
	b := newBench(t)
	b.streams()
	state := b.state()
	b.schedule(keepsCalendar)
	b.put(b.lease("one", 4*time.Hour))
	b.put(b.lease("late", -3*time.Hour)) // could not be revoked yet
	b.written(state)
	stream, err := b.js.Stream(t.Context(), "KV_"+b.ns.StateBucket())
	b.ok(err)
	keys := b.pages(state)
	if len(keys) != 2 {
		t.Fatalf("there is %v", keys)
	}
	slices.Sort(keys) // the late one is first
	for i, least := range []time.Duration{time.Hour, 5 * time.Hour} {
		m, err := stream.GetLastMsgForSubject(t.Context(), "$KV."+b.ns.StateBucket()+"."+keys[i])
		b.ok(err)
		ttl, err := time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader))
		if err != nil || ttl < least-time.Minute || ttl > least+11*time.Minute {
			t.Errorf("%s stays for %s, %v", keys[i], ttl, err)
		}
	}
}
