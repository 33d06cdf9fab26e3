package record_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestIsSession(t *testing.T) {
	for _, c := range []struct {
		user record.User
		want bool
	}{
		{record.User{}, false}, {record.User{Name: "a", Path: "/lessor/", ExternalID: "7", DenyOnRevoke: true}, false},
		{record.User{Role: "arn:aws:iam::123456789012:role/leased"}, true}, {sessionPlan().User, true}, {plan().User, false},
	} {
		if got := c.user.IsSession(); got != c.want {
			t.Errorf("%+v: got %v", c.user, got)
		}
	}
}

func TestDenyAfter(t *testing.T) {
	r := settledLease()
	for hard, want := range map[messages.HardExpiry]time.Time{
		messages.HardExpiryLease:  r.ExpiresAt,
		messages.HardExpiryMaxTTL: r.MaxExpiresAt,
		messages.HardExpiryNone:   {},
		"":                        {},
	} {
		r.User.HardExpiry = hard
		if got := r.DenyAfter(); !got.Equal(want) {
			t.Errorf("%q: got %s, want %s", hard, got, want)
		}
	}
}

func TestDenyAfterMovesWithARenewalOnlyForTheLeasesEnd(t *testing.T) {
	for hard, moves := range map[messages.HardExpiry]bool{
		messages.HardExpiryLease: true, messages.HardExpiryMaxTTL: false, messages.HardExpiryNone: false,
	} {
		r := settledLease()
		r.User.HardExpiry = hard
		renewed := must(r.Renew(r.ExpiresAt.Add(time.Hour), 1, noon, timing))
		if got := !renewed.DenyAfter().Equal(r.DenyAfter()); got != moves {
			t.Errorf("%s: moved is %v", hard, got)
		}
	}
}

func TestLeaseHasNoCredentials(t *testing.T) {
	r := must(inState(messages.StateActive).Deliver(noon, timing))
	got := string(mustJSON(t, r.Lease()))
	want := `{"name":"alice.ci.06ct3kq0zs1t1d9n6wvb6q0x2m","identity":"alice","secret":"ci","id":"06ct3kq0zs1t1d9n6wvb6q0x2m",` +
		`"state":"active","username":"lessor-alice-x1y2","access_key_id":"AKIAX","issued_at":"2026-11-22T12:00:00Z",` +
		`"expires_at":"2026-11-22T12:15:00Z","max_expires_at":"2026-11-23T12:00:00Z","renewals":0,"labels":{"job":"1234"}}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestLeaseStatesReasonAndError(t *testing.T) {
	failed := inState(messages.StateFailed).Lease()
	if failed.Reason != messages.ReasonFailed || failed.Error == nil || failed.Error.Code != messages.CodeProviderRejected {
		t.Errorf("failed: %+v", failed)
	}
	stuck := must(inState(messages.StateRevoking).TeardownFailed("AWS is away", noon)).Lease()
	if stuck.Reason != messages.ReasonExpired || stuck.Error == nil || stuck.Error.Message != "AWS is away" || !stuck.Error.Retryable {
		t.Errorf("revoking: %+v", stuck)
	}
	// The cause is not a format.
	odd := must(inState(messages.StateRevoking).TeardownFailed("100%s", noon)).Lease()
	if odd.Error.Message != "100%s" {
		t.Errorf("revoking: %q", odd.Error.Message)
	}
}

func TestDeniedSessionIsShownAsRevoked(t *testing.T) {
	got := string(mustJSON(t, deniedSession().Lease()))
	want := `{"name":"alice.ci.06ct3kq0zs1t1d9n6wvb6q0x2m","identity":"alice","secret":"ci","id":"06ct3kq0zs1t1d9n6wvb6q0x2m",` +
		`"state":"revoked","username":"lessor-alice-x1y2","access_key_id":"ASIAX","issued_at":"2026-11-22T12:00:00Z",` +
		`"expires_at":"2026-11-22T13:00:00Z","max_expires_at":"2026-11-23T00:00:00Z","ended_at":"2026-11-22T12:06:00Z",` +
		`"renewals":0,"labels":{"job":"1234"},"reason":"requested"}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if s := deniedSession().State; s != messages.StateRevoking {
		t.Errorf("the record itself is %s", s)
	}
}

func TestLeaseStatesHowLongASessionWorks(t *testing.T) {
	got := string(mustJSON(t, sessionIn(messages.StateRevoked).Lease()))
	for _, want := range []string{`"state":"revoked"`, `"ended_at":"2026-11-22T12:05:00Z"`, `"valid_until":"2026-11-22T13:00:00Z"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestEventOfALeaseHasNoCredentials(t *testing.T) {
	const secretKey = "wJalrXUtnFEMI/K7MDENG"
	seed := must(nkeys.EncodeSeed(nkeys.PrefixByteCurve, make([]byte, 32)))
	sealed := must(must(messages.ParseKeyring(seed)).Seal("", messages.Contents{
		Credentials: messages.Credentials{AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(secretKey)},
	}))
	r := must(record.New(plan(), noon, timing).Activate("AKIAX", sealed, noon, timing))
	e := messages.NewEvent("5kf3", r.Name(), messages.EventIssued, "1", noon, messages.EventData{Lease: r.Lease()})
	got := string(mustJSON(t, e))
	for _, word := range []string{secretKey, base64.StdEncoding.EncodeToString([]byte(secretKey)), "sealed", "xkv1", "secret_access_key", "box"} {
		if strings.Contains(got, word) {
			t.Errorf("the event has %q: %s", word, got)
		}
	}
}
