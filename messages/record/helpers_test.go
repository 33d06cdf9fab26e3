package record_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// noon is the current time in tests.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	second = messages.Duration(time.Second)
	minute = 60 * second
	hour   = 60 * minute
)

var timing = record.Timing{Expiring: 5 * time.Minute}.WithDefaults()

var states = []messages.State{
	messages.StateProvisioning, messages.StateActive, messages.StateRevoking, messages.StateRevoked, messages.StateFailed,
}

// wantCode fails unless err is an [messages.Error] with the code whose message
// has each of the words.
func wantCode(t testing.TB, err error, code messages.Code, words ...string) {
	t.Helper()
	var e *messages.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want the error %s", err, err, code)
	}
	if e.Code != code {
		t.Fatalf("got code %s (%s), want %s", e.Code, e.Message, code)
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			t.Errorf("message %q lacks %q", e.Message, w)
		}
	}
}

// mustJSON returns v as JSON.
func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// must returns v and panics on an error.
func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

func plan() record.Plan {
	return record.Plan{
		Name:       messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct3kq0zs1t1d9n6wvb6q0x2m"},
		Origin:     record.Origin{Sequence: 17, Stored: noon.Add(-time.Second), Fingerprint: "8f14e45fceea167a5a36dedd4bea2543"},
		Request:    messages.LeaseRequest{Confirm: true, ReadyWithin: messages.Duration(20 * time.Second), XKey: "XABC", Labels: map[string]string{"job": "1234"}},
		Connection: "default-us-east-1",
		Region:     "us-east-1",
		User: record.User{
			Name: "lessor-alice-x1y2", Path: "/lessor/ci/", Boundary: "arn:aws:iam::123456789012:policy/boundary",
			Groups: []string{"deployers"}, ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
			InlinePolicy: []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`),
			Tags:         map[string]string{"team": "platform"}, HardExpiry: messages.HardExpiryLease,
		},
		TTL: messages.Duration(15 * time.Minute), DefaultTTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(24 * time.Hour),
	}
}

// inState returns a record in the state, made by the transitions that lead to it.
func inState(state messages.State) record.Record {
	r := record.New(plan(), noon, timing)
	switch state {
	case messages.StateActive:
		r = must(r.Activate("AKIAX", &messages.Sealed{From: "XABC", Box: []byte("box")}, noon, timing))
	case messages.StateRevoking:
		r = must(inState(messages.StateActive).End(messages.ReasonExpired, "", noon, timing))
	case messages.StateRevoked:
		r = must(inState(messages.StateRevoking).Ended(noon))
	case messages.StateFailed:
		r = must(r.Fail(messages.Errorf(messages.CodeProviderRejected, "no such policy"), true, noon, timing))
	}
	if r.State != state {
		panic(fmt.Sprintf("made %s, want %s", r.State, state))
	}
	return r
}

// settledLease returns an active lease whose delivery is settled.
func settledLease() record.Record {
	return must(inState(messages.StateActive).Confirmed(noon, timing))
}

// sessionPlan returns the plan of a role session with deny_on_revoke.
func sessionPlan() record.Plan {
	p := plan()
	p.User = record.User{
		Name: "lessor-alice-x1y2", ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		InlinePolicy: []byte(`{"Version":"2012-10-17","Statement":[]}`), Tags: map[string]string{"team": "platform"},
		Role: "arn:aws:iam::123456789012:role/leased", ExternalID: "lessor:7", DenyOnRevoke: true,
	}
	p.TTL, p.DefaultTTL, p.MaxTTL = hour, hour, 12*hour
	return p
}

// sessionIn returns the record of a role session in the state. The lease begins at noon
// and ends at 13:00.
func sessionIn(state messages.State) record.Record {
	r := record.New(sessionPlan(), noon, timing)
	switch state {
	case messages.StateActive:
		r = must(r.Activate("ASIAX", &messages.Sealed{From: "XABC", Box: []byte("box")}, noon, timing))
	case messages.StateRevoking:
		r = must(sessionIn(messages.StateActive).End(messages.ReasonRequested, "done", noon.Add(5*time.Minute), timing))
	case messages.StateRevoked:
		r = must(sessionIn(messages.StateRevoking).Ended(noon.Add(5 * time.Minute)))
	case messages.StateFailed:
		r = must(r.Fail(messages.Errorf(messages.CodeProviderRejected, "no such role"), true, noon, timing))
	}
	if r.State != state {
		panic(fmt.Sprintf("made %s, want %s", r.State, state))
	}
	return r
}

// deniedSession returns a session that was denied at 12:06.
func deniedSession() record.Record {
	return must(sessionIn(messages.StateRevoking).DenySession(noon.Add(6 * time.Minute)))
}
