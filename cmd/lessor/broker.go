package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/scheduler"
)

// stopTimeout is how long a broker that stops may take to finish what it holds:
// no longer than AWS may take for one lease.
const stopTimeout = 30 * time.Second

// broker is a consumer and a scheduler at work.
type broker struct {
	*consumer.Consumer
	schedule *scheduler.Scheduler
}

// startBroker starts a consumer and a scheduler, and waits for NATS as long as ctx
// allows. Before any request is handled, prepare puts the definitions that requests
// may name.
func startBroker(ctx context.Context, cfg consumer.Config, prepare func(context.Context, *consumer.Secrets) error) (*broker, error) {
	s, err := scheduler.New(scheduler.Config{Conn: cfg.Conn, Namespace: cfg.Namespace, Log: cfg.Log, Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	cfg.Live, cfg.Known, cfg.Rate = s.Live, s.Known, s
	c, err := consumer.New(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	if err := prepare(ctx, c.Secrets()); err != nil {
		giveUp(c)
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		giveUp(c)
		return nil, fmt.Errorf("the broker does not start: %w", err)
	}
	s.Start()
	return &broker{Consumer: c, schedule: s}, nil
}

// giveUp stops a consumer that has not got far. Why it was given up is the error to
// tell.
func giveUp(c *consumer.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = c.Stop(ctx)
}

// Stop takes no new work and finishes what is in hand.
func (b *broker) Stop(ctx context.Context) error {
	b.schedule.Stop()
	return b.Consumer.Stop(ctx)
}

// Ready returns nil if the broker can do all its work.
func (b *broker) Ready(ctx context.Context) error {
	return errors.Join(b.Healthy(ctx), b.schedule.Healthy())
}

// brokerConn are the options of a broker's connection: it never gives up (nats.go does
// where a server refuses it twice), and
// holds nothing back while it is away. What was meant for a requester then must
// not come out of a buffer later, when the record says something else.
func brokerConn(log zerolog.Logger) []nats.Option {
	level := onceInAWhile(tellEvery)
	return []nats.Option{
		nats.Name("lessor broker"),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an account or its callout may come later than the server
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			e := log.WithLevel(level(err)).Err(err)
			if s != nil {
				e = e.Str("subject", s.Subject)
			}
			e.Msg("NATS reports an error")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we have closed the connection
				log.Warn().Err(err).Msg("NATS is away")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info().Str("server", nc.ConnectedServerName()).Msg("NATS is back") }),
	}
}

// onceInAWhile returns the level at which an error is logged: one that comes again and
// again, as from a server that refuses every connection, is an error once in a while.
func onceInAWhile(every time.Duration) func(error) zerolog.Level {
	var mu sync.Mutex
	var last string
	var told time.Time
	return func(err error) zerolog.Level {
		mu.Lock()
		defer mu.Unlock()
		if err.Error() == last && time.Since(told) < every {
			return zerolog.DebugLevel
		}
		last, told = err.Error(), time.Now()
		return zerolog.ErrorLevel
	}
}
