package iamsim

import (
	"context"
	"net/http"
	"time"
)

// Faults are the ways in which the account misbehaves. All are off at zero; probabilities go from 0 to 1.
type Faults struct {
	Latency time.Duration // added to each call, in real time

	VisibleAfter      time.Duration // a new access key is refused with InvalidClientTokenId until it is this old
	DeletedVisibleFor time.Duration // a key that was deleted goes on working for this long
	UserVisibleAfter  time.Duration // a new user is NoSuchEntity to all other calls until it is this old, key operations too

	// Rate and Burst are a token bucket for all calls to the account: Rate tokens a second, at most Burst of them.
	// Without a token the answer is Throttling. Rate 0 means no limit; Burst 0 means one second's worth, at least one.
	Rate, Burst float64

	ConcurrentModification float64 // probability that a call that changes a user fails with 409 instead
	InternalError          float64 // probability of 500 ServiceFailure before acting
	DropAnswer             float64 // probability that a call is carried out, and its connection then cut without an answer
	EmptyBody              float64 // probability that a call is carried out and answered by 200 without a body
}

// SetFaults replaces the faults, for calls that have not been admitted yet. The bucket starts full.
func (s *Sim) SetFaults(f Faults) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	s.bucket = newBucket(f.Rate, f.Burst, now)
}

// Action is what a hook does with a call.
type Action int

// What a hook can do with a call. Proceed, the zero value, is to handle it as if there were no hook.
const (
	Proceed    Action = iota
	Fail              // answer with the verdict's Status, Code and Message, without acting
	DropBefore        // cut the connection without acting
	DropAfter         // act, then cut the connection without an answer
	Empty             // act, then answer 200 without a body
	Throttle          // answer 400 Throttling, without acting
)

// Verdict is a hook's decision about one call.
type Verdict struct {
	Do      Action
	Status  int    // Fail only; 0 means 400
	Code    string // Fail only; "" means ServiceFailure
	Message string // Fail only
	After   func() // called once the call was carried out, before it is answered; may block; nil means nothing
}

// SetHook has f decide about each call as it arrives. f may block, and should return when ctx ends: then the client
// has gone. The call's Answered and Code are not known yet. nil removes the hook.
func (s *Sim) SetHook(f func(ctx context.Context, c Call) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// refusal is the verdict's error, or nil if the call is to be carried out.
func (v Verdict) refusal() error {
	switch v.Do {
	case Fail:
		f := &fault{status: v.Status, code: v.Code, message: v.Message}
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

// bucket is a token bucket. The zero value never runs dry.
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

// take takes one token, if there is one.
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
