package lease

import (
	"context"
	"errors"
	"slices"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Confirmations handles the answers of requesters to deliveries. One that is
// malformed or has no effect is acknowledged: the requester expects no answer.
type Confirmations struct {
	Settings
	leases *store.Leases
	events *events.Log
}

// Handle handles one message.
func (h *Confirmations) Handle(ctx context.Context, t *queue.Task) queue.Outcome {
	if len(t.Tokens) != 4 {
		return queue.Ack(queue.LabelNothing)
	}
	name, err := messages.NewLeaseName(t.Tokens[0], t.Tokens[1], t.Tokens[2])
	if err != nil {
		return queue.Ack(queue.LabelNothing)
	}
	t.Log = t.Log.With().Str("lease", name.String()).Logger()
	e, err := h.leases.Load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return queue.Ack(queue.LabelNothing)
	}
	if err != nil {
		return queue.Retry(err)
	}
	if !slices.Contains(h.Keys.ConfirmTokens(name.String(), e.Attempt), t.Tokens[3]) {
		t.Log.Warn().Msg("a confirmation that is not of the lease's present delivery, or whose subject was made with another key file")
		return queue.Ack(queue.LabelNothing)
	}
	return h.confirm(ctx, t.Redelivered(), e)
}

// confirm settles the delivery.
func (h *Confirmations) confirm(ctx context.Context, redelivered bool, e store.Entry) queue.Outcome {
	switch {
	case e.State != messages.StateActive:
		return queue.Ack(queue.LabelNothing) // too late
	case e.Settled() && (!e.Confirm || !redelivered):
		return queue.Ack(queue.LabelNothing) // it was not asked for, or is the second one
	case e.Settled():
		return h.emit(ctx, e, queue.LabelNothing)
	}
	next, err := e.Confirmed(h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	after, err := h.leases.Save(ctx, next, e.Revision)
	if err != nil {
		return queue.Retry(err)
	}
	return h.emit(ctx, after, queue.LabelConfirmed)
}

func (h *Confirmations) emit(ctx context.Context, e store.Entry, label string) queue.Outcome {
	if err := h.events.EmitLease(ctx, e.Record, messages.EventConfirmed); err != nil {
		return queue.Retry(err)
	}
	return queue.Ack(label)
}
