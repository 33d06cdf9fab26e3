// Package broker runs a broker: a consumer and a scheduler on one NATS connection, their
// metrics and the addresses for health checks. [Serve] does everything that the serve
// command does; [Start] is for programs that connect to NATS themselves.
package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/scheduler"
)

// StopTimeout is how long a broker that stops may take to finish its tasks in progress: as
// long as AWS may take for one lease.
const StopTimeout = 30 * time.Second

// Broker is a consumer and its scheduler.
type Broker struct {
	*consumer.Consumer
	Scheduler *scheduler.Scheduler
}

// Start starts a scheduler and a consumer with these settings. It waits while NATS is not
// ready, until ctx ends. prepare is called before the first message is handled; it stores
// the definitions that requests may name.
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

// abandon stops a consumer after a failed start. The caller returns why the start failed,
// so an error of the stop is dropped.
func abandon(c *consumer.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	_ = c.Stop(ctx)
}

// Stop stops pulling messages and finishes the tasks in progress, until ctx ends.
func (b *Broker) Stop(ctx context.Context) error {
	b.Scheduler.Stop()
	return b.Consumer.Stop(ctx)
}

// Ready returns nil if the broker can do all its work, and otherwise what is wrong.
func (b *Broker) Ready(ctx context.Context) error {
	return errors.Join(b.Healthy(ctx), b.Scheduler.Healthy())
}

// GroupCommit is the consumer's setting for NATS servers that flush every write to the disk
// (flushed), and for others.
func GroupCommit(flushed bool) int {
	if flushed {
		return consumer.DefaultMinBatch
	}
	return 0
}

// CollectRarely lets the heap grow to five times its live part between two garbage
// collections, unless GOGC is set: a broker's live heap is small beside what it allocates.
func CollectRarely() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
