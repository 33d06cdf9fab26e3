package consumer

import (
	"context"
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

// take waits for the turn at key, and returns what ends it. The error is ctx's.
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
