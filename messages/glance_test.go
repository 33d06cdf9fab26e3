package messages_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
)

// checkGlance fails unless a glance takes what a whole reading takes, and says the
// same.
func checkGlance(t interface{ Errorf(string, ...any) }, key string, data []byte) {
	g, err := messages.GlanceAt(key, data)
	r, whole := messages.DecodeRecordAt(key, data)
	if (err == nil) != (whole == nil) || (err != nil && err.Error() != whole.Error()) {
		t.Errorf("a glance says %v, a reading %v: %s", err, whole, data)
		return
	}
	if err != nil {
		return
	}
	want := messages.Glance{
		Name: r.Name(), State: r.State, Due: r.Due, StartedAt: r.StartedAt, Sequence: r.Origin.Sequence,
		Failing: r.Failing(), Spent: r.Cut() || r.Harmless(),
	}
	if g != want {
		t.Errorf("a glance says %+v, a reading %+v: %s", g, want, data)
	}
}

func goldenData() (names []string, keys []string, data [][]byte) {
	records := goldenRecords()
	for name := range records {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		keys = append(keys, records[name].Name().String())
		data = append(data, must(records[name].Encode()))
	}
	return names, keys, data
}

func TestAGlanceSaysWhatAReadingSays(t *testing.T) {
	_, keys, data := goldenData()
	for i := range data {
		checkGlance(t, keys[i], data[i])
		checkGlance(t, "bob.ci.1", data[i])
		checkGlance(t, "stray", data[i])
		for old, wrong := range map[string]string{`"attempt":1`: `"attempt":0`, `"v":1`: `"v":2`, `"state":"active"`: `"state":"lost"`, `"due":"`: `"duty":"`} {
			checkGlance(t, keys[i], []byte(strings.Replace(string(data[i]), old, wrong, 1)))
		}
	}
}

// TestAGlanceTakesNothingElse damages records in any way.
func TestAGlanceTakesNothingElse(t *testing.T) {
	_, keys, all := goldenData()
	pieces := []string{
		`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, `0`, `1`, `9`, `-`, `.`, `Z`, `null`, `true`, `""`, `{}`, `[]`, "\x00", "é", "\xff",
		`"v":1,`, `"v":2,`, `"due":null,`, `"colour":"red",`, `"state":"active",`, `"attempt":0,`, `"user":{"nick":"x"},`, `"ttl":"1w",`,
		`"ttl":"-1s"`, `"ttl":"99999d",`, `"notified":1,`, `"due":"2026-02-30T00:00:00Z",`, `"due":"0001-01-01T00:00:00Z",`, `"due":"2026-02-20T00:00:00,5Z",`,
	}
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(all)-1).Draw(t, "record")
		data := slices.Clone(all[i])
		for range rapid.IntRange(1, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, len(data)).Draw(t, "at")
			if comma := strings.IndexByte(string(data[at:]), ','); comma >= 0 && rapid.Bool().Draw(t, "behind a comma") {
				at += comma + 1
			}
			cut := rapid.IntRange(0, min(3, len(data)-at)).Draw(t, "cut")
			if rapid.Bool().Draw(t, "only put in") {
				cut = 0
			}
			piece := rapid.SampledFrom(append(pieces, "")).Draw(t, "piece")
			data = slices.Replace(data, at, at+cut, []byte(piece)...)
		}
		checkGlance(t, keys[i], data)
	})
}

// TestAGlanceIsCheap: leases that live take the quick way, which allocates nothing.
func TestAGlanceIsCheap(t *testing.T) {
	r := settledLease()
	key, data := r.Name().String(), must(r.Encode())
	if n := testing.AllocsPerRun(10, func() { must(messages.GlanceAt(key, data)) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzGlanceAt(f *testing.F) {
	addRecords(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		key := "alice.ci.1"
		if r, err := messages.DecodeRecord(data); err == nil {
			key = r.Name().String()
		}
		checkGlance(t, key, data)
	})
}

func TestALeaseIDIsPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := messages.LeaseID("alice", "ci", rapid.String().Draw(t, "key"), 0, noon)
		packed, ok := messages.PackLeaseID(id)
		if !ok || messages.UnpackLeaseID(packed) != id {
			t.Fatalf("%s came back as %s", id, messages.UnpackLeaseID(packed))
		}
		any := rapid.StringMatching(`[a-z0-9_-]{25,27}`).Draw(t, "id")
		if packed, ok := messages.PackLeaseID(any); ok && messages.UnpackLeaseID(packed) != any {
			t.Fatalf("%s came back as %s", any, messages.UnpackLeaseID(packed))
		}
	})
	for _, id := range []string{"", "1", strings.Repeat("0", 25) + "1", strings.Repeat("l", 26), strings.Repeat("0", 25) + "\n"} {
		if _, ok := messages.PackLeaseID(id); ok {
			t.Errorf("%q is packed", id)
		}
	}
}
