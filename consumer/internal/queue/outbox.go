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

// Outbox puts messages on the verbs' streams. It is safe for concurrent use.
type Outbox struct {
	js        jetstream.JetStream
	namespace messages.Namespace
	lifetime  *Lifetime
	wrote     func(place string, err error) // place is named in health reports
	writers   map[messages.Verb]*store.GroupCommit
	locks     KeyedMutex // of subjects that take one pending message
}

// NewOutbox returns the outbox of an installation. wrote is told the outcome of
// each write.
func NewOutbox(js jetstream.JetStream, n messages.Namespace, l *Lifetime, minBatch int, wrote func(place string, err error)) *Outbox {
	o := &Outbox{js: js, namespace: n, lifetime: l, wrote: wrote, writers: map[messages.Verb]*store.GroupCommit{}}
	for _, v := range Verbs {
		o.writers[v] = store.NewGroupCommit(js, minBatch)
	}
	return o
}

// Publish puts a message on its verb's stream. If the stream has as many messages on
// that subject as it takes ([MaxQueued] requests, one message of another verb), the
// error is one for which [bucket.IsSubjectFull] is true; other errors have the code
// [messages.CodeUnavailable].
func (o *Outbox) Publish(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	return o.publish(ctx, o.writers[v].Publish, msg)
}

func (o *Outbox) publish(ctx context.Context, put func(context.Context, *nats.Msg) (uint64, error), msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	_, err := put(ctx, msg)
	if bucket.IsSubjectFull(err) {
		return err
	}
	o.wrote("the streams of the verbs", err)
	if err != nil {
		return messages.Errorf(messages.CodeUnavailable, "NATS has not acknowledged that it stored the message; it may have, so repeat a request with its %s",
			messages.HeaderIdempotencyKey).Because(err)
	}
	return nil
}

var errPending = messages.Errorf(messages.CodeUnavailable, "an earlier message about the lease is still being handled; try again")

// Bounds of the wait before a message about a lease is published again while an
// earlier one is pending. For each subject one message of a replica tries at a time.
const (
	minPendingWait = 2 * time.Millisecond
	maxPendingWait = 100 * time.Millisecond
)

// PublishWhenFree puts a message about a lease on its verb's stream, which takes one
// pending message a subject, and waits while an earlier one is pending. It returns an
// error of the code [messages.CodeUnavailable] if ctx or the lifetime ends first: it may
// be this broker that has to handle the pending message.
func (o *Outbox) PublishWhenFree(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.lifetime.Running(), cancel)()
	unlock, err := o.locks.Lock(waiting, msg.Subject)
	if err != nil {
		return errPending.Because(err)
	}
	defer unlock()
	put := o.writers[v].Publish
	for wait := (retry.Backoff{Min: minPendingWait, Max: maxPendingWait}); ; {
		err := o.publish(ctx, put, msg)
		if !bucket.IsSubjectFull(err) {
			return err
		}
		put = o.writers[v].PublishAlone // it may be refused often, and a batch with it
		if wait.Sleep(waiting) != nil {
			return errPending.Because(err)
		}
	}
}

// Revoke publishes a revocation by command; the note is kept with the lease. If a
// message about the lease is pending, Revoke with wait set waits until that has been
// handled, because it may be a reminder that does not end the lease. Without wait it
// publishes nothing then and returns nil.
func (o *Outbox) Revoke(ctx context.Context, name messages.LeaseName, why messages.Reason, note string, wait bool) error {
	msg := nats.NewMsg(o.namespace.Revoke(name))
	msg.Header.Set(messages.HeaderReason, string(why))
	if note != "" {
		body, err := json.Marshal(messages.RevokeRequest{Reason: note})
		if err != nil {
			return err
		}
		msg.Data = body
	}
	if wait {
		return o.PublishWhenFree(ctx, messages.VerbRevoke, msg)
	}
	if err := o.Publish(ctx, messages.VerbRevoke, msg); !bucket.IsSubjectFull(err) {
		return err
	}
	return nil
}

// Remind publishes a reminder that a lease is due. If a message about the lease is
// pending it publishes nothing: that message makes a worker look at the record, too.
func (o *Outbox) Remind(ctx context.Context, name messages.LeaseName, due time.Time) error {
	msg := nats.NewMsg(o.namespace.Revoke(name))
	msg.Header.Set(messages.HeaderDue, due.UTC().Format(time.RFC3339))
	if err := o.Publish(ctx, messages.VerbRevoke, msg); !bucket.IsSubjectFull(err) {
		return err
	}
	return nil
}

// Pending reports whether a message on a subject waits on its verb's stream that was
// stored by a time (zero: at any time).
func (o *Outbox) Pending(ctx context.Context, v messages.Verb, subject string, by time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	stream, err := o.js.Stream(ctx, o.namespace.Stream(v))
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
