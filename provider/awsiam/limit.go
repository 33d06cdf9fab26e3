package awsiam

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"golang.org/x/time/rate"
)

// sdkAttempts is how often the SDK tries a call that AWS did not answer, answered
// with a fault of its own, or throttled.
const sdkAttempts = 4

// retryer repeats the calls to one account, as the SDK's standard mode does, and
// holds them back. Beside the attempts of one call it bounds the repetitions of
// all together, so that an outage is not answered with a storm.
type retryer struct {
	*retry.Standard
	limit *limiter
	cache *cache // of the credentials that the calls are signed with; nil: none
}

var _ aws.RetryerV2 = (*retryer)(nil)

func newRetryer(o Options) *retryer {
	return &retryer{
		limit: newLimiter(o.Rate),
		Standard: retry.NewStandard(func(s *retry.StandardOptions) {
			s.MaxAttempts = sdkAttempts
			s.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) {
				return o.Backoff(max(try, 1)), nil
			})
		}),
	}
}

// GetAttemptToken waits until the account may be called.
func (r *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if err := r.limit.wait(ctx); err != nil {
		return nil, fmt.Errorf("no call to AWS is free in time: %w", err)
	}
	return func(err error) error {
		if !isUnsigned(err) {
			r.limit.answered(isThrottling(code(err)))
		}
		if r.cache != nil && code(err) == expiredToken {
			r.cache.refused()
		}
		return nil
	}, nil
}

// once keeps the SDK from repeating a call, and holds it back like any other.
func (r *retryer) once(o *iam.Options) { o.Retryer = retry.AddWithMaxAttempts(r, 1) }

// limiter finds the rate of calls that an account takes. AWS publishes none, so
// nothing is held back until AWS first says Throttling. Then the rate is that at
// which calls have got through, less some, and it grows again with every call
// that does: fast up to what has proven to be too much, slowly from there on.
// When AWS has not throttled for a while it is given up.
type limiter struct {
	ceiling *rate.Limiter // what the operator allows
	found   *rate.Limiter // what AWS takes

	mu          sync.Mutex
	window      time.Time // when counting began
	got         int       // calls that got through since then
	throttledAt time.Time
	proven      float64 // the rate below which no throttling is to be expected; 0: not known
}

const (
	leastRate = 2    // calls a second that are always tried
	decrease  = 0.75 // of the rate, for each time AWS throttles
	// settle is how long after a decrease further throttling says nothing new: it
	// answers calls that were on their way already.
	settle = 500 * time.Millisecond
	// forgive is after how long without throttling nothing is held back any more.
	forgive = 30 * time.Second
	// measure is over how long the rate is measured at which calls get through.
	measure = time.Second
)

func newLimiter(ceiling float64) *limiter {
	l := &limiter{ceiling: rate.NewLimiter(rate.Inf, 0), found: rate.NewLimiter(rate.Inf, 0)}
	if ceiling > 0 {
		l.ceiling = rate.NewLimiter(rate.Limit(ceiling), burst(ceiling))
	}
	return l
}

// burst lets the calls of one lease go together where the rate is high enough.
func burst(perSecond float64) int { return max(1, int(perSecond/10)) }

func setRate(l *rate.Limiter, perSecond float64) {
	l.SetLimit(rate.Limit(perSecond))
	l.SetBurst(burst(perSecond))
}

func (l *limiter) wait(ctx context.Context) error {
	if err := l.ceiling.Wait(ctx); err != nil {
		return err
	}
	return l.found.Wait(ctx)
}

// answered hears of each answer.
func (l *limiter) answered(throttled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	limit := float64(l.found.Limit())
	unlimited := l.found.Limit() == rate.Inf
	if now.Sub(l.window) > measure {
		l.window, l.got = now, 0
	}
	switch {
	case throttled && now.Sub(l.throttledAt) < settle:
	case throttled:
		if unlimited {
			// Few calls tell little: this may be far too low, so nothing is proven.
			limit = float64(l.got) / max(now.Sub(l.window), measure/10).Seconds()
		} else {
			l.proven = limit * decrease
		}
		setRate(l.found, max(leastRate, limit*decrease))
		l.throttledAt = now
	default:
		l.got++
		if unlimited {
			return
		}
		if now.Sub(l.throttledAt) > forgive {
			l.found.SetLimit(rate.Inf)
			l.proven = 0
			return
		}
		if l.proven == 0 || limit < l.proven {
			setRate(l.found, limit+1) // twice the rate after a second
			return
		}
		// A call's share of what is added in a second: a twentieth, at least 1.
		setRate(l.found, limit+max(1, limit/20)/limit)
	}
}
