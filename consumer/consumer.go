package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// Consumer handles the messages of an installation. Any number of them may run.
type Consumer struct {
	cfg          Config
	js           jetstream.JetStream
	log          zerolog.Logger
	installation string
	leases       *leaseStore
	events       *committer
	marked       time.Time // when this broker noted last where the event stream stands; its chore's alone
	queues       map[messages.Verb]*committer
	secrets      *Secrets
	connections  *connections
	deliveries   *deliverer
	door, admin  micro.Service
	hall         hall   // those who have come in by the door
	places       places // of those who have come in by the door
	refusals     refusals
	turns        turns // of those who want something of one lease
	tidying      *tidying
	pools        []*pool
	troubles     *troubles
	reserve      *reserve

	base       context.Context // of all work; ends when a stop is out of patience
	halt       context.CancelFunc
	background sync.WaitGroup // work that goes on without a worker

	following     context.Context // of what is watched; ends when a stop begins
	stopFollowing context.CancelFunc
}

// New makes sure of streams and buckets, and waits for as long as ctx does where
// NATS is not all there yet: it may be starting, too. Nothing is handled until
// [Consumer.Start]; ctx bounds New alone.
func New(ctx context.Context, cfg Config) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, log: cfg.Log, troubles: newTroubles(cfg.Log), tidying: newTidying(cfg.Workers.Revoke)}
	if c.js, err = jetstream.New(cfg.Conn); err != nil {
		return nil, err
	}
	if err := c.insist(ctx, c.open); err != nil {
		return nil, err
	}
	c.base, c.halt = context.WithCancel(context.Background())
	c.following, c.stopFollowing = context.WithCancel(c.base)
	return c, nil
}

// open makes sure of everything that is kept.
func (c *Consumer) open(ctx context.Context) error {
	n := c.cfg.Namespace
	if err := c.mayMakeBuckets(ctx); err != nil {
		return err
	}
	if err := c.cfg.ensureStreams(ctx, c.js); err != nil {
		return err
	}
	lease, err := openBucket(ctx, c.js, n.LeaseBucket())
	if err != nil {
		return err
	}
	secret, err := openBucket(ctx, c.js, n.SecretBucket())
	if err != nil {
		return err
	}
	state, err := openBucket(ctx, c.js, n.StateBucket())
	if err != nil {
		return err
	}
	for _, b := range []*bucket{lease, secret, state} {
		b.wrote = func(err error) { c.wrote("KV_"+b.name, err) }
	}
	least := c.cfg.GroupCommit
	if least > 0 && !lease.stream.CachedInfo().Config.AllowAtomicPublish {
		c.log.Warn().Msg("the NATS server can't commit writes together, it is older than 2.12; each goes by itself")
		least = 0
	}
	lease.writes.least, c.events = least, &committer{js: c.js, least: least}
	c.queues = map[messages.Verb]*committer{}
	for _, v := range verbs {
		c.queues[v] = &committer{js: c.js, least: least}
	}
	c.reserve = newReserve(state, c.cfg.Reserve)
	c.leases = &leaseStore{bucket: lease, tombstoneAge: c.cfg.TombstoneAge, memory: newMemory(c.cfg.Current)}
	if err := checkKeys(ctx, state, c.cfg.Keys); err != nil {
		return err
	}
	if c.installation, err = installation(ctx, state, c.cfg.Rand); err != nil {
		return err
	}
	c.connections = newConnections(state, c.leases, c.cfg, c.installation)
	c.secrets = newSecrets(secret, c.connections, c.cfg)
	if err := c.connections.reseal(ctx); err != nil {
		return err
	}
	if err := c.lookForRestore(ctx, true); err != nil {
		return err
	}
	return c.mark(ctx) // before there is anything that could be removed
}

// Start begins to handle messages, once. ctx bounds the start alone;
// [Consumer.Stop] ends the work, also after an error.
func (c *Consumer) Start(ctx context.Context) error {
	var err error
	if c.deliveries, err = newDeliverer(c.cfg.Conn, c.cfg.Namespace); err != nil {
		return err
	}
	n := c.cfg.Namespace
	c.background.Go(func() { c.follow(n.SecretBucket(), c.secrets.watch, c.secrets.forgetAll) })
	c.background.Go(func() { c.follow(n.StateBucket(), c.connections.watch, func() {}) })
	c.chores()
	for _, v := range []struct {
		verb    messages.Verb
		workers int
		handle  func(context.Context, *inbound)
	}{
		{messages.VerbRequest, c.cfg.Workers.Request, c.handleRequest},
		{messages.VerbRenew, c.cfg.Workers.Renew, c.handleRenew},
		{messages.VerbRevoke, c.cfg.Workers.Revoke, c.handleRevoke},
		{messages.VerbConfirm, c.cfg.Workers.Confirm, c.handleConfirm},
	} {
		p := &pool{
			verb: v.verb, size: v.workers, heartbeat: c.cfg.PullHeartbeat, log: c.log.With().Str("verb", string(v.verb)).Logger(),
			ensure: func(ctx context.Context) (jetstream.Consumer, error) { return c.cfg.ensureConsumer(ctx, c.js, v.verb) },
			handle: func(ctx context.Context, msg jetstream.Msg) { c.handle(ctx, v.verb, v.handle, msg) },
		}
		var cons jetstream.Consumer
		err := c.insist(ctx, func(ctx context.Context) (err error) {
			cons, err = c.cfg.ensureConsumer(ctx, c.js, v.verb)
			return err
		})
		if err != nil {
			return err
		}
		p.start(c.base, cons)
		c.pools = append(c.pools, p)
	}
	c.background.Go(c.renewPulls)
	if c.door, err = c.openDoor(); err != nil {
		return err
	}
	if c.admin, err = c.openAdmin(); err != nil {
		return err
	}
	return c.insist(ctx, func(ctx context.Context) error { // whoever asks from here on is heard
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		err := c.cfg.Conn.FlushWithContext(ctx)
		if errors.Is(err, nats.ErrConnectionClosed) && !c.cfg.Conn.IsClosed() {
			return nats.ErrDisconnected // a flush that a lost connection cuts off is told so
		}
		return err
	})
}

