package iamsim_test

import (
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestDepth(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	call := func(arrived, answered int) iamsim.Call {
		c := iamsim.Call{Arrived: t0.Add(time.Duration(arrived))}
		if answered > 0 {
			c.Answered = t0.Add(time.Duration(answered))
		}
		return c
	}
	for name, test := range map[string]struct {
		calls []iamsim.Call
		want  int
	}{
		"none":                  {nil, 0},
		"one":                   {[]iamsim.Call{call(1, 2)}, 1},
		"all at once":           {[]iamsim.Call{call(1, 9), call(2, 8), call(3, 7)}, 1},
		"one after another":     {[]iamsim.Call{call(1, 2), call(3, 4), call(5, 6)}, 3},
		"one, then two at once": {[]iamsim.Call{call(1, 2), call(3, 6), call(4, 5)}, 2},
		"a long one beside":     {[]iamsim.Call{call(1, 9), call(2, 3), call(4, 5)}, 2},
		"pending last":          {[]iamsim.Call{call(1, 2), call(3, 0), call(4, 0)}, 2},
		"pending first":         {[]iamsim.Call{call(1, 0), call(3, 4)}, 1},
		"only pending":          {[]iamsim.Call{call(1, 0)}, 1},
	} {
		if got := iamsim.Depth(test.calls); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// Concurrent calls must not wait for each other's latency.
func TestConcurrentCallsHaveDepthOne(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	w.SetFaults(iamsim.Faults{Latency: 200 * time.Millisecond})
	w.ResetCalls()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = w.iam.GetUser(ctx, &iam.GetUserInput{UserName: ptr("alice")}) })
	}
	wg.Wait()
	calls := w.Calls()
	if len(calls) != 4 || iamsim.Depth(calls) != 1 {
		t.Errorf("depth %d of %d calls", iamsim.Depth(calls), len(calls))
	}
	for _, c := range calls {
		if c.Answered.Sub(c.Arrived) < 200*time.Millisecond || c.AccessKeyID == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestNoCallLogKeepsNoCalls(t *testing.T) {
	w := newWorld(t, iamsim.Options{NoCallLog: true})
	w.user("alice")
	if calls := w.Calls(); len(calls) != 0 {
		t.Errorf("%+v", calls)
	}
}

// Without UserName the call is about its caller.
func TestUserNameDefaultsToTheCaller(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	out, err := w.iam.GetUser(ctx, &iam.GetUserInput{})
	w.want(err, "")
	if *out.User.UserName != "broker" || len(w.Users()) != 0 {
		t.Errorf("%s, users %v", *out.User.UserName, w.Users())
	}
}
