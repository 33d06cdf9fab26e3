package awsiam

import (
	"sync"
	"sync/atomic"
)

// budget is what holds the calls of one connection back: a limiter of its own, until
// it is known which account the connection reaches, and then the account's.
type budget struct {
	limit   atomic.Pointer[limiter]
	ceiling float64
	number  string // of the account; "" until it is known; guarded by [budgets].mu
}

func newBudget(ceiling float64) *budget {
	b := &budget{ceiling: ceiling}
	b.limit.Store(newLimiter(ceiling))
	return b
}

// now is the limiter of the calls that are made from now on.
func (b *budget) now() *limiter { return b.limit.Load() }

// budgets are the limiters of the accounts by number: AWS counts the calls to an
// account, whatever principal makes them.
type budgets struct {
	mu      sync.Mutex
	limiter map[string]*limiter
}

// join has a connection share the limiter of its account. The first connection
// brings its own, with what it has found out. Calls that wait at another limiter
// already stay in its queue, which has no later ones.
func (s *budgets) join(b *budget, number string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.number == number {
		return
	}
	l := s.limiter[number]
	switch {
	case l != nil:
	case b.number == "":
		l = b.now()
	default: // its credentials are of another account now
		l = newLimiter(b.ceiling)
	}
	if s.limiter == nil {
		s.limiter = map[string]*limiter{}
	}
	s.limiter[number] = l
	b.limit.Store(l)
	b.number = number
}
