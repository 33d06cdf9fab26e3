package iamsim_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// retrying returns an SDK client with standard retries and without backoff.
func (w *world) retrying() *iam.Client {
	id, secret := w.AddPrincipal("impatient")
	cfg := w.config(id, secret, "")
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.Backoff = backoff{} })
	}
	return iam.NewFromConfig(cfg)
}

type backoff struct{}

func (backoff) BackoffDelay(int, error) (time.Duration, error) { return 0, nil }

// once sets a hook with a verdict for the first call of an action.
func (w *world) once(action string, v iamsim.Verdict) {
	var seen atomic.Bool
	w.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == action && !seen.Swap(true) {
			return v
		}
		return iamsim.Verdict{}
	})
}

// A broker must not let the SDK retry CreateAccessKey: after a lost response the SDK repeats the call, and the user has
// a key whose secret is unknown.
func TestRetryAfterALostResponseCreatesASecondKey(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	client := w.retrying()
	w.once("CreateAccessKey", iamsim.Verdict{Do: iamsim.DropAfter})
	w.ResetCalls()
	out, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: ptr("alice")})
	w.want(err, "")
	have, _ := w.User("alice")
	if len(have.AccessKeys) != 2 || have.AccessKeys[1].ID != *out.AccessKey.AccessKeyId || len(w.IssuedSecrets()) != 2 {
		t.Errorf("keys: %+v", have.AccessKeys)
	}
	if calls := w.Calls(); len(calls) != 2 || !calls[0].Dropped || iamsim.Depth(calls) != 2 {
		t.Errorf("calls: %+v", calls)
	}
}

func TestRetryAfterALostResponseFindsTheUser(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	client := w.retrying()
	w.once("CreateUser", iamsim.Verdict{Do: iamsim.DropAfter})
	_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
	w.want(err, "EntityAlreadyExists")
}

// The SDK treats an empty response 200 as success with an empty result.
func TestEmptyResponseIsNoErrorForTheSDK(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	w.once("CreateAccessKey", iamsim.Verdict{Do: iamsim.Empty})
	out, err := w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: ptr("alice")})
	w.want(err, "")
	if have, _ := w.User("alice"); out.AccessKey != nil || len(have.AccessKeys) != 1 {
		t.Errorf("response %+v, keys %+v", out.AccessKey, have.AccessKeys)
	}
}

func TestErrorsThatTheSDKRetries(t *testing.T) {
	for _, test := range []struct {
		verdict  iamsim.Verdict
		attempts int
	}{
		{iamsim.Verdict{Do: iamsim.Throttle}, 2},
		{iamsim.Verdict{Do: iamsim.DropBefore}, 2},
		{iamsim.Verdict{Do: iamsim.Fail, Status: 500, Code: "ServiceFailure"}, 2},
		{iamsim.Verdict{Do: iamsim.Fail, Status: 409, Code: "ConcurrentModification"}, 1},
		{iamsim.Verdict{Do: iamsim.Fail, Status: 409, Code: "EntityTemporarilyUnmodifiable"}, 1},
		{iamsim.Verdict{Do: iamsim.Fail, Status: 404, Code: "NoSuchEntity"}, 1},
	} {
		w := newWorld(t, iamsim.Options{})
		client := w.retrying()
		w.once("CreateUser", test.verdict)
		_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
		if n := len(w.Calls()); n != test.attempts || (err == nil) != (n == 2) {
			t.Errorf("%+v: %d attempts, %v", test.verdict, n, err)
		}
	}
}
