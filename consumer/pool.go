package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// pool is the workers of one verb. Each pulls a message when it is free and not
// before: the time in which JetStream wants a sign of life runs from the
// moment a message leaves the server, also while it waits in a buffer here.
type pool struct {
	verb    messages.Verb
	size    int
	ensure  func(context.Context) (jetstream.Consumer, error) // the durable consumer
	handle  func(context.Context, jetstream.Msg)
	log     zerolog.Logger
	workers sync.WaitGroup

	mu       sync.Mutex
	draining bool
	pulls    map[jetstream.MessagesContext]bool
}

// pullExpiry is how long a pull request stands at the server, and pullHeartbeat
// how often the server says that it still does. Without one for twice that long
// the worker pulls anew: after the loss of a node, or of the quorum.
const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 3 * time.Second
)

// start starts the workers. They handle messages under ctx until drain.
func (p *pool) start(ctx context.Context, cons jetstream.Consumer) {
	p.pulls = map[jetstream.MessagesContext]bool{}
	for range p.size {
		p.workers.Go(func() { p.work(ctx, cons) })
	}
}

// drain lets the workers finish what they hold, and take nothing new. It does
// not wait for them.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for pull := range p.pulls {
		pull.Drain()
	}
}

func (p *pool) work(ctx context.Context, cons jetstream.Consumer) {
	for ctx.Err() == nil {
		pull, err := p.open(cons)
		if pull == nil && err == nil {
			return // draining
		}
		if err == nil {
			err = p.follow(ctx, pull)
			p.close(pull)
			if err == nil {
				return
			}
		}
		p.log.Warn().Err(err).Msg("pulling messages failed; trying again")
		if cons = p.reopen(ctx, cons); cons == nil {
			return
		}
	}
}

// follow handles messages until the pull is drained, which is no error.
func (p *pool) follow(ctx context.Context, pull jetstream.MessagesContext) error {
	for {
		msg, err := pull.Next()
		switch {
		case err == nil:
			p.handle(ctx, msg)
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // Next pulls anew
		case p.isDraining() || ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
}

// reopen makes sure of the consumer after a pull has broken: it may have been
// deleted, or the stream with it. It returns nil when the pool drains.
func (p *pool) reopen(ctx context.Context, cons jetstream.Consumer) jetstream.Consumer {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if p.isDraining() {
			return nil
		}
		fresh, err := p.ensure(ctx)
		if err == nil {
			return fresh
		}
		p.log.Warn().Err(err).Msg("the consumer is not there; trying again")
	}
}

func (p *pool) open(cons jetstream.Consumer) (jetstream.MessagesContext, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return nil, nil
	}
	pull, err := cons.Messages(
		jetstream.PullMaxMessages(1),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
	if err != nil {
		return nil, err
	}
	p.pulls[pull] = true
	return pull, nil
}

func (p *pool) close(pull jetstream.MessagesContext) {
	pull.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pulls, pull)
}

func (p *pool) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}
