package iamsim

import (
	"context"
	"net/http"
	"time"
)

// Faults configures simulated faults. Zero values turn them off; probabilities are from 0 to 1.
type Faults struct {
	Latency time.Duration // added to each call, in real time

	VisibleAfter      time.Duration // how long a new access key is refused with InvalidClientTokenId
	DeletedVisibleFor time.Duration // how long a deleted key continues to work
	UserVisibleAfter  time.Duration // how long a new user is NoSuchEntity for all other calls, including those about keys

	// Rate and Burst are a token bucket for all calls to the account: Rate tokens a second, at most Burst tokens. A
	// call without a token fails with Throttling. Rate 0 means no limit; Burst 0 means Rate tokens, at least one.
	Rate, Burst float64

	ConcurrentModification float64 // probability that a call that changes a user fails with 409
	InternalError          float64 // probability of 500 ServiceFailure before the call is executed
	DropAnswer             float64 // probability that the connection is closed after the call is executed, without a response
	EmptyBody              float64 // probability of a response 200 without a body after the call is executed
}

// SetFaults replaces the faults for calls that have not been admitted yet. The token bucket starts full.
func (s *Sim) SetFaults(f Faults) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	s.bucket = newBucket(f.Rate, f.Burst, now)
}

// Action is what happens to a call by the decision of a hook.
type Action int

// The actions. Proceed, the zero value, handles the call as if there were no hook.
const (
	Proceed    Action = iota
	Fail              // respond with the verdict's Status, Code and Message; do not execute the call
	DropBefore        // close the connection; do not execute the call
	DropAfter         // execute the call, then close the connection without a response
	Empty             // execute the call, then respond 200 without a body
	Throttle          // respond 400 Throttling; do not execute the call
)

// Verdict is a hook's decision about one call.
type Verdict struct {
	Do      Action
	Status  int    // Fail only; 0 means 400
	Code    string // Fail only; "" means ServiceFailure
	Message string // Fail only
	After   func() // if not nil, called after the call is executed and before the response; may block
}

// SetHook sets a function that decides about each call when it arrives; nil removes it. f may block, and should return
// when ctx ends, because the client is gone then. Answered and Code of the call are not set.
func (s *Sim) SetHook(f func(ctx context.Context, c Call) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// refusal returns the error of the verdict, or nil if the call is to be executed.
func (v Verdict) refusal() error {
	switch v.Do {
	case Fail:
		f := &apiError{status: v.Status, code: v.Code, message: v.Message}
		if f.status == 0 {
			f.status = http.StatusBadRequest
		}
		if f.code == "" {
			f.code = "ServiceFailure"
		}
		return f
	case Throttle:
		return throttled()
	default:
		return nil
	}
}

// bucket is a token bucket. The zero value has no limit.
type bucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

func newBucket(rate, burst float64, now time.Time) bucket {
	if burst <= 0 {
		burst = max(1, rate)
	}
	return bucket{rate: rate, burst: burst, tokens: burst, at: now}
}

// take takes a token and reports whether there was one.
func (b *bucket) take(now time.Time) bool {
	if b.rate <= 0 {
		return true
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+b.rate*d.Seconds())
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
