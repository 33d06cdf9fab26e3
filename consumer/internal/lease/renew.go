package lease

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// Renewals handles messages that renew a lease.
type Renewals struct {
	Settings
	leases *store.Leases
	events *events.Log
	sync   *denySync
}

// Handle handles one message.
func (h *Renewals) Handle(ctx context.Context, t *queue.Task) queue.Outcome {
	cmd, err := h.decodeCommand(t)
	if err != nil {
		return queue.Reject(err, nil)
	}
	body, err := messages.DecodeRenewRequest(t.Data)
	if err != nil {
		return queue.Reject(err, nil)
	}
	e, err := h.leases.Load(ctx, cmd.name)
	if errors.Is(err, bucket.ErrNotFound) {
		return queue.Reject(errNoLease(cmd.name), nil)
	}
	if err != nil {
		return queue.Retry(err)
	}
	if e.RenewedWith(cmd.sequence, cmd.stored) && e.State == messages.StateActive {
		return h.answer(ctx, e) // it counted, and the answer may not have been sent
	}
	end, err := e.RenewalEnd(body, cmd.stored, h.MinTTL)
	if err != nil {
		return queue.Reject(err, e.Lease())
	}
	return h.renew(ctx, cmd, e, end)
}

// renew moves the end: first at AWS, if AWS enforces it, so that the record never
// promises more than AWS grants; then in the record.
func (h *Renewals) renew(ctx context.Context, cmd command, e store.Entry, end time.Time) queue.Outcome {
	next, err := e.Renew(end, cmd.sequence, cmd.stored, h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	if next.DenyAfter() != e.DenyAfter() {
		if err := h.sync.extend(ctx, next); err != nil {
			return h.extendFailed(e, provider.AsError(err))
		}
	}
	after, err := h.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		if err := h.sync.run(ctx, e); err != nil {
			return queue.Retry(err)
		}
	}
	if err != nil {
		return queue.Retry(err)
	}
	cmd.log.Info().Time("expires_at", after.ExpiresAt).Int("renewals", after.Renewals).Msg("renewed")
	return h.answer(ctx, after)
}

// extendFailed retries if that may help and the lease lives on meanwhile.
func (h *Renewals) extendFailed(e store.Entry, cause *provider.Error) queue.Outcome {
	if cause.Kind == provider.Unavailable && h.Now().Before(e.ExpiresAt) {
		return queue.Retry(cause)
	}
	return queue.Reject(cause.Public(), e.Lease())
}

func (h *Renewals) answer(ctx context.Context, e store.Entry) queue.Outcome {
	if err := h.events.EmitLease(ctx, e.Record, messages.EventRenewed); err != nil {
		return queue.Retry(err)
	}
	return queue.Answer(queue.LabelRenewed, messages.Reply{Kind: messages.KindRenewed, Lease: e.Lease()})
}
