package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// golden compares got with a golden file and returns the file. Records of this format
// are stored in buckets: a change of the format needs a new [record.Version].
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	pretty.WriteByte('\n')
	if *update {
		if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pretty.Bytes(), want) {
		t.Errorf("%s: got\n%swant\n%s", path, pretty.Bytes(), want)
	}
	return want
}

// goldenRecords returns leases in every stage of their life. Each field is set in at
// least one of them.
func goldenRecords() map[string]record.Record {
	delivered := must(inState(messages.StateActive).Deliver(noon.Add(2*time.Second), timing))
	announced := must(must(settledLease().Renew(noon.Add(time.Hour), 41, noon, timing)).Announce(timing))
	revoking := must(must(announced.End(messages.ReasonRequested, "job finished", noon.Add(2*time.Hour), timing)).TeardownFailed("AWS is away", noon.Add(2*time.Hour)))
	keyDeleted := must(must(revoking.KeyDeleted(noon.Add(2*time.Hour))).DeferTeardown(record.MinTeardownWait, noon.Add(2*time.Hour)))
	keyDeleted.TeardownError = revoking.TeardownError // the format allows for it
	left := sessionIn(messages.StateRevoking)
	return map[string]record.Record{
		"record_session.json":         sessionIn(messages.StateActive),
		"record_session_denied.json":  deniedSession(),
		"record_session_left.json":    must(left.Ended(noon.Add(10 * time.Minute))),
		"record_session_revoked.json": must(deniedSession().Ended(left.SessionEnd())),

		"record_provisioning.json": inState(messages.StateProvisioning),
		"record_postponed.json":    must(inState(messages.StateProvisioning).Postpone(time.Second, true, noon, timing)),
		"record_undelivered.json":  inState(messages.StateActive),
		"record_delivered.json":    delivered,
		"record_active.json":       announced,
		"record_revoking.json":     revoking,
		"record_key_deleted.json":  keyDeleted,
		"record_revoked.json":      must(revoking.Ended(noon.Add(3 * time.Hour))),
		"record_failed.json":       inState(messages.StateFailed),
	}
}

func TestStoredRecordsKeepTheirFormat(t *testing.T) {
	for name, want := range goldenRecords() {
		t.Run(name, func(t *testing.T) {
			stored := golden(t, name, must(want.Encode()))
			got, err := record.Decode(stored)
			if err != nil {
				t.Fatal(err)
			}
			// Decode keeps the policy as it is, and the golden file is indented.
			var policy bytes.Buffer
			if len(got.User.InlinePolicy) > 0 {
				if err := json.Compact(&policy, got.User.InlinePolicy); err != nil {
					t.Fatal(err)
				}
				got.User.InlinePolicy = policy.Bytes()
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v, want\n%+v", got, want)
			}
		})
	}
}

// The golden files detect the renaming of a field only if a record has it.
func TestGoldenRecordsHaveEveryField(t *testing.T) {
	var all []record.Record
	for _, r := range goldenRecords() {
		all = append(all, r)
	}
	typ := reflect.TypeFor[record.Record]()
	for i := range typ.NumField() {
		set := false
		for _, r := range all {
			set = set || !reflect.ValueOf(r).Field(i).IsZero()
		}
		if !set {
			t.Errorf("no golden record has %s", typ.Field(i).Name)
		}
	}
	user := reflect.TypeFor[record.User]()
	for i := range user.NumField() {
		if !slices.ContainsFunc(all, func(r record.Record) bool { return !reflect.ValueOf(r.User).Field(i).IsZero() }) {
			t.Errorf("no golden record's user has %s", user.Field(i).Name)
		}
	}
}

func TestEncodeWritesTheVersion(t *testing.T) {
	r := inState(messages.StateActive)
	r.Version = 0
	back, err := record.Decode(must(r.Encode()))
	if err != nil || back.Version != record.Version {
		t.Errorf("got version %d, %v", back.Version, err)
	}
}

// changed returns an encoded record with one change to its JSON.
func changed(t *testing.T, old, replacement string) []byte {
	t.Helper()
	data := must(inState(messages.StateActive).Encode())
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("there is no %s in %s", old, data)
	}
	return bytes.Replace(data, []byte(old), []byte(replacement), 1)
}

