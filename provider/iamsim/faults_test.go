package iamsim_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestNewAndDeletedKeysHaveADelay(t *testing.T) {
	w := newWorld(t, iamsim.Options{Faults: iamsim.Faults{VisibleAfter: 10 * time.Second, DeletedVisibleFor: 4 * time.Second}})
	w.user("alice")
	id, secret := w.key("alice")
	w.clock.advance(10*time.Second - 1)
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
	if _, err := w.Allowed(id, "s3:GetObject", "arn:aws:s3:::b/k"); err == nil {
		t.Error("Allowed accepts a key that is not visible yet")
	}
	w.clock.advance(1)
	w.want(w.identity(id, secret, ""), "")

	_, err := w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id})
	w.want(err, "")
	_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: ptr("alice")})
	w.want(err, "")
	w.clock.advance(4*time.Second - 1)
	w.want(w.identity(id, secret, ""), "")
	w.clock.advance(1)
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
}

func TestNewUsersHaveADelay(t *testing.T) {
	w := newWorld(t, iamsim.Options{Faults: iamsim.Faults{UserVisibleAfter: time.Second}})
	w.user("alice")
	_, err := w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: ptr("alice")})
	w.want(err, "NoSuchEntity")
	_, err = w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
	w.want(err, "EntityAlreadyExists")
	if len(w.Users()) != 1 {
		t.Error("the user does not exist")
	}
	w.clock.advance(time.Second)
	w.key("alice")
}

func TestThrottlingByTokenBucket(t *testing.T) {
	w := newWorld(t, iamsim.Options{Faults: iamsim.Faults{Rate: 2, Burst: 3}})
	call := func() error { _, err := w.sts.GetCallerIdentity(ctx, nil); return err }
	for range 3 {
		w.want(call(), "")
	}
	w.wantMessage(call(), "Throttling", "Rate exceeded")
	w.clock.advance(499 * time.Millisecond)
	w.want(call(), "Throttling")
	w.clock.advance(time.Millisecond)
	w.want(call(), "")
	w.want(call(), "Throttling")
	w.clock.advance(time.Hour)
	for range 3 {
		w.want(call(), "")
	}
	w.want(call(), "Throttling")
	w.SetFaults(iamsim.Faults{})
	w.want(call(), "")
}

// Each random fault has its response, and the call is executed or not.
func TestRandomFaults(t *testing.T) {
	for name, test := range map[string]struct {
		faults   iamsim.Faults
		want     string // part of the error
		executed bool
	}{
		"conflict":       {iamsim.Faults{ConcurrentModification: 1}, "StatusCode: 409, RequestID: ", false},
		"conflict code":  {iamsim.Faults{ConcurrentModification: 1}, "ConcurrentModification: Request cannot be completed", false},
		"internal error": {iamsim.Faults{InternalError: 1}, "StatusCode: 500", false},
		"drop":           {iamsim.Faults{DropAnswer: 1}, "EOF", true},
		"empty body":     {iamsim.Faults{EmptyBody: 1}, "", true},
		"none":           {iamsim.Faults{}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, iamsim.Options{Faults: test.faults})
			out, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if test.faults.EmptyBody > 0 && out.User != nil {
				t.Errorf("the body was not empty: %v", out.User)
			}
			if _, executed := w.User("alice"); executed != test.executed {
				t.Errorf("executed: %v", executed)
			}
		})
	}
}

func TestConcurrentModificationIsForChangesOnly(t *testing.T) {
	w := newWorld(t, iamsim.Options{Faults: iamsim.Faults{ConcurrentModification: 1}})
	w.AddUser("alice", "/", nil)
	_, err := w.iam.GetUser(ctx, &iam.GetUserInput{UserName: ptr("alice")})
	w.want(err, "")
	_, err = w.iam.TagUser(ctx, &iam.TagUserInput{UserName: ptr("alice"), Tags: manyTags(0, 1)})
	w.want(err, "ConcurrentModification")
}

