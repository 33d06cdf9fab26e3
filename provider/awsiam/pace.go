package awsiam

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// errHeldBack is of a call, or of one more attempt at it, that was not sent because
// AWS would not take it in time.
var errHeldBack = errors.New("calls to the account are held back, and none is free in time")

// heldBackError is [errHeldBack] of a call of which it is known how long it would have
// waited at least.
type heldBackError struct{ wait time.Duration }

func (e *heldBackError) Error() string {
	return fmt.Sprintf("%s: it would wait %s", errHeldBack, e.wait)
}

func (e *heldBackError) Unwrap() error { return errHeldBack }

// wait returns when a call may be made. Where the context will end before, or before
// the calls that must follow, it says so at once: nobody is served by a wait for
// nothing. A call that is brief does not wait.
func (l *limiter) wait(ctx context.Context, r rank) error {
	w, err := l.enter(ctx, r, time.Now())
	if w == nil {
		return err
	}
	select {
	case <-w.turn:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		l.leave(w, time.Now())
		return fmt.Errorf("%w: %w", errHeldBack, err)
	}
	if w.follow == 0 {
		return nil
	}
	if err := l.inTime(ctx, rankFinish, w.follow, time.Now()); err != nil {
		l.leave(w, time.Now())
		return err
	}
	return nil
}

// inTime returns an error if so many calls of a rank can't be made before the
// context's deadline.
func (l *limiter) inTime(ctx context.Context, r rank, calls int, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if math.IsInf(l.rate(), 1) {
		return nil
	}
	l.fill(now)
	return l.tooLate(ctx, r, calls, now)
}

func (l *limiter) tooLate(ctx context.Context, r rank, calls int, now time.Time) error {
	end, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	if wait := l.soonest(r, calls); now.Add(wait).After(end) {
		return &heldBackError{wait: wait}
	}
	return nil
}

// enter takes a slot, or a place in the queue, which is nil for a slot.
func (l *limiter) enter(ctx context.Context, r rank, now time.Time) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if math.IsInf(l.rate(), 1) {
		return nil, nil
	}
	l.fill(now)
	follow := followOf(ctx)
	if err := l.tooLate(ctx, r, 1+follow, now); err != nil {
		return nil, err
	}
	if l.slots >= 1 && l.queue.len() == 0 {
		l.slots--
		return nil, nil
	}
	if isBrief(ctx) {
		return nil, &heldBackError{wait: l.soonest(r, 1)}
	}
	w := l.queue.push(r, follow)
	l.serve(now)
	return w, nil
}

// leave takes a call out of the queue. A slot that it has got is the next one's.
func (l *limiter) leave(w *waiter, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.queue.remove(w) {
		l.slots++
	}
	l.serve(now)
}

// backlog says whether calls wait.
func (l *limiter) backlog() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.len() > 0
}

// burst is how many calls may go together: those of one lease, where the rate is
// high enough.
func (l *limiter) burst() float64 { return max(1, math.Floor(l.rate()/10)) }

// fill adds the slots that have become free.
func (l *limiter) fill(now time.Time) {
	passed := now.Sub(l.filled)
	if rate := l.rate(); passed > 0 && !math.IsInf(rate, 1) {
		l.slots = min(l.slots+rate*passed.Seconds(), l.burst())
	}
	if passed > 0 {
		l.filled = now
	}
}

// serve hands out the slots that are free, and comes back for the next one. It is
// called whenever a slot may have become free.
func (l *limiter) serve(now time.Time) {
	if l.queue.len() == 0 {
		return
	}
	l.fill(now)
	for ; l.queue.len() > 0 && l.slots >= 1; l.slots-- {
		close(l.queue.next().turn)
	}
	if l.queue.len() == 0 {
		return
	}
	// A little late rather than too early by a rounding.
	next := time.Duration((1-l.slots)/l.rate()*float64(time.Second)) + time.Microsecond
	if l.timer == nil {
		l.timer = time.AfterFunc(next, l.tick)
		return
	}
	l.timer.Reset(next)
}

func (l *limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serve(time.Now())
}

// soonest is how long the last of some new calls of a rank waits if all goes well: if
// no other comes that goes before it, and if the rate grows fast where it can.
func (l *limiter) soonest(r rank, calls int) time.Duration {
	slots := max(0, float64(l.queue.ahead(r)+calls)-l.slots)
	seconds := slots / l.rate()
	if l.found < l.likely {
		seconds = max(math.Log1p(search*slots/l.found)/search, slots/min(l.likely, l.ceiling))
	}
	return time.Duration(seconds * float64(time.Second))
}
