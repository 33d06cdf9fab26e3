package queue

import (
	"context"
	"errors"
	"sync"
)

// KeyedMutex is a mutex for each key. The zero value is ready.
type KeyedMutex struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	token chan struct{} // holds one value while the lock is free
	users int           // that wait for the lock, or have it
}

// maxLockWaiters is how many may wait for one key.
const maxLockWaiters = 64

// ErrTooManyWaiters means that too many wait for the same key already.
var ErrTooManyWaiters = errors.New("too many operations wait for the same key")

// Lock waits for the key's lock, and returns what unlocks it. It returns ctx's error
// if ctx ends first, or [ErrTooManyWaiters].
func (m *KeyedMutex) Lock(ctx context.Context, key string) (unlock func(), err error) {
	m.mu.Lock()
	if m.locks == nil {
		m.locks = map[string]*keyedLock{}
	}
	l, ok := m.locks[key]
	if !ok {
		l = &keyedLock{token: make(chan struct{}, 1)}
		l.token <- struct{}{}
		m.locks[key] = l
	}
	if l.users > maxLockWaiters {
		m.mu.Unlock()
		return nil, ErrTooManyWaiters
	}
	l.users++
	m.mu.Unlock()
	select {
	case <-l.token:
		return func() { l.token <- struct{}{}; m.release(key, l) }, nil
	case <-ctx.Done():
		m.release(key, l)
		return nil, ctx.Err()
	}
}

func (m *KeyedMutex) release(key string, l *keyedLock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(m.locks, key)
	}
}
