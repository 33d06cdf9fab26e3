package queue

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// Commands puts messages on the verbs' streams. It is safe for concurrent use.
type Commands struct {
	js        jetstream.JetStream
	namespace messages.Namespace
	lifetime  *Lifetime
	wrote     func(stream string, err error)
	writers   map[messages.Verb]*store.GroupCommit
	locks     KeyedMutex // of subjects that take one pending message
}

// NewCommands returns the commands of an installation. wrote is told the outcome of
// each write.
func NewCommands(js jetstream.JetStream, n messages.Namespace, l *Lifetime, minBatch int, wrote func(stream string, err error)) *Commands {
	c := &Commands{js: js, namespace: n, lifetime: l, wrote: wrote, writers: map[messages.Verb]*store.GroupCommit{}}
	for _, v := range Verbs {
		c.writers[v] = store.NewGroupCommit(js, minBatch)
	}
	return c
}

// Publish puts a message on its verb's stream. If the stream has as many messages on
// that subject as it takes, the error is one for which [bucket.IsPending] is true;
// other errors have the code [messages.CodeUnavailable].
func (c *Commands) Publish(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	return c.publish(ctx, c.writers[v].Publish, msg)
}

func (c *Commands) publish(ctx context.Context, put func(context.Context, *nats.Msg) (uint64, error), msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	_, err := put(ctx, msg)
	if bucket.IsPending(err) {
		return err
	}
	c.wrote("the streams of the verbs", err)
	if err != nil {
		return messages.Errorf(messages.CodeUnavailable, "NATS has not acknowledged that it stored the message; it may have, so repeat a request with its %s",
			messages.HeaderIdempotencyKey).Because(err)
	}
	return nil
}

var errPending = messages.Errorf(messages.CodeUnavailable, "an earlier message about the lease is still being handled; try again")

// Bounds of the wait before a message about a lease is published again while an
// earlier one is pending. At one replica only one message a subject tries.
const (
	minPendingWait = 2 * time.Millisecond
	maxPendingWait = 100 * time.Millisecond
)

// PublishWhenFree puts a message about a lease on its verb's stream, and waits while
// an earlier message about that lease is pending. It returns an error of the code
// [messages.CodeUnavailable] if ctx or the lifetime ends first: the pending message may
// be for this very broker to handle.
func (c *Commands) PublishWhenFree(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.lifetime.Running(), cancel)()
	unlock, err := c.locks.Lock(waiting, msg.Subject)
	if err != nil {
		return errPending.Because(err)
	}
	defer unlock()
	put := c.writers[v].Publish
	for wait := (retry.Backoff{Min: minPendingWait, Max: maxPendingWait}); ; {
		err := c.publish(ctx, put, msg)
		if !bucket.IsPending(err) {
			return err
		}
		put = c.writers[v].PublishAlone // it may be refused often, and a batch with it
		if wait.Sleep(waiting) != nil {
			return errPending.Because(err)
		}
	}
}

// Revoke publishes a revocation by command; the note is kept with the lease. A
// message about the lease that is pending may be one that does not end it: with wait,
// Revoke waits until there is room for the command, otherwise it leaves it at that.
func (c *Commands) Revoke(ctx context.Context, name messages.LeaseName, why messages.Reason, note string, wait bool) error {
	msg := nats.NewMsg(c.namespace.Revoke(name))
	msg.Header.Set(messages.HeaderReason, string(why))
	if note != "" {
		body, err := json.Marshal(messages.RevokeRequest{Reason: note})
		if err != nil {
			return err
		}
		msg.Data = body
	}
	if wait {
		return c.PublishWhenFree(ctx, messages.VerbRevoke, msg)
	}
	if err := c.Publish(ctx, messages.VerbRevoke, msg); !bucket.IsPending(err) {
		return err
	}
	return nil
}

// Remind publishes a reminder that a lease is due. A message about the lease that is
// pending is as good.
func (c *Commands) Remind(ctx context.Context, name messages.LeaseName, due time.Time) error {
	msg := nats.NewMsg(c.namespace.Revoke(name))
	msg.Header.Set(messages.HeaderDue, due.UTC().Format(time.RFC3339))
	if err := c.Publish(ctx, messages.VerbRevoke, msg); !bucket.IsPending(err) {
		return err
	}
	return nil
}

// Pending reports whether a message on a subject waits on its verb's stream that was
// stored by a time (zero: at any time).
func (c *Commands) Pending(ctx context.Context, v messages.Verb, subject string, by time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.namespace.Stream(v))
	if err != nil {
		return false, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return by.IsZero() || !m.Time.After(by), nil
}
