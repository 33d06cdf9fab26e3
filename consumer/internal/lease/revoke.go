package lease

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// Revocations handles messages on the revoke subjects: commands that end a lease,
// and reminders that something about a lease is due.
type Revocations struct {
	Settings
	leases   *store.Leases
	events   *events.Log
	guard    Guard
	pending  pendingMessages
	teardown *Teardown
}

// Handle handles one message.
func (h *Revocations) Handle(ctx context.Context, t *queue.Task) queue.Outcome {
	cmd, err := h.decodeCommand(t)
	if err != nil {
		return queue.Reject(err, nil)
	}
	body, err := messages.DecodeRevokeRequest(t.Data)
	if err != nil {
		return queue.Reject(err, nil)
	}
	isReminder := t.Header.Get(messages.HeaderDue) != ""
	e, err := h.leases.Load(ctx, cmd.name)
	switch {
	case errors.Is(err, bucket.ErrNotFound) && isReminder:
		return queue.Ack(queue.LabelNothing) // its tombstone has expired
	case errors.Is(err, bucket.ErrNotFound):
		return queue.Reject(errNoLease(cmd.name), nil)
	case err != nil:
		return queue.Retry(err)
	case isReminder:
		return h.remind(ctx, cmd, e)
	}
	reason := messages.ReasonRequested
	switch said := messages.Reason(t.Header.Get(messages.HeaderReason)); said {
	case messages.ReasonOperator, messages.ReasonSecretDeleted:
		reason = said
	}
	return h.revoke(ctx, cmd, e, reason, body.Reason)
}

// revoke ends a lease.
func (h *Revocations) revoke(ctx context.Context, cmd command, e store.Entry, reason messages.Reason, note string) queue.Outcome {
	m := cmd.ending()
	switch {
	case e.State.Ended(), e.SessionDenied() && e.Action(h.Now()) == record.ActionNone: // nothing is left to do
		if cmd.redelivered { // the worker that ended it may have died before it emitted the event
			if err := h.events.EmitEnded(ctx, e.Record); err != nil {
				return queue.Retry(err)
			}
		}
		return m.outcome(e)
	case e.State == messages.StateRevoking:
		next, err := e.RetryTeardown(h.Now(), h.Timing)
		return h.teardown.begin(ctx, m, e, next, err)
	}
	next, err := e.End(reason, note, h.Now(), h.Timing)
	return h.teardown.begin(ctx, m, e, next, err)
}

// ending is what the teardown needs to know of the command.
func (c command) ending() ending {
	return ending{wantsReply: c.wantsReply, redelivered: c.redelivered, label: queue.LabelRevoked, log: c.log}
}

// remind does what is due about a lease, if anything is.
func (h *Revocations) remind(ctx context.Context, cmd command, e store.Entry) queue.Outcome {
	due := decideReminder(e.Record, h.Now(), cmd.redelivered)
	if due.action.EndsLease() {
		if blocked, err := h.guard.Blocks(ctx, e); err != nil {
			return queue.Retry(err)
		} else if blocked {
			cmd.log.Debug().Msg("blocked by the restore guard: the record comes from a backup")
			return queue.Ack(queue.LabelNothing) // room for commands on the subject; the scheduler reminds again
		}
	}
	m := cmd.ending()
	switch due.action {
	case record.ActionAnnounce:
		return h.announce(ctx, e)
	case record.ActionTeardown:
		next, err := e.RetryTeardown(h.Now(), h.Timing)
		return h.teardown.begin(ctx, m, e, next, err)
	case record.ActionAbandon:
		why := messages.Errorf(messages.CodeAbandoned, "no worker finished making the lease")
		next, err := e.Fail(why, false, h.Now(), h.Timing)
		return h.teardown.begin(ctx, m, e, next, err)
	case record.ActionGiveUp:
		return h.endUnlessPending(ctx, cmd, e, messages.ReasonUndelivered, h.pending.confirmation)
	case record.ActionExpire:
		return h.endUnlessPending(ctx, cmd, e, messages.ReasonExpired, h.pending.renewal)
	}
	if due.wait > 0 {
		return queue.RetryIn(due.wait)
	}
	if due.ensureEnded {
		if err := h.events.EmitEnded(ctx, e.Record); err != nil {
			return queue.Retry(err)
		}
	}
	return queue.Ack(queue.LabelNothing)
}

// endUnlessPending ends an active lease for a reason, unless a message that was stored in
// time and keeps the lease alive is still to be handled.
func (h *Revocations) endUnlessPending(ctx context.Context, cmd command, e store.Entry, reason messages.Reason,
	pending func(context.Context, store.Entry) (bool, error)) queue.Outcome {
	waits, err := pending(ctx, e)
	if err != nil {
		return queue.Retry(err)
	}
	if waits {
		cmd.log.Info().Str("reason", string(reason)).Msg("a message that was stored in time is handled first")
		return queue.RetryIn(h.RetryMin)
	}
	next, err := e.End(reason, "", h.Now(), h.Timing)
	return h.teardown.begin(ctx, cmd.ending(), e, next, err)
}

// announce emits the event that a lease is about to end.
func (h *Revocations) announce(ctx context.Context, e store.Entry) queue.Outcome {
	next, err := e.Announce(h.Timing)
	if err == nil {
		err = h.events.EmitLease(ctx, next, messages.EventExpiring)
	}
	if err == nil {
		_, err = h.leases.Save(ctx, next, e.Revision)
	}
	if err != nil {
		return queue.Retry(err)
	}
	return queue.Ack(queue.LabelNothing)
}
