package awsiam

import (
	"math"
	"sync"
	"time"
)

// limiter holds the calls to an account back. It finds the rate of calls that the
// account takes: AWS publishes none, so nothing is held back until AWS first says
// Throttling. Then the rate is that at which calls get through, a little less, and
// it grows again while calls make use of it: fast up to almost the rate at which AWS
// has last throttled, slowly from there on. When AWS has not throttled for a while,
// and nothing waits any more, it is given up.
//
// Several brokers don't know of each other. They share an account because the growth
// is nearly the same for all, and the loss the larger the more one has: they end up
// alike.
type limiter struct {
	ceiling float64 // calls a second that the operator allows

	mu          sync.Mutex
	found       float64 // calls a second that AWS takes; infinite: nothing is held back
	likely      float64 // up to this rate it grows fast; infinite: nothing is known
	throttledAt time.Time
	flow        meter // of the calls that get through

	// What follows is for pace.go.
	queue  queue
	slots  float64 // calls that may go now
	filled time.Time
	timer  *time.Timer // hands out the next slot; nil before the first call waits
}

const (
	leastRate = 2    // calls a second that are always tried
	guess     = 0.75 // of the rate at which calls got through when AWS first throttled
	near      = 0.9  // of the rate at which AWS throttled: how far it grows fast
	decrease  = 0.95 // of the rate at which calls get through while AWS throttles
	// search is what a call adds to the rate while it grows fast: a second makes seven
	// times the rate of it.
	search = 2
	// growth is what a second adds to the rate later, times its root: 0.2 at a rate of
	// 5, 0.7 at 50, 3 at 1,000.
	growth = 0.1
	// telling is the rate of calls from which on it says what AWS takes.
	telling = 10
	// settle is how long after a decrease further throttling says nothing new: it
	// answers calls that were on their way already.
	settle = 250 * time.Millisecond
	// forgive is after how long without throttling nothing is held back any more.
	forgive = 30 * time.Second
)

// newLimiter returns a limiter with a ceiling; 0 is none.
func newLimiter(ceiling float64) *limiter {
	if ceiling <= 0 {
		ceiling = math.Inf(1)
	}
	return &limiter{ceiling: ceiling, found: math.Inf(1)}
}

// rate is how many calls a second may go.
func (l *limiter) rate() float64 { return min(l.found, l.ceiling) }

// answered hears of each answer.
func (l *limiter) answered(now time.Time, throttled bool) {
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

// lower finds the rate anew when AWS has throttled. What gets through is what AWS
// takes, but for a rate that has grown so fast that the flow lags behind. Where few
// calls are made they tell little, and no more than half of the rate is taken away.
func (l *limiter) lower(now time.Time) {
	l.fill(now)
	had := l.rate()
	flow := min(l.flow.rate(now), had)
	fast := l.found < l.likely
	if math.IsInf(l.likely, 1) {
		l.likely = flow // the first guess was one of what no longer gets through
	} else {
		l.likely = max(l.likely, had) * near
	}
	switch {
	case math.IsInf(l.found, 1):
		l.found, l.likely = flow*guess, math.Inf(1)
		l.flow = meter{since: now, began: now} // what got through before says nothing of what does now
	case fast && now.Sub(l.throttledAt) > 2*settle:
		l.found = had * near
	case flow < telling:
		l.found = max(flow, had/2) * decrease
	default:
		l.found = flow * decrease
	}
	l.found = max(l.found, leastRate)
	l.slots = 0
	l.throttledAt = now
}

// raise lets a call that got through raise the rate.
func (l *limiter) raise(now time.Time) {
	quiet := now.Sub(l.throttledAt)
	switch {
	case math.IsInf(l.found, 1) || quiet < settle:
		return
	case quiet > forgive && l.queue.len() == 0:
		l.found = math.Inf(1)
		return
	case quiet > forgive:
		l.likely = math.Inf(1) // and not l.found: the queue must not go all at once
	}
	if l.flow.rate(now) < l.found/4 {
		return // nothing is known of a rate that is not made use of
	}
	l.fill(now)
	if l.found < l.likely {
		l.found = min(l.found+search, l.likely)
		return
	}
	l.found += growth / math.Sqrt(l.found)
}

// measure is over how long a rate is measured.
const measure = time.Second

// meter measures a rate over the time just past.
type meter struct {
	began       time.Time // zero: long ago
	since       time.Time
	got, before int // since then, and in the time before
}

func (m *meter) count(now time.Time) {
	m.roll(now)
	m.got++
}

func (m *meter) roll(now time.Time) {
	switch age := now.Sub(m.since); {
	case age < measure:
	case age < 2*measure:
		m.since, m.got, m.before = m.since.Add(measure), 0, m.got
	default:
		m.since, m.got, m.before = now, 0, 0
	}
}

// rate is a second's.
func (m *meter) rate(now time.Time) float64 {
	m.roll(now)
	if age := now.Sub(m.began); age < measure {
		return float64(m.got) / max(age, settle).Seconds()
	}
	left := 1 - float64(now.Sub(m.since))/float64(measure)
	return (float64(m.got) + left*float64(m.before)) / measure.Seconds()
}
