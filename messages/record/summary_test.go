package record_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// checkSummary fails if DecodeAt accepts the record and Summarize returns an error or
// anything else than the same values.
func checkSummary(t interface{ Errorf(string, ...any) }, key string, data []byte) {
	r, err := record.DecodeAt(key, data)
	if err != nil {
		return
	}
	want := record.Summary{
		Name: r.Name(), State: r.State, Due: r.Due, StartedAt: r.StartedAt, Sequence: r.Origin.Sequence,
		Failing: r.Failing(), AccessEnded: r.SessionDenied() || r.AccessEnded(),
	}
	for _, header := range []map[string][]string{nil, r.Header()} {
		if got, err := record.Summarize(key, header, data); err != nil || got != want {
			t.Errorf("Summarize with the headers %v: %+v, %v; DecodeAt: %+v: %s", header, got, err, want, data)
		}
	}
}

// encodedRecords returns the golden records as they are stored, with their keys.
func encodedRecords() (keys []string, data [][]byte) {
	records := goldenRecords()
	for _, file := range slices.Sorted(maps.Keys(records)) {
		keys = append(keys, records[file].Name().String())
		data = append(data, must(records[file].Encode()))
	}
	return keys, data
}

func TestSummarizeAgreesWithDecodeAt(t *testing.T) {
	keys, data := encodedRecords()
	for i := range data {
		if _, err := record.DecodeAt(keys[i], data[i]); err != nil {
			t.Fatal(err)
		}
		checkSummary(t, keys[i], data[i])
	}
}

// TestSummaryOfEveryState states the indexed values literally.
func TestSummaryOfEveryState(t *testing.T) {
	for file, want := range map[string]struct{ accessEnded, failing bool }{
		"record_provisioning.json":   {},
		"record_active.json":         {},
		"record_revoking.json":       {failing: true},
		"record_key_deleted.json":    {accessEnded: true, failing: true},
		"record_session.json":        {},
		"record_session_denied.json": {accessEnded: true},
		"record_revoked.json":        {},
	} {
		r := goldenRecords()[file]
		got, err := record.Summarize(r.Name().String(), r.Header(), must(r.Encode()))
		if err != nil || got.AccessEnded != want.accessEnded || got.Failing != want.failing || !got.Due.Equal(r.Due) || got.State != r.State || got.Sequence != 17 {
			t.Errorf("%s: got %+v, %v", file, got, err)
		}
	}
}

func TestSummarizeRefusesFaultsInIndexedFields(t *testing.T) {
	r := inState(messages.StateActive)
	key, data := r.Name().String(), string(must(r.Encode()))
	for old, wrong := range map[string]string{
		`"attempt":1`: `"attempt":0`, `"v":1`: `"v":2`, `"state":"active"`: `"state":"lost"`, `"due":"`: `"other":"`,
		`"identity":"alice"`: `"identity":"bob"`, `"seq":17`: `"seq":-1`, `"started_at":"2026`: `"started_at":"x`, `{"v"`: `["v"`,
	} {
		if !strings.Contains(data, old) {
			t.Fatalf("there is no %s in %s", old, data)
		}
		broken := []byte(strings.Replace(data, old, wrong, 1))
		_, want := record.DecodeAt(key, broken)
		if got, err := record.Summarize(key, nil, broken); err == nil || want == nil || got != (record.Summary{}) {
			t.Errorf("%s: got %+v, %v; DecodeAt: %v", wrong, got, err, want)
		}
	}
	for _, other := range []string{"bob.ci.1", "stray", ""} {
		if got, err := record.Summarize(other, nil, []byte(data)); err == nil {
			t.Errorf("the record of %s at %q: got %+v", key, other, got)
		}
	}
}

// TestSummarizeOfDamagedRecords changes records at random and compares Summarize with
// DecodeAt.
func TestSummarizeOfDamagedRecords(t *testing.T) {
	keys, all := encodedRecords()
	pieces := []string{
		"", `"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, `0`, `1`, `9`, `-`, `.`, `Z`, `null`, `true`, `""`, `{}`, `[]`, "\x00", "é", "\xff",
		`"v":1,`, `"v":2,`, `"due":null,`, `"colour":"red",`, `"state":"active",`, `"STATE":"active",`, `"attempt":0,`, `"user":{"nick":"x"},`, `"user":{},`,
		`"ttl":"1w",`, `"ttl":"-1s"`, `"ttl":"99999d",`, `"announced":1,`, `"due":"2026-02-30T00:00:00Z",`, `"due":"0001-01-01T00:00:00Z",`,
		`"due":"2026-02-20T00:00:00,5Z",`, `"teardown_error":"",`, `"key_deleted_at":null,`, `"denied_at":"2026-11-22T12:00:00Z",`,
	}
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(all)-1).Draw(t, "record")
		data := slices.Clone(all[i])
		for range rapid.IntRange(1, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, len(data)).Draw(t, "at")
			if comma := strings.IndexByte(string(data[at:]), ','); comma >= 0 && rapid.Bool().Draw(t, "behind a comma") {
				at += comma + 1
			}
			removed := 0
			if rapid.Bool().Draw(t, "replace") {
				removed = rapid.IntRange(0, min(3, len(data)-at)).Draw(t, "removed")
			}
			data = slices.Replace(data, at, at+removed, []byte(rapid.SampledFrom(pieces).Draw(t, "piece"))...)
		}
		checkSummary(t, keys[i], data)
	})
}

// TestSummarizeAgreesWithDecodeAtInEveryLifetime applies random transitions.
func TestSummarizeAgreesWithDecodeAtInEveryLifetime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := beginLifetime(t)
		actions := l.actions()
		actions[""] = func(t *rapid.T) { checkSummary(t, l.record.Name().String(), must(l.record.Encode())) }
		t.Repeat(actions)
	})
}

// TestSummarizeReadsTheRecordIfItsHeadersAreDamaged takes each header away, and breaks
// it.
func TestSummarizeReadsTheRecordIfItsHeadersAreDamaged(t *testing.T) {
	r := goldenRecords()["record_key_deleted.json"]
	key, data := r.Name().String(), must(r.Encode())
	want := must(record.DecodeAt(key, data)).Summary()
	for _, name := range []string{"Lessor-Record", "Lessor-State", "Lessor-Due", "Lessor-Started-At", "Lessor-Request-Sequence"} {
		for _, value := range []string{"", "x"} {
			h := maps.Clone(r.Header())
			h[name] = []string{value}
			if got, err := record.Summarize(key, h, data); err != nil || got != want {
				t.Errorf("%s is %q: got %+v, %v", name, value, got, err)
			}
		}
	}
}
