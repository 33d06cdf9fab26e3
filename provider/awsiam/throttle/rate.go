package throttle

import (
	"math"
	"sync"
	"time"
)

// Limiter limits the calls to one account. [New] makes one; it is safe for
// concurrent use.
//
// The rate rises fast up to just below the rate at which the service last
// throttled, and slowly from there on. Several brokers that use the same account
// do not know of each other: their rates converge because the rise is nearly the
// same for all, and the fall is proportional.
type Limiter struct {
	ceiling float64 // calls a second that the operator allows; infinite: no limit

	mu          sync.Mutex
	estimate    float64 // calls a second that the service accepts; infinite: no limit
	target      float64 // the estimate rises fast up to this rate; infinite: nothing is known
	throttledAt time.Time
	flow        meter // of the calls that the service accepted

	// The fields below are used by limiter.go.
	queue  queue
	slots  float64 // calls that may be made now
	filled time.Time
	timer  *time.Timer // hands out the next slot; nil until a call first waits
}

const (
	minRate       = 2    // calls a second that are always allowed
	firstEstimate = 0.75 // the first estimate, as a share of the accepted calls
	targetShare   = 0.9  // the target, as a share of the rate at which the service throttled
	decrease      = 0.95 // a later estimate, as a share of the accepted calls
	// fastRise is what an accepted call adds to the estimate below the target: the
	// rate becomes about seven times as high in a second.
	fastRise = 2
	// slowRise is what a second adds to the estimate above the target, times its root:
	// 0.2 at 5 calls a second, 0.7 at 50, 3 at 1,000.
	slowRise = 0.1
	// significant is the rate of accepted calls from which on it is taken as a measure
	// of what the service accepts.
	significant = 10
	// settle is the time after a decrease in which throttled calls are ignored: they
	// were sent before it.
	settle = 250 * time.Millisecond
	// forgive is the time without throttling after which the limit is dropped.
	forgive = 30 * time.Second
)

// New returns a limiter that allows at most ceiling calls a second; 0 means no
// ceiling.
func New(ceiling float64) *Limiter {
	if ceiling <= 0 {
		ceiling = math.Inf(1)
	}
	return &Limiter{ceiling: ceiling, estimate: math.Inf(1)}
}

// rate returns the calls a second that are allowed now.
func (l *Limiter) rate() float64 { return min(l.estimate, l.ceiling) }

func (l *Limiter) unlimited() bool { return math.IsInf(l.rate(), 1) }

// Answered reports that the service has answered a call, and whether it throttled
// it. It must not be called for a call without an answer.
func (l *Limiter) Answered(throttled bool) { l.answered(time.Now(), throttled) }

func (l *Limiter) answered(now time.Time, throttled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !throttled:
		l.flow.count(now)
		l.raise(now)
	case now.Sub(l.throttledAt) >= settle:
		l.lower(now)
	}
	l.serve(now)
}

// lower estimates the rate anew after the service has throttled a call. The service
// accepts what it has just accepted, unless the rate has risen so fast that the
// measure lags behind. Few calls are a poor measure: then the rate is at most
// halved.
func (l *Limiter) lower(now time.Time) {
	l.fill(now)
	had := l.rate()
	flow := min(l.flow.rate(now), had)
	rising := l.estimate < l.target
	if math.IsInf(l.target, 1) {
		l.target = flow // at the first decrease this is replaced below
	} else {
		l.target = max(l.target, had) * targetShare
	}
	switch {
	case math.IsInf(l.estimate, 1):
		l.estimate, l.target = flow*firstEstimate, math.Inf(1)
		l.flow = meter{since: now, began: now} // calls accepted before may have been a burst
	case rising && now.Sub(l.throttledAt) > 2*settle:
		l.estimate = had * targetShare
	case flow < significant:
		l.estimate = max(flow, had/2) * decrease
	default:
		l.estimate = flow * decrease
	}
	l.estimate = max(l.estimate, minRate)
	l.slots = 0
	l.throttledAt = now
}

// raise increases the rate after the service has accepted a call.
func (l *Limiter) raise(now time.Time) {
	quiet := now.Sub(l.throttledAt)
	switch {
	case math.IsInf(l.estimate, 1) || quiet < settle:
		return
	case quiet > forgive && l.queue.len() == 0:
		l.estimate = math.Inf(1)
		return
	case quiet > forgive:
		l.target = math.Inf(1) // not the estimate: the queue must not go at once
	}
	if l.flow.rate(now) < l.estimate/4 {
		return // a rate that is not used says nothing
	}
	l.fill(now)
	if l.estimate < l.target {
		l.estimate = min(l.estimate+fastRise, l.target)
		return
	}
	l.estimate += slowRise / math.Sqrt(l.estimate)
}

// window is the time over which a rate is measured.
const window = time.Second

// meter measures the rate of events over the last window.
type meter struct {
	began    time.Time // when it was started; zero: long ago
	since    time.Time // when the current window began
	current  int       // events in the current window
	previous int       // events in the window before
}

func (m *meter) count(now time.Time) {
	m.roll(now)
	m.current++
}

func (m *meter) roll(now time.Time) {
	switch age := now.Sub(m.since); {
	case age < window:
	case age < 2*window:
		m.since, m.current, m.previous = m.since.Add(window), 0, m.current
	default:
		m.since, m.current, m.previous = now, 0, 0
	}
}

// rate returns the events a second.
func (m *meter) rate(now time.Time) float64 {
	m.roll(now)
	if age := now.Sub(m.began); age < window {
		return float64(m.current) / max(age, settle).Seconds()
	}
	left := 1 - float64(now.Sub(m.since))/float64(window)
	return (float64(m.current) + left*float64(m.previous)) / window.Seconds()
}
