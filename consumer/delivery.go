package consumer

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/messages"
)

// deliver hands the credentials of an active lease to whoever asked with this
// message. It is called with the credentials where they have just been made, and
// without them where the record has them: both give the same delivery.
//
// The event issued comes first: whoever has the key may end the lease at once, and
// that its key exists must be told before.
//
// The wait for AWS to accept the key, and that for a listener, hold no worker.
func (c *Consumer) deliver(ctx context.Context, m *inbound, a ask, rec held, creds *messages.Credentials) {
	tell := c.tellBegun
	if creds != nil {
		tell = c.tellIssued // nobody can have, and that need not be looked up
	}
	if err := tell(ctx, rec); err != nil {
		c.transientOrConflict(m, err)
		return
	}
	if creds == nil && rec.XKey == "" {
		contents, err := c.cfg.Keys.Open(rec.Sealed)
		if err != nil {
			c.transient(m, err) // perhaps another replica has the key
			return
		}
		creds = &contents.Credentials
	}
	answer := messages.Reply{Kind: messages.KindCredentials, Lease: rec.Lease()}
	if rec.XKey != "" {
		answer.Sealed = rec.Sealed
	} else {
		answer.Credentials = creds
	}
	if rec.ReadyWithin > 0 {
		c.background.Go(func() {
			ready := creds != nil && c.ready(c.base, m, rec, *creds)
			if c.base.Err() != nil {
				m.leave() // we are being stopped, and have not waited to the end
				return
			}
			answer.Ready = &ready
			c.handOver(c.base, m, a, rec, answer)
		})
		return
	}
	c.handOver(ctx, m, a, rec, answer)
}

// handOver publishes a delivery and settles it.
func (c *Consumer) handOver(ctx context.Context, m *inbound, a ask, rec held, answer messages.Reply) {
	heard, err := c.publish(ctx, a.replyTo, rec, answer)
	switch {
	case err != nil:
		c.transient(m, err)
	case heard:
		c.delivered(ctx, m, a, rec, answer)
	default:
		c.background.Go(func() { c.seekListener(c.base, m, a, rec, answer) })
	}
}

func (c *Consumer) publish(ctx context.Context, to string, rec held, answer messages.Reply) (heard bool, err error) {
	msg, err := replyMsg(to, answer)
	if err != nil {
		return false, err
	}
	defer clear(msg.Data) // the credentials may be in clear in it
	name := rec.Name()
	msg.Reply = c.cfg.Namespace.Confirm(name, c.cfg.Keys.ConfirmToken(name.String(), rec.Attempt))
	return c.deliveries.publish(ctx, msg)
}

// seekListener tries again for a moment where nobody listens: interest takes a
// while to get around. Then it gives the lease up.
func (c *Consumer) seekListener(ctx context.Context, m *inbound, a ask, rec held, answer messages.Reply) {
	for wait := c.cfg.NobodyWait / 16; wait < c.cfg.NobodyWait; wait *= 2 {
		if err := pause(ctx, wait); err != nil {
			c.transient(m, err)
			return
		}
		heard, err := c.publish(ctx, a.replyTo, rec, answer)
		if err != nil {
			c.transient(m, err)
			return
		}
		if heard {
			c.delivered(ctx, m, a, rec, answer)
			return
		}
	}
	if !own(m, rec) {
		m.log.Info().Msg("nobody listens to the answer to a repeated request")
		m.done() // the lease is the first request's to give up
		return
	}
	m.log.Info().Msg("nobody listens to the delivery")
	c.giveUp(ctx, m, rec)
}

// giveUp ends a lease whose credentials reached nobody, unless somebody else has
// delivered it meanwhile.
func (c *Consumer) giveUp(ctx context.Context, m *inbound, rec held) {
	now, err := c.leases.load(ctx, rec.Name())
	if err != nil {
		c.transient(m, err)
		return
	}
	if now.State != messages.StateActive || now.Attempt != rec.Attempt {
		m.later(c.cfg.RetryMin / 4) // decided anew by what it is now
		return
	}
	if !now.DeliveredAt.IsZero() {
		m.done() // a repeat of the request has it
		return
	}
	if c.confirmedUnread(ctx, m, now) {
		return // an earlier delivery got through after all
	}
	next, err := now.End(messages.ReasonUndelivered, "", c.cfg.Now(), c.cfg.Timing)
	c.endWith(ctx, m, order{name: rec.Name()}, now, next, err)
}

// delivered writes down that the delivery was handed over, and closes the message.
// It does not give up: if the message came again for that, and the requester had
// taken the key and gone, the lease would end because nobody listens.
//
// Where that can't be written, NATS has trouble, and the delivery that it had taken
// may be lost with a server. So the same is handed over once more, to whoever still
// waits.
func (c *Consumer) delivered(ctx context.Context, m *inbound, a ask, rec held, answer messages.Reply) {
	err := c.settle(ctx, a, rec)
	if err == nil {
		m.done()
		return
	}
	c.background.Go(func() {
		for wait := c.cfg.RetryMin; err != nil; wait = min(2*wait, c.cfg.RetryMax) {
			m.log.Warn().Err(err).Dur("again_in", wait).Msg("delivered, and that could not be written down yet")
			// A stop has patience with it, but not where there is nothing to write to.
			hopeless := c.following.Err() != nil && kindOf(err) == missing
			if hopeless || pause(c.base, wait) != nil {
				m.leave() // we are being stopped
				return
			}
			if _, err = c.publish(c.base, a.replyTo, rec, answer); err == nil {
				err = c.settle(c.base, a, rec)
			}
		}
		m.done()
	})
}

// settle writes the delivery into the record. A confirmation may have been
// faster, or an end, and then another attempt.
func (c *Consumer) settle(ctx context.Context, a ask, rec held) error {
	for attempt := rec.Attempt; ; {
		if rec.State != messages.StateActive || rec.Settled() || rec.Attempt != attempt {
			return nil
		}
		next, err := rec.AnswerTo(a.origin).Deliver(c.cfg.Now(), c.cfg.Timing)
		if err != nil {
			return err
		}
		_, err = c.leases.save(ctx, next, rec.revision)
		if !errors.Is(err, errConflict) {
			return err
		}
		if rec, err = c.leases.load(ctx, rec.Name()); err != nil {
			return err
		}
	}
}

// successes is how often in a row AWS must accept a key before it counts as
// ready: its servers do not learn of it at the same moment.
const successes = 3

// ready waits until AWS accepts the new key, and returns false where it does not
// in time. It is a best effort: that STS knows the key does not prove that every
// service does.
func (c *Consumer) ready(ctx context.Context, m *inbound, rec held, creds messages.Credentials) bool {
	readyBy := rec.DeliverBy.Add(-c.cfg.Timing.Deliver)
	// Also where the time is over, because this is a delivery that is repeated: it
	// says again what the first said, if that is still so.
	ctx, cancel := context.WithTimeout(ctx, max(readyBy.Sub(c.cfg.Now()), successes*c.cfg.ProbeEvery))
	defer cancel()
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		return false
	}
	for row := 0; ; {
		if err = account.Probe(ctx, creds); err == nil {
			if row++; row == successes {
				return true
			}
		} else {
			row = 0
		}
		wait := c.cfg.ProbeEvery
		if err == nil {
			wait /= 4
		}
		if pause(ctx, wait) != nil {
			m.log.Info().Err(err).Dur("waited", rec.ReadyWithin.Std()).Msg("AWS does not accept the key yet")
			return false
		}
	}
}
