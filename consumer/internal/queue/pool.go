package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages/retry"
)

// pool is the workers of one verb and their pull requests. Each worker runs run, which
// follows one pull after the other and gives each message to onMessage. A worker pulls one message when
// it is free and not before: AckWait runs from the moment a message leaves the
// server, also while it waits in a client's buffer.
//
// For the same reason a worker has one pull at a time. If a pull may be lost (no
// heartbeat, a new connection), the worker drops it together with its inbox, and pulls
// anew on another inbox. A second pull on the same inbox, which is what nats.go does,
// could bring a second message beside the one that is being handled.
type pool struct {
	heartbeat time.Duration
	ensure    func(context.Context) (jetstream.Consumer, error) // the durable consumer
	onMessage func(context.Context, jetstream.Msg)
	log       zerolog.Logger
	workers   sync.WaitGroup

	mu       sync.Mutex
	draining bool
	open     map[jetstream.MessagesContext]bool

	reopening sync.Mutex // of the worker that makes sure of the consumer
	cons      jetstream.Consumer
}

// pullExpiry is how long a pull request stands at the server, in heartbeats. Without
// heartbeats (a lost node, no quorum) the worker pulls anew.
const pullExpiry = 10

// Bounds of the wait before the consumer is looked for again.
const (
	minReopen = 250 * time.Millisecond
	maxReopen = 5 * time.Second
)

// startPool starts n workers. They handle messages under ctx until drain.
func startPool(ctx context.Context, n int, cons jetstream.Consumer, ensure func(context.Context) (jetstream.Consumer, error),
	onMessage func(context.Context, jetstream.Msg), heartbeat time.Duration, log zerolog.Logger) *pool {
	p := &pool{heartbeat: heartbeat, ensure: ensure, onMessage: onMessage, log: log, open: map[jetstream.MessagesContext]bool{}, cons: cons}
	for range n {
		p.workers.Go(func() { p.run(ctx, cons) })
	}
	return p
}

// repull gives up every waiting pull for a new one.
func (p *pool) repull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pull := range p.open {
		pull.Drain()
	}
}

// drain lets the workers finish what they have, and take nothing new.
func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for pull := range p.open {
		pull.Drain()
	}
}

// run is one worker.
func (p *pool) run(ctx context.Context, cons jetstream.Consumer) {
	for ctx.Err() == nil {
		pull, err := p.begin(cons)
		if pull == nil && err == nil {
			return // draining
		}
		if err == nil {
			err = p.follow(ctx, pull)
			p.end(pull)
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

// follow handles messages until the pull ends, and returns why. Messages that have
// come to a pull that is given up are handled first.
func (p *pool) follow(ctx context.Context, pull jetstream.MessagesContext) error {
	for {
		msg, err := pull.Next()
		switch {
		case err == nil:
			p.onMessage(ctx, msg)
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			p.log.Debug().Msg("a pull has no heartbeats; pulling anew")
			pull.Drain()
		default:
			return err
		}
	}
}

// reopen makes sure of the consumer after a pull has failed: it may have been
// deleted, or the stream with it. One worker does so for all. It returns nil when the
// workers drain.
func (p *pool) reopen(ctx context.Context, broken jetstream.Consumer, why error) jetstream.Consumer {
	p.reopening.Lock()
	defer p.reopening.Unlock()
	if p.cons != broken {
		return p.cons
	}
	p.log.Warn().Err(why).Msg("pulling from the consumer failed; making sure of it")
	wait := retry.Backoff{Min: minReopen, Max: maxReopen}
	for logged := false; !p.isDraining() && wait.Sleep(ctx) == nil; {
		fresh, err := p.ensure(ctx)
		if err == nil {
			p.cons = fresh
			p.log.Info().Msg("the consumer works again")
			return fresh
		}
		if !logged {
			p.log.Warn().Err(err).Msg("the consumer is not there; trying again")
		}
		logged = true
	}
	return nil
}

func (p *pool) begin(cons jetstream.Consumer) (jetstream.MessagesContext, error) {
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
	p.open[pull] = true
	return pull, nil
}

func (p *pool) end(pull jetstream.MessagesContext) {
	pull.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, pull)
}

func (p *pool) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}
