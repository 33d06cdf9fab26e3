package consumer

import (
	"context"
	"errors"
	"sync"
)

// turns has those who want the same thing wait for one another. The zero value
// is ready.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line
}

// line is those who wait for one thing, and who has it.
type line struct {
	turn   chan struct{} // holds one token while nobody has it
	people int           // in line, or having it
}

// maxLine is how many may wait for one thing.
const maxLine = 64

var errLongLine = errors.New("too many want the same thing at once")

// take waits for the turn at key, and returns what ends it. The error is ctx's, or
// says that too many wait already.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	t.mu.Lock()
	if t.lines == nil {
		t.lines = map[string]*line{}
	}
	l, ok := t.lines[key]
	if !ok {
		l = &line{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		t.lines[key] = l
	}
	if l.people > maxLine {
		t.mu.Unlock()
		return nil, errLongLine
	}
	l.people++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.people--; l.people == 0 {
			delete(t.lines, key)
		}
	}
	select {
	case <-l.turn:
		return func() { l.turn <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// hall is where those are who have come in by the door. It can be shut, and then
// be waited for until it is empty. The zero value is open.
type hall struct {
	mu     sync.Mutex
	shut   bool
	inside sync.WaitGroup
}

// enter runs do on a goroutine of its own, unless the hall is shut.
func (h *hall) enter(do func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	h.inside.Go(do)
	return true
}

// empty shuts the hall and waits until nobody is inside.
func (h *hall) empty() {
	h.mu.Lock()
	h.shut = true
	h.mu.Unlock()
	h.inside.Wait()
}
