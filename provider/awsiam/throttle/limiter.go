package throttle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrNotInTime is the error of a call that did not get a slot before its context
// ended, or would not have.
var ErrNotInTime = errors.New("calls to the account are throttled, and there is no slot in time")

// WaitError is [ErrNotInTime] where the waiting time is known.
type WaitError struct {
	Wait time.Duration // the least time that the call would have waited
}

// Error returns the message of [ErrNotInTime] and the time.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%s: the call would wait %s", ErrNotInTime, e.Wait)
}

// Unwrap returns [ErrNotInTime].
func (e *WaitError) Unwrap() error { return ErrNotInTime }

// Wait returns nil when a call may be made. The context carries its [Priority].
//
// It returns a [*WaitError] at once if the call, or the calls that must follow it
// ([WithFollowing]), would not get their slots before the context's deadline, or
// if the call must not wait ([WithoutWaiting]). If the context ends while the call
// waits, it returns an error that wraps [ErrNotInTime].
func (l *Limiter) Wait(ctx context.Context) error {
	w, err := l.enter(ctx, time.Now())
	if w == nil {
		return err
	}
	select {
	case <-w.granted:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		l.leave(w, time.Now())
		return fmt.Errorf("%w: %w", ErrNotInTime, err)
	}
	if w.following == 0 {
		return nil
	}
	if err := l.checkFollowing(ctx, w.following, time.Now()); err != nil {
		l.leave(w, time.Now())
		return err
	}
	return nil
}

// Backlog reports whether calls wait.
func (l *Limiter) Backlog() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.len() > 0
}

// enter takes a slot, or adds the call to the queue. It returns nil if the call got
// a slot.
func (l *Limiter) enter(ctx context.Context, now time.Time) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlimited() {
		return nil, nil
	}
	l.fill(now)
	p, following := PriorityOf(ctx), followingOf(ctx)
	if err := l.checkDeadline(ctx, p, 1+following, now); err != nil {
		return nil, err
	}
	if l.slots >= 1 && l.queue.len() == 0 {
		l.slots--
		return nil, nil
	}
	if mustNotWait(ctx) {
		return nil, &WaitError{Wait: l.soonest(p, 1)}
	}
	w := l.queue.push(p, following)
	l.serve(now)
	return w, nil
}

// leave removes a call from the queue. If it has got a slot, the next call gets it.
func (l *Limiter) leave(w *waiter, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.queue.remove(w) {
		l.slots++
	}
	l.serve(now)
}

// checkFollowing returns an error if the calls that follow one that has got its
// slot would not get theirs before the context's deadline.
func (l *Limiter) checkFollowing(ctx context.Context, calls int, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlimited() {
		return nil
	}
	l.fill(now)
	return l.checkDeadline(ctx, Completion, calls, now)
}

func (l *Limiter) checkDeadline(ctx context.Context, p Priority, calls int, now time.Time) error {
	end, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	if wait := l.soonest(p, calls); now.Add(wait).After(end) {
		return &WaitError{Wait: wait}
	}
	return nil
}

// burst returns how many calls may be made at once: those of one lease, where the
// rate is high enough.
func (l *Limiter) burst() float64 { return max(1, math.Floor(l.rate()/10)) }

// fill adds the slots that have become free since it was last called.
func (l *Limiter) fill(now time.Time) {
	passed := now.Sub(l.filled)
	if rate := l.rate(); passed > 0 && !math.IsInf(rate, 1) {
		l.slots = min(l.slots+rate*passed.Seconds(), l.burst())
	}
	if passed > 0 {
		l.filled = now
	}
}

// serve hands out the free slots, and sets the timer for the next one. It must be
// called whenever a slot may have become free.
func (l *Limiter) serve(now time.Time) {
	if l.queue.len() == 0 {
		return
	}
	l.fill(now)
	for ; l.queue.len() > 0 && l.slots >= 1; l.slots-- {
		close(l.queue.next().granted)
	}
	if l.queue.len() == 0 {
		return
	}
	// A microsecond more, so that rounding does not make the timer fire too early.
	next := time.Duration((1-l.slots)/l.rate()*float64(time.Second)) + time.Microsecond
	if l.timer == nil {
		l.timer = time.AfterFunc(next, l.tick)
		return
	}
	l.timer.Reset(next)
}

func (l *Limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serve(time.Now())
}

// soonest returns the time that the last of some new calls waits at least: if no
// call of a higher priority comes, and if the rate rises fast where it can.
func (l *Limiter) soonest(p Priority, calls int) time.Duration {
	slots := max(0, float64(l.queue.ahead(p)+calls)-l.slots)
	seconds := slots / l.rate()
	if l.estimate < l.target {
		seconds = max(math.Log1p(fastRise*slots/l.estimate)/fastRise, slots/min(l.target, l.ceiling))
	}
	return time.Duration(seconds * float64(time.Second))
}
