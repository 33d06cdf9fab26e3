package awsiam

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/awsiam/awsauth"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// sdkAttempts is the number of attempts that the SDK makes at a call that AWS did not
// answer, answered with a fault of its own, or throttled.
const sdkAttempts = 4

// retryer repeats the calls of one connection like the SDK's standard mode, and
// applies the account's call budget to every attempt. Like the standard mode it also
// bounds the retries of all calls together, so that an outage is not answered with a
// storm of retries.
type retryer struct {
	*retry.Standard
	budget      *throttle.Budget
	onCall      func(action string, r CallResult)
	credentials *awsauth.Cache // that the calls are signed with; nil if they may not expire
}

var _ aws.RetryerV2 = (*retryer)(nil)

func newRetryer(o Options) *retryer {
	return &retryer{
		budget: throttle.NewBudget(o.Rate),
		onCall: o.OnCall,
		Standard: retry.NewStandard(func(s *retry.StandardOptions) {
			s.MaxAttempts = sdkAttempts
			s.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) {
				return o.Backoff(max(try, 1)), nil
			})
		}),
	}
}

// GetAttemptToken waits until the account may be called. The SDK calls it for each
// attempt with the call's context, so that every attempt has its call's priority. The
// function that it returns reports the attempt's result.
func (r *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	limiter := r.budget.Limiter()
	if err := limiter.Wait(ctx); err != nil {
		return nil, err
	}
	release, err := r.Standard.GetAttemptToken(ctx)
	if err != nil {
		return nil, err
	}
	return func(err error) error {
		r.onCall(awsmiddleware.GetOperationName(ctx), resultOf(err))
		if c := code(err); err == nil || c != "" { // a call without an answer says nothing about the rate
			limiter.Answered(awserr.IsThrottling(c))
		}
		if r.credentials != nil && code(err) == awserr.ExpiredToken {
			r.credentials.Expired()
		}
		return release(err)
	}, nil
}

// GetRetryToken bounds the retries, except those of throttled calls: the call budget
// bounds these already, and a large number of them does not mean an outage.
func (r *retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	if awserr.IsThrottling(code(err)) {
		return func(error) error { return nil }, nil
	}
	return r.Standard.GetRetryToken(ctx, err)
}

// once limits the SDK to one attempt at a call, within the call budget.
func (r *retryer) once(o *iam.Options) { o.Retryer = retry.AddWithMaxAttempts(r, 1) }