func TestHookVerdicts(t *testing.T) {
	for name, test := range map[string]struct {
		verdict  iamsim.Verdict
		want     string // part of the error
		executed bool
		code     string
		dropped  bool
	}{
		"proceed":     {iamsim.Verdict{}, "", true, "", false},
		"fail":        {iamsim.Verdict{Do: iamsim.Fail, Status: 418, Code: "Teapot", Message: "short and stout"}, "StatusCode: 418", false, "Teapot", false},
		"fail plain":  {iamsim.Verdict{Do: iamsim.Fail}, "StatusCode: 400", false, "ServiceFailure", false},
		"throttle":    {iamsim.Verdict{Do: iamsim.Throttle}, "Throttling", false, "Throttling", false},
		"drop before": {iamsim.Verdict{Do: iamsim.DropBefore}, "EOF", false, "", true},
		"drop after":  {iamsim.Verdict{Do: iamsim.DropAfter}, "EOF", true, "", true},
		"empty":       {iamsim.Verdict{Do: iamsim.Empty}, "", true, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, iamsim.Options{})
			var after atomic.Bool
			test.verdict.After = func() { after.Store(true) }
			w.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				if c.Action != "CreateUser" || c.User != "alice" || c.Params.Get("Path") != "/p/" || !c.Answered.IsZero() {
					t.Errorf("call: %+v", c)
				}
				return test.verdict
			})
			_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice"), Path: ptr("/p/")})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, executed := w.User("alice"); executed != test.executed || after.Load() != test.executed {
				t.Errorf("executed: %v, After called: %v", executed, after.Load())
			}
			calls := w.Calls()
			if len(calls) != 1 || calls[0].Code != test.code || calls[0].Dropped != test.dropped {
				t.Errorf("calls: %+v", calls)
			}
			w.SetHook(nil)
			w.user("bob")
		})
	}
}

// When the client closes its connection, the hook or the latency ends and the call is not executed.
func TestCanceledCallIsNotExecuted(t *testing.T) {
	t.Run("in the hook", func(t *testing.T) {
		w := newWorld(t, iamsim.Options{})
		arrived, ended := make(chan struct{}), make(chan struct{})
		w.SetHook(func(ctx context.Context, _ iamsim.Call) iamsim.Verdict {
			close(arrived)
			<-ctx.Done()
			close(ended)
			return iamsim.Verdict{Do: iamsim.DropBefore}
		})
		cancelCall(t, w, func() { <-arrived })
		<-ended
	})
	t.Run("in the latency", func(t *testing.T) {
		w := newWorld(t, iamsim.Options{Faults: iamsim.Faults{Latency: time.Hour}})
		arrived := make(chan struct{})
		w.SetHook(func(context.Context, iamsim.Call) iamsim.Verdict {
			close(arrived)
			return iamsim.Verdict{}
		})
		cancelCall(t, w, func() { <-arrived })
	})
}

func cancelCall(t *testing.T, w *world, arrived func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { arrived(); cancel() }()
	_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(w.Users()) != 0 {
		t.Error("the call was executed")
	}
}

func TestBlockedHookDoesNotBlockOtherCalls(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	blocked, release := make(chan struct{}), make(chan struct{})
	w.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.User == "slow" {
			close(blocked)
			<-release
		}
		return iamsim.Verdict{}
	})
	done := make(chan error, 1)
	go func() {
		_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("slow")})
		done <- err
	}()
	<-blocked
	w.user("quick")
	if calls := w.Calls(); len(calls) != 2 || calls[0].User != "slow" || !calls[0].Answered.IsZero() {
		t.Errorf("calls: %+v", calls)
	}
	close(release)
	w.want(<-done, "")
}

func TestHTTPStatusOfInvalidRequests(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	for body, want := range map[string]int{
		"":                                       http.StatusBadRequest,
		"Action=Nonsense&Version=2010-05-08":     http.StatusBadRequest,
		"Action=GetUser&Version=2011-06-15":      http.StatusBadRequest,
		"Action=GetUser&Version=2010-05-08":      http.StatusForbidden,
		"Action=%zz":                             http.StatusBadRequest,
		"UserName=" + strings.Repeat("x", 1<<20): http.StatusRequestEntityTooLarge,
	} {
		resp, err := http.Post(w.url, "application/x-www-form-urlencoded", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get("X-Amzn-Requestid") == "" {
			t.Errorf("%.50q: %d, want %d", body, resp.StatusCode, want)
		}
	}
}
