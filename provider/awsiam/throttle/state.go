package throttle

import "time"

// State is the state of a limiter at one moment.
type State struct {
	Rate        float64             // calls a second that are allowed; +Inf means no limit
	Slots       float64             // calls that may be made without waiting
	ThrottledAt time.Time           // when the service last throttled a call
	Accepted    int                 // calls that the service has accepted of late
	Waiting     [int(Other) + 1]int // waiting calls by [Priority]
}

// Backlog returns the number of waiting calls.
func (s State) Backlog() int {
	n := 0
	for _, waiting := range s.Waiting {
		n += waiting
	}
	return n
}

// State returns the limiter's state.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Rate: l.rate(), Slots: l.slots, ThrottledAt: l.throttledAt, Accepted: l.flow.current + l.flow.previous}
	for p := range s.Waiting {
		s.Waiting[p] = l.queue.waiting[p].Len()
	}
	return s
}

// SetState sets Rate, Slots and ThrottledAt, and serves the queue accordingly. It is
// for tests: a limiter finds its rate by itself.
func (l *Limiter) SetState(s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.fill(now)
	l.estimate, l.target, l.slots, l.throttledAt = s.Rate, 0, s.Slots, s.ThrottledAt
	l.serve(now)
}
