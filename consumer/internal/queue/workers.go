package queue

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Handler handles a task. Its context is [Lifetime.Base].
type Handler func(context.Context, *Task) Outcome

// Meter counts what becomes of messages. Its methods are called by many goroutines.
type Meter interface {
	// Handled counts a message that is off its stream. The outcome is a label or an
	// error's code; took is the time since the message was stored.
	Handled(verb messages.Verb, outcome string, took time.Duration)
	// Redelivered counts a message that was delivered again.
	Redelivered(verb messages.Verb)
}

// Rejecter emits the event of a rejected message.
type Rejecter interface {
	Rejected(ctx context.Context, t *Task, why *messages.Error, lease *messages.Lease) error
}

// WorkersConfig is what the workers of all verbs have in common.
type WorkersConfig struct {
	Namespace messages.Namespace
	Topology  *Topology
	Replier   Replier
	Rejecter  Rejecter
	Lifetime  *Lifetime
	Meter     Meter
	Now       func() time.Time
	Log       zerolog.Logger
	// AckWait is how long JetStream waits for a sign of progress.
	AckWait time.Duration
	// RetryMin and RetryMax bound the wait before a message is redelivered.
	RetryMin, RetryMax time.Duration
	// Heartbeat is how often NATS must say that a pull still stands.
	Heartbeat time.Duration
}

// Workers handle the messages of one verb.
type Workers struct {
	cfg    WorkersConfig
	verb   messages.Verb
	handle Handler
	log    zerolog.Logger
	pool   *pool
}

// StartWorkers starts n workers for a verb, whose durable consumer must exist.
func StartWorkers(cfg WorkersConfig, verb messages.Verb, n int, cons jetstream.Consumer, handle Handler) *Workers {
	w := &Workers{cfg: cfg, verb: verb, handle: handle, log: cfg.Log.With().Str("verb", string(verb)).Logger()}
	ensure := func(ctx context.Context) (jetstream.Consumer, error) { return cfg.Topology.EnsureConsumer(ctx, verb) }
	w.pool = startPool(cfg.Lifetime.Base(), n, cons, ensure, w.work, cfg.Heartbeat, w.log)
	return w
}

// Repull makes every waiting worker pull anew: on a new connection the server may or
// may not have its pull from the old one.
func (w *Workers) Repull() { w.pool.repull() }

// Drain lets the workers finish their tasks and take no new ones. It does not wait.
func (w *Workers) Drain() { w.pool.drain() }

// Wait returns when all workers have returned.
func (w *Workers) Wait() { w.pool.workers.Wait() }

// work handles one message: it makes the task, calls the handler and carries out the
// outcome.
func (w *Workers) work(ctx context.Context, msg jetstream.Msg) {
	t, err := w.newTask(msg)
	if err != nil {
		w.log.Error().Err(err).Str("subject", messages.Printable(msg.Subject())).Msg("a message without JetStream metadata")
		return
	}
	if t.Redelivered() {
		w.cfg.Meter.Redelivered(w.verb)
	}
	progress := keepInProgress(msg, w.cfg.AckWait/3)
	w.finish(t, msg, progress, w.handle(ctx, t))
}

// finish carries out the outcome of a task. It is the only place that acknowledges
// a message or gives it back.
func (w *Workers) finish(t *Task, msg jetstream.Msg, progress *inProgress, o Outcome) {
	o = w.reduce(t, o)
	var err error
	switch o.action {
	case detach, detachUntilStop:
		ctx := w.cfg.Lifetime.Base()
		if o.action == detachUntilStop {
			ctx = w.cfg.Lifetime.Running()
		}
		w.cfg.Lifetime.Go(func() { w.finish(t, msg, progress, o.next(ctx)) })
		return
	case ack:
		progress.stop()
		if err = msg.Ack(); err == nil {
			w.cfg.Meter.Handled(w.verb, cmp.Or(o.label, LabelNothing), max(0, w.cfg.Now().Sub(t.Stored)))
		}
	case retryIn:
		progress.stop()
		err = msg.NakWithDelay(o.wait)
	default:
		progress.stop()
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		t.Log.Warn().Err(err).Msg("the message could not be acknowledged or given back; it will be redelivered")
	}
}

// reduce publishes the reply and the event of an outcome, and reduces it to what
// remains to be done with the message: acknowledge it, give it back, leave it.
func (w *Workers) reduce(t *Task, o Outcome) Outcome {
	switch o.action {
	case ack:
		if o.reply != nil {
			if err := w.cfg.Replier.Reply(t.ReplyTo, *o.reply); err != nil {
				return w.retry(t, err)
			}
		}
	case reject:
		e := messages.AsError(o.err)
		t.Log.Info().Err(e).AnErr("cause", e.Unwrap()).Str("subject", messages.Printable(t.Subject)).Msg("rejected")
		if err := w.cfg.Rejecter.Rejected(w.cfg.Lifetime.Base(), t, e, o.lease); err != nil {
			return w.retry(t, err)
		}
		if err := w.cfg.Replier.Reply(t.ReplyTo, messages.ErrorReply(e, o.lease)); err != nil {
			return w.retry(t, err)
		}
		return Ack(string(e.Code))
	case retryLater:
		return w.retry(t, o.err)
	}
	return o
}

// retry returns the outcome for an error that may not last, and logs it.
func (w *Workers) retry(t *Task, err error) Outcome {
	if errors.Is(err, bucket.ErrConflict) {
		return RetryIn(w.cfg.RetryMin / 4) // another worker was faster, and nothing is wrong
	}
	if errors.Is(err, context.Canceled) && w.cfg.Lifetime.Running().Err() != nil {
		if w.cfg.Lifetime.Base().Err() != nil {
			return NoAck() // the broker is gone in a moment; JetStream redelivers after AckWait
		}
		return RetryIn(w.cfg.RetryMin) // for another replica
	}
	level := zerolog.WarnLevel
	if errors.Is(err, store.ErrNoRoom) || store.IsUnreadable(err) {
		level = zerolog.DebugLevel // it is logged once elsewhere, and may last
	}
	t.Log.WithLevel(level).Err(err).Dur("again_in", t.RetryWait).Msg("the message can't be handled now")
	return RetryIn(t.RetryWait)
}

// inProgress tells JetStream at intervals that a message is being handled.
type inProgress struct {
	mu      sync.Mutex
	stopped bool
	timer   *time.Timer
}

func keepInProgress(msg jetstream.Msg, every time.Duration) *inProgress {
	p := &inProgress{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(every, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.stopped {
			return
		}
		_ = msg.InProgress() // if it is lost, the message is redelivered
		p.timer.Reset(every)
	})
	return p
}

func (p *inProgress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.timer.Stop()
}