func TestRecordsOfANewerVersionAreRefusedAsSuch(t *testing.T) {
	for name, data := range map[string][]byte{
		"next version":                 changed(t, `"v":1`, `"v":2`),
		"with unknown fields":          changed(t, `"v":1`, `"v":2,"colour":"red"`),
		"with unknown state":           changed(t, `"v":1`, `"v":3,"x":"y"`),
		"with a field of another type": changed(t, `"v":1`, `"v":2,"labels":[]`),
		"with the version only":        []byte(`{"v":99}`),
	} {
		if _, err := record.Decode(data); !errors.Is(err, record.ErrNewerVersion) {
			t.Errorf("%s: decode: %v", name, err)
		}
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":                nil,
		"null":                   []byte(`null`),
		"an empty object":        []byte(`{}`),
		"an array":               []byte(`[]`),
		"deny session":           must(inState(messages.StateActive).Encode())[:100],
		"data after it":          append(must(inState(messages.StateActive).Encode()), '{'),
		"two records":            append(must(inState(messages.StateActive).Encode()), must(inState(messages.StateActive).Encode())...),
		"unknown field":          changed(t, `"v":1`, `"v":1,"colour":"red"`),
		"unknown in origin":      changed(t, `"seq":17`, `"seq":17,"colour":"red"`),
		"unknown in user":        changed(t, `"path":`, `"colour":"red","path":`),
		"no version":             changed(t, `"v":1,`, ``),
		"version zero":           changed(t, `"v":1`, `"v":0`),
		"negative version":       changed(t, `"v":1`, `"v":-1`),
		"no state":               changed(t, `"state":"active",`, ``),
		"unknown state":          changed(t, `"state":"active"`, `"state":"sleeping"`),
		"wrong case":             changed(t, `"state":"active"`, `"state":"Active"`),
		"no attempt":             changed(t, `"attempt":1,`, ``),
		"attempt zero":           changed(t, `"attempt":1`, `"attempt":0`),
		"negative tries":         changed(t, `"v":1`, `"v":1,"teardown_tries":-1`),
		"no identity":            changed(t, `"identity":"alice"`, `"identity":""`),
		"a secret of two tokens": changed(t, `"secret":"ci"`, `"secret":"ci.x"`),
		"a wildcard as id":       changed(t, `"id":"06ct`, `"id":"*`),
		"text for a number":      changed(t, `"attempt":1`, `"attempt":"1"`),
		"not a time":             changed(t, `"due":"2026`, `"due":"x`),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := record.Decode(data)
			if err == nil || errors.Is(err, record.ErrNewerVersion) {
				t.Fatalf("got %+v, %v", r, err)
			}
			if !reflect.DeepEqual(r, record.Record{}) {
				t.Errorf("got an error and a record: %+v", r)
			}
		})
	}
}

func TestDecodeAtRefusesTheRecordOfAnotherLease(t *testing.T) {
	data := must(inState(messages.StateActive).Encode())
	name := inState(messages.StateActive).Name().String()
	if r, err := record.DecodeAt(name, data); err != nil || r.Name().String() != name {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, key := range []string{"", "x", "bob" + name[len("alice"):], name + ".x", strings.ToUpper(name), name + "0"} {
		if r, err := record.DecodeAt(key, data); err == nil || !reflect.DeepEqual(r, record.Record{}) {
			t.Errorf("%q: got %+v, %v", key, r, err)
		}
	}
	if _, err := record.DecodeAt(name, changed(t, `"v":1`, `"v":2`)); !errors.Is(err, record.ErrNewerVersion) {
		t.Errorf("a newer one: %v", err)
	}
}

// Damaged data may have any size and content.
func TestErrorsOfDamagedRecordsAreShort(t *testing.T) {
	junk := strings.Repeat("Geheim\n", 1<<17)
	for _, data := range []string{junk, `"` + junk + `"`, `{"v":1,"` + junk + `":1}`, `{"v":1,"due":"` + junk + `"}`, `{"v":1,"attempt":` + strings.Repeat("9", 1<<20) + `}`} {
		_, err := record.Decode([]byte(data))
		if err == nil || len(err.Error()) > 600 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.50s…: %d bytes: %.700s", data, len(err.Error()), err)
		}
	}
}

func TestDecodePartial(t *testing.T) {
	active := inState(messages.StateActive)
	whole := record.Partial{Username: active.User.Name, Connection: active.Connection}
	for name, c := range map[string]struct {
		data []byte
		want record.Partial
	}{
		"a newer one":         {changed(t, `"v":1`, `"v":2,"colour":"red"`), whole},
		"an unknown state":    {changed(t, `"state":"active"`, `"state":7`), whole},
		"another type":        {[]byte(`{"v":2,"connection":{"name":"x"},"user":{"name":"u"}}`), record.Partial{Username: "u"}},
		"another type inside": {[]byte(`{"v":2,"connection":"c","user":["u"]}`), record.Partial{Connection: "c"}},
		"deny session":        {must(active.Encode())[:100], record.Partial{}},
		"nothing":             {nil, record.Partial{}},
		"an array":            {[]byte(`[1]`), record.Partial{}},
	} {
		if got := record.DecodePartial(c.data); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDueIsEncodedFirst(t *testing.T) {
	data := string(must(inState(messages.StateActive).Encode()))
	if !strings.HasPrefix(data, `{"v":1,"due":"2026-11-22T12:01:05Z","state":"active","identity":`) {
		t.Errorf("got %.100s…", data)
	}
}
