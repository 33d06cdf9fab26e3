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
//
// For the same reason a worker has one pull at a time. Where a pull may have been
// lost (no heartbeat, a new connection) nats.go would pull once more on the same
// inbox, and where it was not lost after all the server would send a second message
// beside the one that is being handled. So the inbox is given up with the pull, and
// with it all that was ever asked on it.
type pool struct {
	verb      messages.Verb
	size      int
	heartbeat time.Duration
	ensure    func(context.Context) (jetstream.Consumer, error) // the durable consumer
	handle    func(context.Context, jetstream.Msg)
	log       zerolog.Logger
	workers   sync.WaitGroup

	mu       sync.Mutex
	draining bool
	pulls    map[jetstream.MessagesContext]bool

	mending sync.Mutex // of the worker that makes sure of the consumer
	cons    jetstream.Consumer
}

// pullExpiry is how long a pull request stands at the server, in heartbeats. After
// the loss of a node, or of the quorum, there are none, and the worker pulls anew.
const pullExpiry = 10

// start starts the workers. They handle messages under ctx until drain.
func (p *pool) start(ctx context.Context, cons jetstream.Consumer) {
	p.pulls = map[jetstream.MessagesContext]bool{}
	p.cons = cons
	for range p.size {
		p.workers.Go(func() { p.work(ctx, cons) })
	}
}

// renew has every worker pull anew that waits: on a new connection the server may
// have its pull from the old one, or not.
func (p *pool) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pull := range p.pulls {
		pull.Drain()
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
		}
		switch {
		case p.isDraining() || ctx.Err() != nil:
			return
		case errors.Is(err, jetstream.ErrMsgIteratorClosed) && !errors.Is(err, jetstream.ErrConnectionClosed):
			continue // given up for a new one
		}
		p.log.Debug().Err(err).Msg("pulling messages failed; trying again")
		if cons = p.reopen(ctx, cons, err); cons == nil {
			return
		}
	}
}

// follow handles messages until the pull ends, and says why. What has come to a pull
// that is given up is handled first.
func (p *pool) follow(ctx context.Context, pull jetstream.MessagesContext) error {
	for {
		msg, err := pull.Next()
		switch {
		case err == nil:
			p.handle(ctx, msg)
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			p.log.Debug().Msg("a pull has stalled; pulling anew")
			pull.Drain()
		default:
			return err
		}
	}
}

// reopen makes sure of the consumer after a pull has broken: it may have been
// deleted, or the stream with it. One worker does, for all. It returns nil when the
// pool drains.
func (p *pool) reopen(ctx context.Context, broken jetstream.Consumer, why error) jetstream.Consumer {
	p.mending.Lock()
	defer p.mending.Unlock()
	if p.cons != broken {
		return p.cons
	}
	p.log.Warn().Err(why).Msg("the consumer has broken; making sure of it")
	for wait, told := minReopen, false; !p.isDraining() && pause(ctx, wait) == nil; wait = min(2*wait, maxReopen) {
		fresh, err := p.ensure(ctx)
		if err == nil {
			p.cons = fresh
			p.log.Info().Msg("the consumer works again")
			return fresh
		}
		if !told {
			p.log.Warn().Err(err).Msg("the consumer is not there; trying again")
		}
		told = true
	}
	return nil
}

// Bounds of the wait before the consumer is looked for again.
const (
	minReopen = 250 * time.Millisecond
	maxReopen = 5 * time.Second
)

func (p *pool) open(cons jetstream.Consumer) (jetstream.MessagesContext, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return nil, nil
	}
	pull, err := cons.Messages(
		jetstream.PullMaxMessages(1),
		jetstream.PullExpiry(pullExpiry*p.heartbeat),
		jetstream.PullHeartbeat(p.heartbeat),
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
