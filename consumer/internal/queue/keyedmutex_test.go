package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestKeyedMutexAdmitsOneHolderOfAKey(t *testing.T) {
	t.Parallel()
	var m KeyedMutex
	const keys, users, times = 3, 16, 200
	counts := make([]int, keys) // each is guarded by the lock of its key
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			for i := range times {
				key := (user + i) % keys
				unlock, err := m.Lock(t.Context(), fmt.Sprint(key))
				if err != nil {
					t.Error(err)
					return
				}
				counts[key]++
				unlock()
			}
		})
	}
	all.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum != users*times {
		t.Errorf("counted %d, want %d: two have had the lock at once", sum, users*times)
	}
	if len(m.locks) != 0 {
		t.Errorf("%d locks are kept that are not in use", len(m.locks))
	}
}

func TestKeyedMutexLocksKeysApart(t *testing.T) {
	t.Parallel()
	var m KeyedMutex
	for i := range 3 {
		unlock, err := m.Lock(t.Context(), fmt.Sprint(i)) // would wait for ever
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
}

func TestKeyedMutexWaitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	var m KeyedMutex
	unlock, err := m.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() { _, err := m.Lock(ctx, "a"); waited <- err }()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	unlock()
	if unlock, err = m.Lock(t.Context(), "a"); err != nil {
		t.Fatalf("after a wait that was given up: %v", err)
	}
	unlock()
}

func TestKeyedMutexLimitsTheWaitersOfAKey(t *testing.T) {
	t.Parallel()
	var m KeyedMutex
	unlock, err := m.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	const more = 10
	for range maxLockWaiters + more {
		go func() { _, err := m.Lock(ctx, "a"); results <- err }()
	}
	for range more { // the others wait
		if err := <-results; !errors.Is(err, ErrTooManyWaiters) {
			t.Errorf("one too many got %v", err)
		}
	}
	if other, err := m.Lock(t.Context(), "b"); err != nil {
		t.Errorf("another key: %v", err)
	} else {
		other()
	}
	cancel()
	for range maxLockWaiters {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("a waiter got %v", err)
		}
	}
	unlock()
}
