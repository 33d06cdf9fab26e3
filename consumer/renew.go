package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

func (c *Consumer) handleRenew(ctx context.Context, m *inbound) {
	o, err := c.decodeOrder(m)
	if err != nil {
		c.reject(ctx, m, o.replyTo, err, nil)
		return
	}
	q, err := messages.DecodeRenewRequest(m.Data())
	if err != nil {
		c.reject(ctx, m, o.replyTo, err, nil)
		return
	}
	if c.renewAtOnce(ctx, m, o, q) {
		return
	}
	rec, err := c.leases.load(ctx, o.name)
	if errors.Is(err, errNotFound) {
		c.reject(ctx, m, o.replyTo, messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", o.name), nil)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	if rec.RenewedWith(m.sequence, m.stored) && rec.State == messages.StateActive {
		c.answerRenewed(ctx, m, o, rec) // it counted; the answer may not have got out
		return
	}
	end, err := rec.RenewalEnd(q, m.stored, c.cfg.MinTTL)
	if err != nil {
		c.reject(ctx, m, o.replyTo, err, rec.Lease())
		return
	}
	c.renew(ctx, m, o, rec, end)
}

// renewAtOnce renews a lease by what is remembered of its record, where AWS need not be
// told. Where it returns false nothing is decided: the record must be read. That may
// then say that this very renewal counts, if the write's answer was lost.
func (c *Consumer) renewAtOnce(ctx context.Context, m *inbound, o order, q messages.RenewRequest) bool {
	rec, ok := c.recall(m, o.name)
	if !ok {
		return false
	}
	end, err := rec.RenewalEnd(q, m.stored, c.cfg.MinTTL)
	if err != nil {
		return false
	}
	next, err := rec.Renew(end, m.sequence, m.stored, c.cfg.Timing)
	if err != nil || next.DenyAfter() != rec.DenyAfter() {
		return false
	}
	after, err := c.leases.save(ctx, next, rec.revision)
	if err != nil {
		return false
	}
	c.renewed(ctx, m, o, after)
	return true
}

// renew moves the end: at AWS first, where it enforces it, so that the lease
// never promises more than AWS grants; then in the record.
func (c *Consumer) renew(ctx context.Context, m *inbound, o order, rec held, end time.Time) {
	next, err := rec.Renew(end, m.sequence, m.stored, c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	if next.DenyAfter() != rec.DenyAfter() {
		if err := c.extend(ctx, next); err != nil {
			c.renewFailed(ctx, m, o, rec, provider.AsError(err))
			return
		}
	}
	after, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		c.renewLost(ctx, m, rec)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	c.renewed(ctx, m, o, after)
}

// renewed tells of a renewal that has just been written.
func (c *Consumer) renewed(ctx context.Context, m *inbound, o order, after held) {
	m.log.Info().Time("expires_at", after.ExpiresAt).Int("renewals", after.Renewals).Msg("renewed")
	c.answerRenewed(ctx, m, o, after)
}

// extend sets the date from which AWS refuses the user to the record's.
func (c *Consumer) extend(ctx context.Context, r record.Record) error {
	account, err := c.connections.of(ctx, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Provision)
	defer cancel()
	return account.Extend(ctx, r.User, r.DenyAfter())
}

// renewLost brings back a renewal whose record somebody else has written, to be
// decided anew, once AWS has the end that the record has.
func (c *Consumer) renewLost(ctx context.Context, m *inbound, lost held) {
	if err := c.agree(ctx, lost); err != nil {
		c.transient(m, err)
		return
	}
	m.later(c.cfg.RetryMin / 4)
}

// agree sets AWS again from a lease's record until the record has not changed
// meanwhile. It is for whoever has set AWS and then lost the record.
func (c *Consumer) agree(ctx context.Context, lost held) error {
	set := uint64(0) // the revision that AWS was set from
	for {
		rec, err := c.leases.load(ctx, lost.Name())
		if errors.Is(err, errNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.State == messages.StateRevoking && rec.User.Name == lost.User.Name {
			return c.denyNow(ctx, rec)
		}
		alive := rec.State == messages.StateActive || rec.State == messages.StateProvisioning
		if !alive || rec.revision == set || rec.DenyAfter().IsZero() || rec.User.Name != lost.User.Name {
			return nil // agreed, or there is nothing to agree on
		}
		if err := c.extend(ctx, rec.Record); err != nil {
			return err
		}
		set = rec.revision
	}
}

// denyNow has AWS refuse a user that is being undone: what was set last may have
// come over the Deny with which the undoing holds back a key that it could not
// delete yet.
func (c *Consumer) denyNow(ctx context.Context, rec held) error {
	if rec.User.HardExpiry == messages.HardExpiryNone || !rec.KeyDeletedAt.IsZero() {
		return nil // nothing has been set, or nobody is to be refused
	}
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Provision)
	defer cancel()
	err = account.Extend(ctx, rec.User, c.cfg.Now().Add(-time.Second))
	if err != nil && provider.AsError(err).Kind == provider.Rejected {
		return nil // the user is gone
	}
	return err
}

// renewFailed tells why AWS did not move the end, or tries again later where
// that may help and the lease lives on meanwhile.
func (c *Consumer) renewFailed(ctx context.Context, m *inbound, o order, rec held, e *provider.Error) {
	if e.Kind == provider.Unavailable && c.cfg.Now().Before(rec.ExpiresAt) {
		c.transient(m, e)
		return
	}
	c.reject(ctx, m, o.replyTo, e.Public(), rec.Lease())
}

func (c *Consumer) answerRenewed(ctx context.Context, m *inbound, o order, rec held) {
	if err := c.tell(ctx, rec.Record, messages.EventRenewed); err != nil {
		c.transient(m, err)
		return
	}
	m.outcome = OutcomeRenewed
	if err := c.reply(o.replyTo, messages.Reply{Kind: messages.KindRenewed, Lease: rec.Lease()}); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}
