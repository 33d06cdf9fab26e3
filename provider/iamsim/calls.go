package iamsim

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Call is a request that arrived, successful or not.
type Call struct {
	Action      string     // such as CreateUser; "" if the request named none
	User        string     // its UserName parameter
	Params      url.Values // all parameters except web identity tokens
	AccessKeyID string     // the key id in the signature, which may be invalid; "" if unsigned
	Arrived     time.Time  // real time, with a monotonic reading
	Answered    time.Time  // likewise; zero while the call is being handled
	Code        string     // error code of the response; "" for success
	Dropped     bool       // the connection was closed without a response
}

// Calls returns all calls in order of arrival.
func (s *Sim) Calls() []Call { return s.log.snapshot() }

// ResetCalls clears the log of calls. A call that is being handled is not logged again.
func (s *Sim) ResetCalls() { s.log.reset() }

// Depth returns the number of sequential calls: the length of the longest chain in which each call arrived after the
// response to the previous one. It is the number of round trips that the caller waited for.
func Depth(calls []Call) int {
	// The longest chain of disjoint intervals always continues with the interval that ends first.
	var answered []Call
	pending := 0
	for _, c := range calls {
		if c.Answered.IsZero() {
			pending++
		} else {
			answered = append(answered, c)
		}
	}
	slices.SortFunc(answered, func(a, b Call) int { return a.Answered.Compare(b.Answered) })
	depth := 0
	var last time.Time
	for _, c := range answered {
		if depth == 0 || c.Arrived.After(last) {
			depth++
			last = c.Answered
		}
	}
	if pending == 0 {
		return depth
	}
	for _, c := range calls { // a call without a response can only be the last of a chain
		if c.Answered.IsZero() && (depth == 0 || c.Arrived.After(last)) {
			return depth + 1
		}
	}
	return depth
}

// callLog keeps calls in order of arrival.
type callLog struct {
	off   bool
	mu    sync.Mutex
	calls []*Call
}

// arrive sets the arrival time and logs the call.
func (l *callLog) arrive(c Call) *Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Arrived = time.Now()
	if !l.off {
		l.calls = append(l.calls, &c)
	}
	return &c
}

func (l *callLog) answer(c *Call, code string, dropped bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Answered, c.Code, c.Dropped = time.Now(), code, dropped
}

// copy returns a deep copy of the call in its current state.
func (l *callLog) copy(c *Call) Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.clone()
}

func (l *callLog) snapshot() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Call, len(l.calls))
	for i, c := range l.calls {
		out[i] = c.clone()
	}
	return out
}

func (l *callLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = nil
}

func (c *Call) clone() Call {
	out := *c
	out.Params = maps.Clone(c.Params)
	return out
}
