package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// order is a message about a lease that exists: a renewal, a revocation.
type order struct {
	name    messages.LeaseName
	replyTo string // "": nobody waits for an answer
}

// decodeOrder reads subject and reply of a message about a lease. What it
// returns beside an error tells whom to answer.
func (c *Consumer) decodeOrder(m *inbound) (order, error) {
	var o order
	if len(m.tokens) != 3 {
		return o, messages.Errorf(messages.CodeInvalidSubject, "the subject must end in <identity>.<secret>.<id>")
	}
	if err := messages.CheckToken("identity", m.tokens[0]); err != nil {
		return o, err
	}
	if to := m.Headers().Get(messages.HeaderReplyTo); to != "" {
		if err := c.cfg.Namespace.CheckReply(m.tokens[0], to); err != nil {
			return o, err
		}
		o.replyTo = to
	}
	var err error
	o.name, err = messages.NewLeaseName(m.tokens[0], m.tokens[1], m.tokens[2])
	m.log = m.log.With().Str("lease", o.name.String()).Logger()
	return o, err
}

// recall returns what this broker remembers of the lease that a message is about
// ([memory]). A message that comes again is decided by the bucket: what it asks for may
// have been done.
func (c *Consumer) recall(m *inbound, name messages.LeaseName) (held, bool) {
	if m.again() {
		return held{}, false
	}
	return c.leases.memory.recall(name)
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
