package consumer

import (
	"context"
	"errors"
	"slices"

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
	if rec, ok := c.recall(m, name); ok && c.belongs(m, rec) {
		c.confirm(ctx, m, rec)
		return
	}
	rec, err := c.leases.load(ctx, name)
	if errors.Is(err, errNotFound) {
		m.done()
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	if !c.belongs(m, rec) {
		m.log.Warn().Msg("a confirmation that does not belong to the lease's delivery, or was made with another key file")
		m.done()
		return
	}
	c.confirm(ctx, m, rec)
}

// belongs says whether a confirmation is that of the lease's delivery.
func (c *Consumer) belongs(m *inbound, rec held) bool {
	return slices.Contains(c.cfg.Keys.ConfirmTokens(rec.Name().String(), rec.Attempt), m.tokens[3])
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
		m.outcome = OutcomeConfirmed
		m.log.Info().Msg("confirmed")
	} else if !rec.Confirm || !m.again() {
		m.done() // one that nobody asked for, or a second one
		return
	}
	if err := c.tell(ctx, rec.Record, messages.EventConfirmed); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}
