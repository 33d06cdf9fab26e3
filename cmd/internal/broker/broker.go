package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/scheduler"
)

// StopTimeout is how long a broker that stops may take to finish what it holds:
// no longer than AWS may take for one lease.
const StopTimeout = 30 * time.Second

// Broker is a consumer and a scheduler at work.
type Broker struct {
	*consumer.Consumer
	Scheduler *scheduler.Scheduler
}

// Start starts a scheduler and a consumer, and waits for NATS as long as ctx allows.
// Before any request is handled, prepare puts the definitions that requests may name.
func Start(ctx context.Context, cfg consumer.Config, prepare func(context.Context, *consumer.Secrets) error) (*Broker, error) {
	s, err := scheduler.New(scheduler.Config{Conn: cfg.Conn, Namespace: cfg.Namespace, Log: cfg.Log, Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	cfg.Index = s
	c, err := consumer.New(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	if err := prepare(ctx, c.Secrets()); err != nil {
		abandon(c)
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		abandon(c)
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	s.Start()
	return &Broker{Consumer: c, Scheduler: s}, nil
}

// abandon stops a consumer that has not got far. Why it was given up is the error to
// tell.
func abandon(c *consumer.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	_ = c.Stop(ctx)
}

// Stop takes no new work and finishes what is in hand.
func (b *Broker) Stop(ctx context.Context) error {
	b.Scheduler.Stop()
	return b.Consumer.Stop(ctx)
}

// Ready returns nil if the broker can do all its work.
func (b *Broker) Ready(ctx context.Context) error {
	return errors.Join(b.Healthy(ctx), b.Scheduler.Healthy())
}

// GroupCommit is from how many writes on they are committed together.
func GroupCommit(flushed bool) int {
	if flushed {
		return consumer.DefaultGroup
	}
	return 0
}
