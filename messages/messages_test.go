package messages_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// noon is the current time in tests.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	second = messages.Duration(time.Second)
	minute = 60 * second
	hour   = 60 * minute
)

// leaseIn returns a lease in the given state.
func leaseIn(state messages.State) *messages.Lease {
	l := &messages.Lease{
		Name: "alice.ci.06ct3kq0zs1t1d9n6wvb6q0x2m", Identity: "alice", Secret: "ci", ID: "06ct3kq0zs1t1d9n6wvb6q0x2m",
		State: state, Username: "lessor-alice-x1y2", AccessKeyID: "AKIAX",
		IssuedAt: noon, ExpiresAt: noon.Add(time.Hour), MaxExpiresAt: noon.Add(24 * time.Hour),
		Renewals: 1, Labels: map[string]string{"job": "1234"},
	}
	switch state {
	case messages.StateRevoking:
		l.Reason = messages.ReasonExpired
	case messages.StateRevoked:
		l.Reason, l.EndedAt = messages.ReasonRequested, noon.Add(3*time.Hour)
	case messages.StateFailed:
		l.Reason, l.Error = messages.ReasonFailed, messages.Errorf(messages.CodeProviderRejected, "no such policy")
	}
	return l
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

// wantSafe fails unless err is nil or a short [messages.Error]: errors must not echo
// long input.
func wantSafe(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := err.(*messages.Error) // not wrapped
	if !ok {
		t.Fatalf("the error is a %T, want *messages.Error: %v", err, err)
	}
	if e.Code == "" || e.Message == "" {
		t.Errorf("an error without code or message: %+v", e)
	}
	// At most 120 runes of the input, quoted as \U0010ffff, and the text of the error.
	if len(e.Message) > 120*10+400 {
		t.Errorf("the message has %d bytes: %.100s…", len(e.Message), e.Message)
	}
	if strings.ContainsAny(e.Message, "\r\n") {
		t.Errorf("the message breaks the line: %q", e.Message)
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
