package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer/internal/admin"
	"github.com/lessorhq/lessor/consumer/internal/api"
	"github.com/lessorhq/lessor/consumer/internal/health"
	"github.com/lessorhq/lessor/consumer/internal/lease"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// Secrets are the dynamic secrets of an installation.
type Secrets = secrets.Registry

// SourceFile marks definitions that come from files.
const SourceFile = secrets.SourceFile

// Consumer handles the messages of an installation. Any number of them may run.
type Consumer struct {
	cfg        Config
	js         jetstream.JetStream
	health     *health.Tracker
	lifetime   *queue.Lifetime
	components *components

	engine  *lease.Engine
	workers []*queue.Workers
	api     *api.Service
	admin   *admin.Service
}

// New makes sure of streams and buckets, and waits for as long as ctx does while NATS
// is not ready: it may be starting, too. Nothing is handled until [Consumer.Start].
func New(ctx context.Context, cfg Config) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, health: health.New(cfg.Log, time.Now), lifetime: queue.NewLifetime()}
	if c.js, err = jetstream.New(cfg.Conn); err != nil {
		return nil, err
	}
	err = c.untilReady(ctx, func(ctx context.Context) (err error) {
		c.components, err = c.open(ctx)
		return err
	})
	return c, err
}

// Start begins to handle messages, once. ctx bounds the start alone; [Consumer.Stop]
// ends the work, also after an error.
func (c *Consumer) Start(ctx context.Context) error {
	var err error
	if c.engine, err = lease.New(c.engineSettings(), c.engineParts()); err != nil {
		return err
	}
	c.startMaintenance()
	if err := c.startWorkers(ctx); err != nil {
		return err
	}
	if c.api, err = api.Open(c.apiConfig()); err != nil {
		return err
	}
	if c.admin, err = admin.Open(c.adminConfig()); err != nil {
		return err
	}
	return c.untilReady(ctx, c.flush) // from here on a request to the API is received
}

func (c *Consumer) startWorkers(ctx context.Context) error {
	for _, w := range []struct {
		verb   messages.Verb
		n      int
		handle queue.Handler
	}{
		{messages.VerbRequest, c.cfg.Workers.Request, c.engine.Requests.Handle},
		{messages.VerbRenew, c.cfg.Workers.Renew, c.engine.Renewals.Handle},
		{messages.VerbRevoke, c.cfg.Workers.Revoke, c.engine.Revocations.Handle},
		{messages.VerbConfirm, c.cfg.Workers.Confirm, c.engine.Confirmations.Handle},
	} {
		var cons jetstream.Consumer
		err := c.untilReady(ctx, func(ctx context.Context) (err error) {
			cons, err = c.components.topology.EnsureConsumer(ctx, w.verb)
			return err
		})
		if err != nil {
			return err
		}
		c.workers = append(c.workers, queue.StartWorkers(c.workersConfig(), w.verb, w.n, cons, w.handle))
	}
	c.lifetime.Go(c.repullOnReconnect)
	return nil
}

// flush returns when NATS has taken all subscriptions.
func (c *Consumer) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	err := c.cfg.Conn.FlushWithContext(ctx)
	if errors.Is(err, nats.ErrConnectionClosed) && !c.cfg.Conn.IsClosed() {
		return nats.ErrDisconnected // a flush that a lost connection cut off
	}
	return err
}

// repullOnReconnect makes the workers pull anew on every new connection.
func (c *Consumer) repullOnReconnect() {
	connected := c.cfg.Conn.StatusChanged(nats.CONNECTED)
	defer c.cfg.Conn.RemoveStatusListener(connected)
	for {
		select {
		case <-c.lifetime.Running().Done():
			return
		case _, ok := <-connected:
			if !ok {
				return // the connection is closed for good
			}
			for _, w := range c.workers {
				w.Repull()
			}
		}
	}
}

// Stop takes no new messages, waits until those in progress are handled or ctx ends,
// and then gives up what is left: another replica handles it, or this one after the
// next start. It returns ctx's error in that case.
func (c *Consumer) Stop(ctx context.Context) error {
	if c.api != nil {
		c.api.Stop()
	}
	if c.admin != nil {
		c.admin.Stop()
	}
	for _, w := range c.workers {
		w.Drain()
	}
	finished := make(chan struct{})
	go func() {
		c.wait()
		close(finished)
	}()
	c.lifetime.Stop()
	select {
	case <-finished:
		c.components.events.EmitOmitted(ctx, true)
	case <-ctx.Done():
	}
	c.lifetime.Abort()
	if c.engine != nil {
		c.engine.Close()
	}
	return ctx.Err()
}

// wait returns when nothing is in progress any more.
func (c *Consumer) wait() {
	for _, w := range c.workers {
		w.Wait()
	}
	if c.api != nil {
		c.api.Wait()
	}
	if c.admin != nil {
		c.admin.Wait()
	}
	c.lifetime.Wait()
}

// Secrets returns the dynamic secrets, for callers that put definitions.
func (c *Consumer) Secrets() *Secrets { return c.components.secrets }

// Installation returns the id that this installation writes on its users.
func (c *Consumer) Installation() string { return c.components.installation }

// Held returns why the restore guard is active; "" if it is not.
func (c *Consumer) Held(ctx context.Context) (why string, err error) {
	return c.components.guard.Why(ctx)
}

// Healthy returns nil if the consumer can do its work, or else what is wrong, in an
// operator's words.
func (c *Consumer) Healthy(ctx context.Context) error {
	switch s, last := c.cfg.Conn.Status(), c.cfg.Conn.LastError(); {
	case s != nats.CONNECTED && last != nil:
		return fmt.Errorf("NATS: %s: %w", s, last)
	case s != nats.CONNECTED:
		return fmt.Errorf("NATS: %s", s)
	}
	if err := c.health.Err(); err != nil {
		return err
	}
	if _, err := c.components.leases.Stream.Info(ctx); err != nil {
		return fmt.Errorf("lease bucket: %w", bucket.Explain(err))
	}
	return nil
}

// Bounds of the wait before a step of the start is tried again.
const (
	minStartWait = 100 * time.Millisecond
	maxStartWait = 2 * time.Second
)

// untilReady repeats a step of the start until it succeeds, fails for a reason that
// does not pass, or ctx ends.
func (c *Consumer) untilReady(ctx context.Context, step func(context.Context) error) error {
	const place = "start"
	for wait := (retry.Backoff{Min: minStartWait, Max: maxStartWait}); ; {
		err := step(ctx)
		if err == nil {
			c.health.Report(place, nil)
			return nil
		}
		if ctx.Err() != nil || !bucket.IsUnavailable(err) || bucket.ProblemOf(err) == bucket.ProblemDisabled {
			return err
		}
		c.health.Report(place, err)
		c.cfg.Waiting(bucket.Explain(err))
		if wait.Sleep(ctx) != nil {
			return err
		}
	}
}
