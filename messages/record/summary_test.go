package record_test

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// checkSummary fails unless the headers of a record's message and the record itself
// have the same summary.
func checkSummary(t interface{ Errorf(string, ...any) }, r record.Record) {
	want := record.Summary{
		Name: r.Name(), State: r.State, Due: r.Due, StartedAt: r.StartedAt, Sequence: r.Origin.Sequence,
		Failing: r.Failing(), AccessEnded: r.SessionDenied() || r.AccessEnded(),
	}
	key, data := r.Name().String(), must(r.Encode())
	if got, err := record.Summarize(key, r.Header(), nil); err != nil || got != want {
		t.Errorf("by headers: %+v, %v; want %+v: %s", got, err, want, data)
	}
	if got, err := record.Summarize(key, nil, data); err != nil || got != want {
		t.Errorf("by the record: %+v, %v; want %+v: %s", got, err, want, data)
	}
}

func TestHeadersAndRecordHaveTheSameSummary(t *testing.T) {
	for _, r := range goldenRecords() {
		checkSummary(t, r)
	}
}

// TestHeadersAndRecordHaveTheSameSummaryAllTheirLife leads leases through random
// lives.
func TestHeadersAndRecordHaveTheSameSummaryAllTheirLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := beginLifetime(t)
		actions := l.actions()
		actions[""] = func(t *rapid.T) { checkSummary(t, l.record) }
		t.Repeat(actions)
	})
}

// TestSummaryOfEveryState states what the scheduler indexes, independently of the
// methods of Record.
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
		got, err := record.Summarize(r.Name().String(), r.Header(), nil)
		if err != nil || got.AccessEnded != want.accessEnded || got.Failing != want.failing || !got.Due.Equal(r.Due) || got.State != r.State || got.Sequence != 17 {
			t.Errorf("%s: got %+v, %v", file, got, err)
		}
	}
}

// TestRecordIsReadWhereHeadersAreUnusable: those of another version, or damaged.
func TestRecordIsReadWhereHeadersAreUnusable(t *testing.T) {
	r := inState(messages.StateActive)
	key, data := r.Name().String(), must(r.Encode())
	want := must(record.Summarize(key, nil, data))
	unusable := []map[string][]string{nil, {}, {"Lessor-Record": nil}}
	for header, value := range map[string]string{
		"Lessor-Record": "2", "Lessor-State": "sleeping", "Lessor-Due": "tomorrow", "Lessor-Started-At": "", "Lessor-Request-Sequence": "-1",
	} {
		h := maps.Clone(r.Header())
		h[header] = []string{value}
		unusable = append(unusable, h)
	}
	neverDue := maps.Clone(r.Header())
	delete(neverDue, "Lessor-Due")
	for _, h := range append(unusable, neverDue) {
		if got, err := record.Summarize(key, h, data); err != nil || got != want {
			t.Errorf("%v: %+v, %v", h, got, err)
		}
		if got, err := record.Summarize(key, h, []byte("x")); err == nil || got != (record.Summary{}) {
			t.Errorf("%v: %+v of a record that can't be read", h, got)
		}
	}
}

func TestSummaryIsOfTheLeaseOfItsKey(t *testing.T) {
	r := inState(messages.StateActive)
	for _, key := range []string{"stray", "", "alice.ci", "Alice.ci.1"} {
		for _, h := range []map[string][]string{nil, r.Header()} {
			if got, err := record.Summarize(key, h, must(r.Encode())); err == nil || got != (record.Summary{}) {
				t.Errorf("%q with %d headers: %+v", key, len(h), got)
			}
		}
	}
	if got, err := record.Summarize("bob.ci.1", nil, must(r.Encode())); err == nil {
		t.Errorf("the record of another lease: %+v", got)
	}
}
