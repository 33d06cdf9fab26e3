package awsiam

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// sdkAttempts is how often the SDK tries a call that AWS did not answer, answered
// with a fault of its own, or throttled.
const sdkAttempts = 4

// retryer repeats the calls of one connection, as the SDK's standard mode does, and
// holds them back with all others to the account. Beside the attempts of one call
// it bounds the repetitions of all together, so that an outage is not answered with
// a storm.
type retryer struct {
	*retry.Standard
	budget *budget
	called func(action string, came Came)
	cache  *cache // of the credentials that the calls are signed with; nil: none
}

var _ aws.RetryerV2 = (*retryer)(nil)

func newRetryer(o Options) *retryer {
	return &retryer{
		budget: newBudget(o.Rate),
		called: o.Called,
		Standard: retry.NewStandard(func(s *retry.StandardOptions) {
			s.MaxAttempts = sdkAttempts
			s.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) {
				return o.Backoff(max(try, 1)), nil
			})
		}),
	}
}

// GetAttemptToken waits until the account may be called. The SDK asks for each
// attempt, with the context of the call: an attempt has its call's rank.
func (r *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	limit := r.budget.now()
	if err := limit.wait(ctx, rankOf(ctx)); err != nil {
		return nil, err
	}
	done, err := r.Standard.GetAttemptToken(ctx)
	if err != nil {
		return nil, err
	}
	return func(err error) error {
		r.called(awsmiddleware.GetOperationName(ctx), whatCame(err))
		if c := code(err); err == nil || c != "" { // what got no answer says nothing of the rate
			limit.answered(time.Now(), isThrottling(c))
		}
		if r.cache != nil && code(err) == expiredToken {
			r.cache.refused()
		}
		return done(err)
	}, nil
}

// GetRetryToken bounds the repetitions, but for those of throttled calls: they are
// held back already, and a mass of them is no sign of an outage.
func (r *retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	if isThrottling(code(err)) {
		return func(error) error { return nil }, nil
	}
	return r.Standard.GetRetryToken(ctx, err)
}

// once keeps the SDK from repeating a call, and holds it back like any other.
func (r *retryer) once(o *iam.Options) { o.Retryer = retry.AddWithMaxAttempts(r, 1) }
