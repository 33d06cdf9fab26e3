package consumer

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func (c *Consumer) handleRevoke(ctx context.Context, m *inbound) {
	o, err := c.decodeOrder(m)
	if err != nil {
		c.reject(ctx, m, o.replyTo, err, nil)
		return
	}
	reminder := m.Headers().Get(messages.HeaderDue) != ""
	q, err := messages.DecodeRevokeRequest(m.Data())
	if err != nil {
		c.reject(ctx, m, o.replyTo, err, nil)
		return
	}
	reason := messages.ReasonRequested
	switch said := messages.Reason(m.Headers().Get(messages.HeaderReason)); said {
	case messages.ReasonOperator, messages.ReasonSecretDeleted:
		reason = said
	}
	if rec, ok := c.recall(m, o.name); ok && !reminder {
		c.revoke(ctx, m, o, rec, reason, q.Reason)
		return
	}
	rec, err := c.leases.load(ctx, o.name)
	if errors.Is(err, errNotFound) {
		if reminder {
			m.done() // forgotten since
			return
		}
		c.reject(ctx, m, o.replyTo, messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", o.name), nil)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	if reminder {
		c.remind(ctx, m, rec)
		return
	}
	c.revoke(ctx, m, o, rec, reason, q.Reason)
}

// maxSkew is how far a scheduler's clock may be ahead of a worker's: a reminder
// that is early by less comes again when it is due.
const maxSkew = 5 * time.Second

// remind does what is due about a lease, if anything is.
func (c *Consumer) remind(ctx context.Context, m *inbound, rec held) {
	task := rec.Action(c.cfg.Now())
	if m.again() && rec.State == messages.StateRevoking && !rec.SessionDenied() {
		task = record.ActionTeardown // whoever began it with this message is gone
	}
	if endsLease(task) {
		back, err := c.heldBack(ctx, rec)
		if err != nil {
			c.transient(m, err)
			return
		}
		if back {
			m.log.Debug().Msg("left alone: the record comes from a backup")
			m.done() // orders must find room; there are more reminders
			return
		}
	}
	switch task {
	case record.ActionNone:
		if early := rec.Due.Sub(c.cfg.Now()); early > 0 && early <= maxSkew {
			m.later(early)
			return
		}
		if m.again() && (rec.State.Ended() || rec.SessionDenied()) {
			if err := c.tellEnded(ctx, rec); err != nil {
				c.transient(m, err)
				return
			}
		}
		m.done()
	case record.ActionAnnounce:
		c.announce(ctx, m, rec)
	case record.ActionTeardown:
		next, err := rec.RetryTeardown(c.cfg.Now(), c.cfg.Timing)
		c.endWith(ctx, m, order{name: rec.Name()}, rec, next, err)
	case record.ActionAbandon:
		why := messages.Errorf(messages.CodeAbandoned, "nobody finished making the lease")
		next, err := rec.Fail(why, false, c.cfg.Now(), c.cfg.Timing)
		c.endWith(ctx, m, order{name: rec.Name()}, rec, next, err)
	case record.ActionGiveUp:
		if c.confirmedUnread(ctx, m, rec) {
			return
		}
		c.revoke(ctx, m, order{name: rec.Name()}, rec, messages.ReasonUndelivered, "")
	case record.ActionExpire:
		if c.renewalUnread(ctx, m, rec) {
			return
		}
		c.revoke(ctx, m, order{name: rec.Name()}, rec, messages.ReasonExpired, "")
	}
}

// revoke ends a lease, for whatever reason.
func (c *Consumer) revoke(ctx context.Context, m *inbound, o order, rec held, reason messages.Reason, note string) {
	switch {
	case rec.State.Ended(), rec.SessionDenied() && rec.Action(c.cfg.Now()) == record.ActionNone:
		if m.again() {
			if err := c.tellEnded(ctx, rec); err != nil {
				c.transient(m, err)
				return
			}
		}
		c.answerEnded(m, o, rec)
	case rec.State == messages.StateRevoking:
		next, err := rec.RetryTeardown(c.cfg.Now(), c.cfg.Timing)
		c.endWith(ctx, m, o, rec, next, err)
	default:
		next, err := rec.End(reason, note, c.cfg.Now(), c.cfg.Timing)
		c.endWith(ctx, m, o, rec, next, err)
	}
}

// endWith writes the record that says that the lease ends, and ends it.
func (c *Consumer) endWith(ctx context.Context, m *inbound, o order, rec held, next record.Record, err error) {
	if err != nil {
		c.transient(m, err)
		return
	}
	if c.isTidying(rec) && c.tidying.isFull() {
		c.tidyLater(m, rec) // before it writes anything: there are many of these
		return
	}
	ending, err := c.leases.save(ctx, next, rec.revision)
	if err != nil {
		// Also where somebody else has written it: the message comes again, and
		// is decided by what the record says then.
		c.transientOrConflict(m, err)
		return
	}
	// Nobody can tell any more that the lease was begun, if that is still to be told:
	// once the end is told it would be too late.
	if err := c.tellBegun(ctx, ending); err != nil && !errors.Is(err, errConflict) {
		c.transient(m, err)
		return
	}
	if ending.Reason == messages.ReasonUndelivered && rec.State == messages.StateActive {
		c.cfg.Meter.Undelivered()
		if err := c.tell(ctx, ending.Record, messages.EventUndelivered); err != nil {
			c.transient(m, err)
			return
		}
	}
	again := m.again() || rec.State == messages.StateRevoking
	if c.isTidying(ending) {
		c.tidy(m, o, ending, again)
		return
	}
	c.undoFor(ctx, m, o, ending, again)
}

// undoFor undoes a lease for a message.
func (c *Consumer) undoFor(ctx context.Context, m *inbound, o order, ending held, again bool) {
	after, err := c.undo(ctx, m.log, ending, undoing{again: again})
	switch {
	case err != nil:
		c.transient(m, err)
	case o.replyTo != "" && after.AccessEnded() && after.TeardownError == "" && !ending.AccessEnded():
		c.tidy(m, o, after, true) // whoever asks is told when everything is gone
	default:
		if after.State.Ended() && after.Reason == messages.ReasonExpired {
			c.cfg.Meter.Expired(max(0, cmp.Or(after.KeyDeletedAt, c.cfg.Now()).Sub(after.ExpiresAt)))
		}
		c.answerEnded(m, o, after)
	}
}

// answerEnded tells whoever ordered the revocation how it went.
func (c *Consumer) answerEnded(m *inbound, o order, rec held) {
	answer := messages.Reply{Kind: messages.KindRevoked, Lease: rec.Lease()}
	m.outcome = OutcomeRevoked
	if !rec.State.Ended() && !rec.SessionDenied() {
		answer = messages.ErrorReply(messages.Errorf(messages.CodeProviderUnavailable,
			"the lease is being revoked and could not be yet; there is nothing to do, it is tried again until it is: %s",
			cmp.Or(rec.TeardownError, "AWS takes no more calls for now")), rec.Lease())
		m.outcome = string(answer.Error.Code)
	}
	if m.verb == messages.VerbRequest {
		m.outcome = OutcomeUndelivered // that is why it ends with this message
	}
	if err := c.reply(o.replyTo, answer); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}

// announce tells that a lease is about to end.
func (c *Consumer) announce(ctx context.Context, m *inbound, rec held) {
	next, err := rec.Announce(c.cfg.Timing)
	if err == nil {
		err = c.tell(ctx, next, messages.EventExpiring)
	}
	if err == nil {
		_, err = c.leases.save(ctx, next, rec.revision)
	}
	if err != nil {
		c.transientOrConflict(m, err)
		return
	}
	m.done()
}

// transientOrConflict brings a message back: soon, where somebody else was
// faster, since nothing is wrong.
func (c *Consumer) transientOrConflict(m *inbound, err error) {
	if errors.Is(err, errConflict) {
		m.later(c.cfg.RetryMin / 4)
		return
	}
	c.transient(m, err)
}
