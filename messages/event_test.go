package messages_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func TestEventsKeepTheirFormat(t *testing.T) {
	lease := leaseIn(messages.StateRevoked)
	name := must(messages.ParseLeaseName(lease.Name))
	e := messages.NewEvent("5kf3", name, messages.EventRevoked, "1", noon.In(time.FixedZone("east", 3600)), messages.EventData{
		Lease: lease, Reason: lease.Reason, Note: "job finished", Verb: messages.VerbRevoke, Error: messages.Errorf(messages.CodeInternal, "no"),
	})
	stored := must(os.ReadFile(filepath.Join("testdata", "event_revoked.json")))
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, mustJSON(t, e), "", "  "); err != nil {
		t.Fatal(err)
	}
	if got := pretty.String() + "\n"; got != string(stored) {
		t.Errorf("got\n%swant\n%s", got, stored)
	}
	got, err := messages.DecodeEvent(stored)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got %+v, %v; want %+v", got, err, e)
	}
}

func TestRepeatedEventHasTheSameID(t *testing.T) {
	name := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct"}
	id := func(name messages.LeaseName, typ messages.EventType, occurrence string, at time.Time) string {
		return messages.NewEvent("5kf3", name, typ, occurrence, at, messages.EventData{}).ID
	}
	base := id(name, messages.EventRenewed, "1", noon)
	if again := id(name, messages.EventRenewed, "1", noon.Add(time.Hour)); again != base {
		t.Errorf("emitted again: got %s, want %s", again, base)
	}
	other := name
	other.Identity = "bob"
	for what, got := range map[string]string{
		"another lease": id(other, messages.EventRenewed, "1", noon), "another type": id(name, messages.EventIssued, "1", noon),
		"another occurrence": id(name, messages.EventRenewed, "2", noon),
	} {
		if got == base {
			t.Errorf("%s has the same id", what)
		}
	}
}

func TestEventTypesAreSubjectTokens(t *testing.T) {
	for _, typ := range []messages.EventType{
		messages.EventIssued, messages.EventConfirmed, messages.EventUndelivered, messages.EventRenewed, messages.EventExpiring,
		messages.EventRevoked, messages.EventFailed, messages.EventRevokeFailed, messages.EventRejected, messages.EventOrphanRemoved,
	} {
		if err := messages.CheckToken("type", string(typ)); err != nil {
			t.Error(err)
		}
		e := messages.NewEvent("5kf3", messages.LeaseName{}, typ, "1", noon, messages.EventData{})
		if e.Type != "lessor.lease."+string(typ) || !strings.HasSuffix(e.ID, "."+string(typ)) {
			t.Errorf("got %+v", e)
		}
	}
}

// Unknown marks an invalid token, so no identity may have this name.
func TestUnknownIsNotAToken(t *testing.T) {
	wantCode(t, messages.CheckToken("identity", messages.Unknown), messages.CodeInvalidSubject)
}

func TestDecodeEventRefusesOtherJSON(t *testing.T) {
	for _, data := range []string{
		"", "null", "{}", "[]", `{"specversion":"1.0"}`, `{"type":"lessor.lease.issued"}`, `{"specversion":"0.3","type":"a"}`,
		`{"specversion":"1.0","type":"a","time":"yesterday"}`, `{"specversion":1.0,"type":"a"}`, `{"specversion":"1.0","type":"a"} x`,
		`{"specversion":"` + strings.Repeat("1", 10_000) + `","type":"` + strings.Repeat("a", 10_000) + `"}`,
	} {
		e, err := messages.DecodeEvent([]byte(data))
		wantCode(t, err, messages.CodeInvalidRequest, "lessor")
		wantSafe(t, err)
		if !reflect.DeepEqual(e, messages.Event{}) {
			t.Errorf("%.40s: got an error and an event: %+v", data, e)
		}
	}
}