// handle gives a message to its verb.
func (c *Consumer) handle(ctx context.Context, v messages.Verb, verb func(context.Context, *inbound), msg jetstream.Msg) {
	m, err := newInbound(msg, v, c.cfg.Namespace, c.cfg.AckWait, c.log)
	if err != nil {
		c.log.Error().Err(err).Str("subject", msg.Subject()).Msg("a message that JetStream did not deliver")
		return
	}
	m.handled = func(outcome string) { c.cfg.Meter.Handled(v, outcome, max(0, c.cfg.Now().Sub(m.stored))) }
	if m.again() {
		c.cfg.Meter.Redelivered(v)
	}
	verb(ctx, m)
}

// Stop takes no new messages, waits until those in hand are handled or ctx ends,
// and then gives up what is left: it is handled by another replica, or after the
// next start. It returns ctx's error in that case.
func (c *Consumer) Stop(ctx context.Context) error {
	for _, service := range []micro.Service{c.door, c.admin} {
		if service != nil {
			_ = service.Stop() // its subscriptions end with the connection anyway
		}
	}
	for _, p := range c.pools {
		p.drain()
	}
	finished := make(chan struct{})
	go func() {
		for _, p := range c.pools {
			p.workers.Wait()
		}
		c.hall.empty()
		c.background.Wait()
		close(finished)
	}()
	c.stopFollowing()
	select {
	case <-finished:
		c.tellOmitted(ctx, true)
	case <-ctx.Done():
	}
	c.halt()
	if c.deliveries != nil {
		c.deliveries.close()
	}
	return ctx.Err()
}

// Secrets returns the dynamic secrets, for whoever puts definitions.
func (c *Consumer) Secrets() *Secrets { return c.secrets }

// Installation returns the id that this installation writes on its users.
func (c *Consumer) Installation() string { return c.installation }

// Healthy returns nil if the consumer can do its work, or else what is wrong, in an
// operator's words.
func (c *Consumer) Healthy(ctx context.Context) error {
	if err := connected(c.cfg.Conn); err != nil {
		return err
	}
	if known := c.troubles.err(); known != nil {
		return known
	}
	if _, err := c.leases.stream.Info(ctx); err != nil {
		return fmt.Errorf("lease bucket: %w", explain(err))
	}
	return nil
}

// connected returns nil if there is a connection, or else why there is none.
func connected(nc *nats.Conn) error {
	switch s, last := nc.Status(), nc.LastError(); {
	case s == nats.CONNECTED:
		return nil
	case last != nil:
		return fmt.Errorf("NATS: %s: %w", s, last)
	default:
		return fmt.Errorf("NATS: %s", s)
	}
}

// transient says what becomes of a message that could not be served for a reason
// that will pass: it comes again.
func (c *Consumer) transient(m *inbound, err error) {
	if errors.Is(err, context.Canceled) && c.base.Err() != nil {
		m.leave() // we are being stopped; another replica has it after AckWait
		return
	}
	wait := m.retryWait(c.cfg.RetryMin, c.cfg.RetryMax)
	level := zerolog.WarnLevel
	if errors.Is(err, errNoRoom) || isUnreadable(err) {
		level = zerolog.DebugLevel // told once elsewhere; this may go on for long
	}
	m.log.WithLevel(level).Err(err).Dur("again_in", wait).Msg("can't be served now")
	m.later(wait)
}

// reply publishes an answer. Without a subject there is nobody to tell.
func (c *Consumer) reply(subject string, r messages.Reply) error {
	if subject == "" {
		return nil
	}
	msg, err := replyMsg(subject, r)
	if err != nil {
		return err
	}
	return c.cfg.Conn.PublishMsg(msg)
}

func replyMsg(subject string, r messages.Reply) (*nats.Msg, error) {
	data, err := r.Encode()
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(subject)
	msg.Data = data
	if r.Error != nil {
		msg.Header.Set(messages.HeaderError, string(r.Error.Code)+": "+r.Error.Message)
		msg.Header.Set(messages.HeaderErrorCode, r.Error.Status())
	}
	return msg, nil
}

// reject tells a requester that its message can't be served, tells the event,
// and takes the message off the queue.
func (c *Consumer) reject(ctx context.Context, m *inbound, to string, why error, lease *messages.Lease) {
	e := messages.AsError(why)
	name := safeName(m.tokens, "msg"+fmt.Sprint(m.sequence))
	m.log.Info().Err(e).AnErr("cause", e.Unwrap()).Str("subject", clip(m.Subject())).Msg("rejected")
	m.outcome = string(e.Code)
	data := messages.EventData{Lease: lease, Verb: m.verb, Error: e}
	if err := c.tellRefusal(ctx, name, m.id(), data); err != nil {
		c.transient(m, err)
		return
	}
	if err := c.reply(to, messages.ErrorReply(e, lease)); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}

// pause waits, or returns ctx's error when it ends first.
func pause(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
