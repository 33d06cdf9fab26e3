package messages_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// codes has every code, whether it is retryable, and its status. Programs switch on
// the codes, so they must not change.
var codes = map[messages.Code]struct {
	retryable bool
	status    string
}{
	"invalid_request":      {false, "400"},
	"invalid_subject":      {false, "400"},
	"invalid_reply":        {false, "400"},
	"message_too_large":    {false, "413"},
	"invalid_secret":       {false, "400"},
	"secret_not_found":     {false, "404"},
	"ttl_exceeds_max":      {false, "400"},
	"ttl_below_min":        {false, "400"},
	"sealed_required":      {false, "400"},
	"confirm_required":     {false, "400"},
	"limit_exceeded":       {true, "429"},
	"rate_exceeded":        {true, "429"},
	"deadline_exceeded":    {true, "504"},
	"idempotency_mismatch": {false, "409"},
	"already_delivered":    {false, "409"},
	"lease_not_found":      {false, "404"},
	"lease_ended":          {false, "410"},
	"username_taken":       {false, "409"},
	"provider_denied":      {false, "502"},
	"provider_rejected":    {false, "502"},
	"provider_unavailable": {true, "503"},
	"abandoned":            {true, "503"},
	"record_unreadable":    {true, "503"},
	"unavailable":          {true, "503"},
	"internal":             {true, "500"},
}

func TestCodes(t *testing.T) {
	for code, want := range codes {
		e := messages.Errorf(code, "no")
		if e.Retryable != want.retryable || e.Status() != want.status {
			t.Errorf("%s: retryable %v, status %s; want %v, %s", code, e.Retryable, e.Status(), want.retryable, want.status)
		}
	}
	if got := messages.Errorf("of_tomorrow", "no").Status(); got != "400" {
		t.Errorf("an unknown code has the status %s", got)
	}
}

func TestCauseIsNotEncoded(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.7: refused")
	e := messages.Errorf(messages.CodeUnavailable, "NATS is away").Because(cause)
	if e.Error() != "unavailable: NATS is away" {
		t.Errorf("got %q", e.Error())
	}
	if got := string(mustJSON(t, e)); got != `{"code":"unavailable","message":"NATS is away","retryable":true}` {
		t.Errorf("got %s", got)
	}
	if !errors.Is(e, cause) {
		t.Error("the cause is not in the chain")
	}
}

func TestBecauseDoesNotChangeTheError(t *testing.T) {
	e := messages.Errorf(messages.CodeInternal, "no")
	if with := e.Because(io.EOF); e.Unwrap() != nil || !errors.Is(with, io.EOF) || with.Code != e.Code || with.Message != e.Message || with.Retryable != e.Retryable {
		t.Errorf("got %+v from %+v", with, e)
	}
}

func TestAsError(t *testing.T) {
	if messages.AsError(nil) != nil {
		t.Error("AsError(nil) is not nil")
	}
	e := messages.Errorf(messages.CodeLeaseEnded, "it is over")
	if got := messages.AsError(fmt.Errorf("worker 3: %w", e)); got != e {
		t.Errorf("got %+v", got)
	}
	secret := errors.New("secret cause")
	got := messages.AsError(secret)
	if got.Code != messages.CodeInternal || !got.Retryable || !errors.Is(got, secret) || strings.Contains(got.Error(), "secret cause") {
		t.Errorf("got %+v", got)
	}
}

func TestIsCode(t *testing.T) {
	e := fmt.Errorf("worker 3: %w", messages.Errorf(messages.CodeLeaseEnded, "it is over"))
	if !messages.IsCode(e, messages.CodeLeaseEnded) {
		t.Error("IsCode does not find the code")
	}
	if messages.IsCode(e, messages.CodeInternal) || messages.IsCode(io.EOF, messages.CodeInternal) || messages.IsCode(nil, messages.CodeInternal) {
		t.Error("IsCode finds another code")
	}
}

// Arguments are not formats.
func TestErrorfFormatsItsArguments(t *testing.T) {
	if got := messages.Errorf(messages.CodeInternal, "%s of %d", "100%d", 7).Message; got != "100%d of 7" {
		t.Errorf("got %q", got)
	}
}

func TestAfterSetsRetryAfterInWholeSeconds(t *testing.T) {
	e := messages.Errorf(messages.CodeRateExceeded, "no")
	for wait, want := range map[time.Duration]string{time.Millisecond: "1s", time.Second: "1s", 1001 * time.Millisecond: "2s", 0: "1s", -time.Hour: "1s", time.Minute: "1m"} {
		if got := string(mustJSON(t, e.After(wait))); got != `{"code":"rate_exceeded","message":"no","retryable":true,"retry_after":"`+want+`"}` {
			t.Errorf("%s: %s", wait, got)
		}
	}
	if e.RetryAfter != 0 {
		t.Error("After changed the error")
	}
}
