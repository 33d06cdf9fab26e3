package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// handleConfirm settles the delivery that a requester says it has. A
// confirmation that means nothing (any more) is no error: nobody waits for an
// answer to an answer.
func (c *Consumer) handleConfirm(ctx context.Context, m *inbound) {
	if len(m.tokens) != 4 {
		m.done()
		return
	}
	name, err := messages.NewLeaseName(m.tokens[0], m.tokens[1], m.tokens[2])
	if err != nil {
		m.done()
		return
	}
	m.log = m.log.With().Str("lease", name.String()).Logger()
	rec, err := c.leases.load(ctx, name)
	if errors.Is(err, errNotFound) {
		m.done()
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	if !slices.Contains(c.cfg.Keys.ConfirmTokens(name.String(), rec.Attempt), m.tokens[3]) {
		m.log.Warn().Msg("a confirmation that does not belong to the lease's delivery")
		m.done()
		return
	}
	c.confirm(ctx, m, rec)
}

func (c *Consumer) confirm(ctx context.Context, m *inbound, rec held) {
	if rec.State != messages.StateActive {
		m.done() // too late
		return
	}
	if !rec.Settled() {
		next, err := rec.Confirmed(c.cfg.Now(), c.cfg.Timing)
		if err != nil {
			c.transient(m, err)
			return
		}
		if rec, err = c.leases.save(ctx, next, rec.revision); err != nil {
			c.transientOrConflict(m, err)
			return
		}
		m.log.Info().Msg("confirmed")
	} else if !m.again() {
		m.done() // a second confirmation, or one that nobody asked for
		return
	}
	if err := c.tell(ctx, rec.Record, messages.EventConfirmed); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}

// confirmedUnread looks whether a confirmation of the lease waits on its stream:
// it was stored in time, and the broker was down or behind. If so the reminder
// comes again, when the confirmation has been handled.
func (c *Consumer) confirmedUnread(ctx context.Context, m *inbound, rec held) bool {
	for _, token := range c.cfg.Keys.ConfirmTokens(rec.Name().String(), rec.Attempt) {
		if c.unread(ctx, m, messages.VerbConfirm, c.cfg.Namespace.Confirm(rec.Name(), token), time.Time{}) {
			return true
		}
	}
	return false
}

// renewalUnread looks whether a renewal of the lease, stored before the lease's
// end, waits on its stream.
func (c *Consumer) renewalUnread(ctx context.Context, m *inbound, rec held) bool {
	return c.unread(ctx, m, messages.VerbRenew, c.cfg.Namespace.Renew(rec.Name()), rec.ExpiresAt)
}

// unread looks for a message on a work queue, stored by a time (zero: whenever),
// and brings m back later if there is one, or if that can't be told.
func (c *Consumer) unread(ctx context.Context, m *inbound, v messages.Verb, subject string, by time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Namespace.Stream(v))
	if err != nil {
		c.transient(m, err)
		return true
	}
	waiting, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false
	case err != nil:
		c.transient(m, err)
		return true
	case !by.IsZero() && waiting.Time.After(by):
		return false
	}
	m.log.Info().Str("waiting", subject).Msg("first what was stored in time")
	m.later(c.cfg.RetryMin)
	return true
}
