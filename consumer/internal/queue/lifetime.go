package queue

import (
	"context"
	"sync"
)

// Lifetime is how long a consumer's work may go on. It is safe for concurrent use.
type Lifetime struct {
	running context.Context
	stop    context.CancelFunc
	base    context.Context
	abort   context.CancelFunc
	work    sync.WaitGroup
}

// NewLifetime begins a lifetime.
func NewLifetime() *Lifetime {
	l := &Lifetime{}
	l.base, l.abort = context.WithCancel(context.Background())
	l.running, l.stop = context.WithCancel(l.base)
	return l
}

// Running is the context of work that a stop ends at once, such as watches and
// maintenance.
func (l *Lifetime) Running() context.Context { return l.running }

// Base is the context of work that a stop waits for. It ends when the stop waits no
// longer.
func (l *Lifetime) Base() context.Context { return l.base }

// Go runs f on a goroutine that a stop waits for.
func (l *Lifetime) Go(f func()) { l.work.Go(f) }

// Stop ends [Lifetime.Running].
func (l *Lifetime) Stop() { l.stop() }

// Wait returns when all goroutines of [Lifetime.Go] have returned.
func (l *Lifetime) Wait() { l.work.Wait() }

// Abort ends [Lifetime.Base], and with it Running.
func (l *Lifetime) Abort() { l.abort() }
