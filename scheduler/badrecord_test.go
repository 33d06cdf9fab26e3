package scheduler_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/scheduler"
)

// badRecords are values at keys of the lease bucket that no broker of this version
// can read.
func badRecords(t *testing.T, good record.Record) map[string][]byte {
	data, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"alice.ci.damaged": []byte(`{"v":1,`),
		"alice.ci.newer":   []byte(`{"v":99,"due":"2020-01-01T00:00:00Z","state":"active"}`),
		"alice.ci.empty":   {},
		"alice.ci.unknown": bytes.Replace(data, []byte(`"v":1,`), []byte(`"v":1,"colour":"red",`), 1),
		"alice.ci.another": data,
		"alice.ci.junk":    bytes.Repeat([]byte("junk"), 1<<18-64),
		"stray":            data,
	}
}

// TestRecordThatCanNotBeReadIsSetAside: it affects no other lease, is logged once, is
// never due, and counts as a lease until it can be read.
func TestRecordThatCanNotBeReadIsSetAside(t *testing.T) {
	f := newFixtureWithStreams(t)
	good := f.lease("good", time.Minute)
	bad := badRecords(t, good)
	for key, value := range bad {
		f.putRaw(key, value)
	}
	f.put(good)
	var log logBook
	s := f.startLoaded(1, resyncEvery(10*time.Millisecond), func(c *scheduler.Config) { c.Log = zerolog.New(&log) })
	cons := f.reminders()
	f.advance(time.Minute)
	if id := f.take(cons, patience); id != "good" {
		t.Fatalf("a reminder of %q", id)
	}
	f.eventually("there were resyncs", func() bool { return log.loads() > 3 })
	if n := s.Counts(); n != (scheduler.Counts{Provisioning: 1, Unreadable: len(bad)}) || s.Leases() != 1 {
		t.Errorf("counted %+v", n)
	}
	if _, ofSecret, _ := s.Live("alice", "ci"); ofSecret != len(bad) { // without stray, with good
		t.Errorf("%d leases of the secret are counted", ofSecret)
	}
	for key := range bad {
		if n := strings.Count(log.String(), `"lease":"`+key+`"`); n != 1 {
			t.Errorf("%s is logged %d times", key, n)
		}
	}
	if n := len(log.String()); n > 100_000 {
		t.Errorf("the log has %d bytes", n)
	}

	// One is repaired, one is deleted, one is written again and still can't be read.
	f.put(f.lease("damaged", 2*time.Hour))
	f.ok(f.kv.Delete(t.Context(), "stray"))
	f.putRaw("alice.ci.empty", []byte("null"))
	f.eventually("the changes are indexed", func() bool {
		return s.Counts() == scheduler.Counts{Provisioning: 2, Unreadable: len(bad) - 2} && strings.Count(log.String(), `"lease":"alice.ci.empty"`) == 2
	})
	f.advance(3 * time.Hour)
	seen := map[string]bool{}
	f.eventually("both are due", func() bool {
		seen[f.take(cons, 10*time.Millisecond)] = true
		return seen["damaged"]
	})
	for id := range seen {
		if id != "" && id != "good" && id != "damaged" {
			t.Errorf("a reminder of %s", id)
		}
	}
	f.putRaw("alice.ci.good", []byte("{}"))
	f.eventually("a record that becomes unreadable is set aside", func() bool { return s.Counts().Unreadable == len(bad)-1 })
}

// An operator repairs a record with "nats kv put", which writes no headers.
func TestRecordWithoutHeadersIsRead(t *testing.T) {
	f := newFixtureWithStreams(t)
	data, err := f.lease("one", time.Minute).Encode()
	f.ok(err)
	f.putRaw("alice.ci.one", data)
	f.startLoaded(1)
	cons := f.reminders()
	f.advance(time.Minute)
	if id := f.take(cons, patience); id != "one" {
		t.Fatal("no reminder")
	}
}
