package awsiam

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// The number of retries is bounded after failures, until calls succeed again, but not for
// throttled calls, which the call budget bounds.
func TestRetriesAreBoundedExceptForThrottledCalls(t *testing.T) {
	r := newRetryer(New(Options{}).options)
	again := func(code string) bool {
		_, err := r.GetRetryToken(t.Context(), &smithy.GenericAPIError{Code: code})
		return err == nil
	}
	for range 1000 {
		if !again("Throttling") {
			t.Fatal("a throttled call is not repeated")
		}
	}
	n := 0
	for ; again("ServiceFailure"); n++ {
		if n > 1000 {
			t.Fatal("in an outage every call is repeated")
		}
	}
	for range 20 {
		done, err := r.GetAttemptToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := done(nil); err != nil {
			t.Fatal(err)
		}
	}
	if !again("ServiceFailure") {
		t.Error("after the outage no call is repeated")
	}
}

// A call that was not sent because it would have waited for too long is not repeated, not
// even CreateAccessKey.
func TestCallThatWasNotSentIsNotRepeated(t *testing.T) {
	t.Parallel()
	var waits atomic.Int64
	b := newFixture(t, func(o *Options) { o.Backoff = func(int) time.Duration { waits.Add(1); return 0 } })
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" {
			b.slow(standstill)
		}
		return iamsim.Verdict{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	_, err := b.account.Create(ctx, lease())
	expectError(t, err, provider.Unavailable, provider.LeftUser)
	if n := waits.Load(); n > 0 || len(b.Calls()) != 1 {
		t.Errorf("it was repeated %d times: %v", n, b.actions())
	}
}
