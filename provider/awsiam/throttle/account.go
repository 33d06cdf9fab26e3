package throttle

import (
	"sync"
	"sync/atomic"
)

// Budget is the limiter of one connection: its own until the account that the
// connection reaches is known, and the account's from then on.
type Budget struct {
	limiter atomic.Pointer[Limiter]
	ceiling float64
	account string // "" until it is known; guarded by [Accounts].mu
}

// NewBudget returns a budget with a limiter of its own; see [New] for the ceiling.
func NewBudget(ceiling float64) *Budget {
	b := &Budget{ceiling: ceiling}
	b.limiter.Store(New(ceiling))
	return b
}

// Limiter returns the limiter for the next call.
func (b *Budget) Limiter() *Limiter { return b.limiter.Load() }

// Accounts holds the limiters of accounts: the service limits the calls to an
// account, whichever connection makes them. Its zero value is ready to use.
type Accounts struct {
	mu       sync.Mutex
	limiters map[string]*Limiter // by account
}

// Join makes a connection share the limiter of an account. The first connection of
// an account contributes its own limiter, with what it has measured. Calls that
// already wait at another limiter stay in its queue.
func (a *Accounts) Join(b *Budget, account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.account == account {
		return
	}
	l := a.limiters[account]
	switch {
	case l != nil:
	case b.account == "":
		l = b.Limiter()
	default: // the connection's credentials belong to another account now
		l = New(b.ceiling)
	}
	if a.limiters == nil {
		a.limiters = map[string]*Limiter{}
	}
	a.limiters[account] = l
	b.limiter.Store(l)
	b.account = account
}
