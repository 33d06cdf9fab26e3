package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// maxNames is how many user names are tried where each is somebody else's.
const maxNames = 3

// provisionMargin is how long before the record counts as abandoned the worker
// gives up: nothing that it has asked of AWS may still be under way then.
const provisionMargin = 1.0 / 6

// provision makes the user and the key of a lease whose record says that it is
// being made, and delivers the key.
func (c *Consumer) provision(ctx context.Context, m *inbound, a ask, rec held, resume bool) {
	creds, err := c.create(ctx, m, &rec, a)
	switch {
	case errors.Is(err, errConflict):
		c.yield(ctx, m, rec, "")
		return
	case err != nil:
		c.createFailed(ctx, m, a, rec, provider.AsError(err), resume)
		return
	}
	sealed, err := c.cfg.Keys.Seal(rec.XKey, messages.Contents{
		Lease: rec.Name().String(), Identity: rec.Identity, ExpiresAt: rec.ExpiresAt, Credentials: creds,
	})
	if err != nil {
		c.fail(ctx, m, a, rec, messages.AsError(err), provider.LeftUser)
		return
	}
	next, err := rec.Activate(creds.AccessKeyID, sealed, c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	active, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		c.yield(ctx, m, rec, creds.AccessKeyID)
		return
	}
	if err != nil {
		c.transient(m, err) // it may have been written: the record will say
		return
	}
	m.log.Info().Str("username", active.User.Name).Str("access_key_id", creds.AccessKeyID).Int("attempt", active.Attempt).
		Time("expires_at", active.ExpiresAt).Msg("issued")
	m.outcome = OutcomeIssued
	c.deliver(ctx, m, a, active, &creds)
}

// create asks the provider for user and key, under another name where the first
// is somebody else's. It moves rec on where it had to write the record, and
// returns [errConflict] where somebody else has.
func (c *Consumer) create(ctx context.Context, m *inbound, rec *held, a ask) (messages.Credentials, error) {
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		e := *provider.AsError(err)
		e.Left = provider.LeftNothing
		return messages.Credentials{}, &e
	}
	ctx, cancel := context.WithTimeout(ctx, c.provisionTime(rec.Record, a.deadline))
	defer cancel()
	for try := 1; ; try++ {
		creds, err := account.Create(ctx, provider.Creation{
			User: rec.User, Owner: c.owner(rec.Record), DenyAfter: rec.DenyAfter(), For: rec.ExpiresAt.Sub(c.cfg.Now()),
			StillCurrent: c.holds(*rec),
		})
		if err == nil || provider.AsError(err).Kind != provider.NameTaken || try == maxNames {
			return creds, err
		}
		d, secretErr := c.secrets.cached(ctx, a.name.Secret)
		if secretErr != nil {
			return creds, err
		}
		name, nameErr := c.username(d, a.name)
		if nameErr != nil || name == rec.User.Name {
			return creds, err
		}
		m.log.Info().Str("username", rec.User.Name).Msg("the user name is somebody else's; trying another")
		next, renameErr := rec.Rename(name)
		if renameErr != nil {
			return creds, err
		}
		saved, saveErr := c.leases.save(ctx, next, rec.revision)
		if saveErr != nil {
			return creds, saveErr
		}
		*rec = saved
	}
}

// holds asks whether a record that is being made is still the same attempt's.
func (c *Consumer) holds(mine held) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := c.leases.load(ctx, mine.Name())
		if err == nil && (now.State != messages.StateProvisioning || now.Attempt != mine.Attempt) {
			err = errConflict
		}
		return err
	}
}

// provisionTime is how long AWS may take for the attempt: no longer than somebody
// waits for it.
func (c *Consumer) provisionTime(r record.Record, deadline time.Time) time.Duration {
	now := c.cfg.Now()
	left := r.Due.Sub(now) - time.Duration(float64(c.cfg.Timing.Provision)*provisionMargin)
	if deadline.IsZero() {
		return left
	}
	return min(left, deadline.Sub(now))
}

func (c *Consumer) owner(r record.Record) provider.Owner {
	return provider.Owner{Installation: c.installation, Lease: r.Name().String(), Attempt: r.Attempt}
}

// yield is for the worker that has lost the record to somebody else: it takes
// back what it alone has made, and leaves the rest to whoever won. That may take
// as long as AWS likes, and holds no worker.
func (c *Consumer) yield(ctx context.Context, m *inbound, mine held, accessKeyID string) {
	rec, err := c.leases.load(ctx, mine.Name())
	if err != nil && !errors.Is(err, errNotFound) {
		c.transient(m, err)
		return
	}
	if accessKeyID != "" && rec.AccessKeyID == accessKeyID && rec.Attempt == mine.Attempt {
		c.transient(m, errors.New("the record was written although NATS said that it was not"))
		return
	}
	m.log.Info().Int("attempt", mine.Attempt).Int("attempt_now", rec.Attempt).Str("state", string(rec.State)).Msg("somebody else has the lease")
	c.background.Go(func() { c.restore(c.base, m.log, mine, accessKeyID) })
	if own(m, rec) && !rec.State.Ended() && rec.State != messages.StateRevoking {
		m.leave() // the same message, in other hands
		return
	}
	m.later(c.cfg.RetryMin)
}

// restore takes back what a lost attempt has made, again and again until AWS says
// that it is done, or that it won't be. What goes with the lease anyway it leaves
// to that where AWS refuses.
func (c *Consumer) restore(ctx context.Context, log zerolog.Logger, mine held, accessKeyID string) {
	log = log.With().Str("username", mine.User.Name).Str("access_key_id", accessKeyID).Int("attempt", mine.Attempt).Logger()
	for wait := c.cfg.RetryMin; ; wait = min(2*wait, c.cfg.RetryMax) {
		now, err := c.leases.load(ctx, mine.Name())
		if err == nil || errors.Is(err, errNotFound) {
			err = c.takeBack(ctx, mine, now, accessKeyID)
		}
		if err == nil {
			return
		}
		switch kind := provider.AsError(err).Kind; {
		case kind == provider.Unavailable, kind == provider.NotVisible && c.young(mine.Record):
			log.Info().Err(err).Dur("again_in", wait).Msg("what a lost attempt has made could not be taken back yet")
		case c.hasUser(now, mine):
			log.Warn().Err(err).Msg("what a lost attempt has made could not be taken back; it goes with the lease")
			return
		default:
			log.Error().Err(err).Msg("what a lost attempt has made could not be taken back, and no lease knows of it: the sweep looks for the user")
			return
		}
		if pause(ctx, wait) != nil {
			return // we are being stopped
		}
	}
}

// hasUser says whether a lease that goes on has the user of an attempt.
func (c *Consumer) hasUser(now, mine held) bool {
	return !now.State.Ended() && now.User.Name == mine.User.Name
}

// takeBack deletes what a lost attempt has made. Where the lease still has the
// user, that is the one key; AWS is set to the end that the lease has now, because
// the attempt's calls may have come after the other's. Where it has not, that is
// the user: AWS may have carried out the attempt's calls after others have found
// nothing to undo.
//
// A session that nobody was given is gone when it is forgotten.
func (c *Consumer) takeBack(ctx context.Context, mine, now held, accessKeyID string) error {
	if mine.User.IsSession() {
		return nil
	}
	account, err := c.connections.of(ctx, mine.Record)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Teardown)
	defer cancel()
	d := provider.Deletion{User: mine.User, Owner: c.owner(mine.Record), Young: c.young(mine.Record)}
	if !c.hasUser(now, mine) {
		return account.Delete(ctx, d)
	}
	if err := c.agree(ctx, mine); err != nil {
		return err
	}
	if accessKeyID == "" {
		return nil
	}
	d.AccessKeyID, d.Mode, d.OwnerKnown, d.Young = accessKeyID, provider.DeleteKey, true, false
	return account.Delete(ctx, d)
}

// createFailed decides what becomes of a lease that AWS did not make: what may
// pass is tried again, until the requester's deadline; the rest is undone and
// told.
func (c *Consumer) createFailed(ctx context.Context, m *inbound, a ask, rec held, e *provider.Error, resume bool) {
	left := e.Left
	if resume && left == provider.LeftNothing {
		left = provider.LeftUnknown // nothing by this attempt
	}
	m.log.Warn().Err(e).Str("kind", string(e.Kind)).Str("username", rec.User.Name).Msg("AWS did not make the user")
	if e.Kind != provider.Unavailable && e.Kind != provider.NotVisible {
		c.fail(ctx, m, a, rec, e.Public(), left)
		return
	}
	wait := m.retryWait(c.cfg.RetryMin, c.cfg.RetryMax)
	if !a.deadline.IsZero() && !c.cfg.Now().Add(max(wait, e.After)).Before(a.deadline) {
		c.fail(ctx, m, a, rec, messages.Errorf(messages.CodeDeadlineExceeded, "the deadline comes before AWS can be asked again: %s", e.Safe()).Because(e), left)
		return
	}
	next, err := rec.Postpone(wait, left == provider.LeftNothing, c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	_, err = c.leases.save(ctx, next, rec.revision)
	switch {
	case errors.Is(err, errConflict):
		c.yield(ctx, m, rec, "")
	case err != nil:
		c.transient(m, err)
	default:
		m.later(wait)
	}
}

// fail ends a lease that can't be made: undone, told, and off the queue.
func (c *Consumer) fail(ctx context.Context, m *inbound, a ask, rec held, why *messages.Error, left provider.Left) {
	next, err := rec.Fail(why, left == provider.LeftNothing, c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	failed, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		c.yield(ctx, m, rec, "")
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	c.finishFailed(ctx, m, a, failed, left)
}

// finishFailed undoes what there is, and tells. What can't be undone now the
// scheduler brings up again; the requester need not wait for that.
func (c *Consumer) finishFailed(ctx context.Context, m *inbound, a ask, rec held, left provider.Left) {
	if rec.State == messages.StateRevoking {
		after, err := c.undoIfFree(ctx, m.log, rec, undoing{known: left == provider.LeftUser})
		if err != nil {
			c.transient(m, err)
			return
		}
		rec = after
	}
	c.answerFailed(ctx, m, a, rec)
}

// answerFailed tells the requester why there is no lease.
func (c *Consumer) answerFailed(ctx context.Context, m *inbound, a ask, rec held) {
	if rec.State == messages.StateFailed {
		if err := c.tell(ctx, rec.Record, messages.EventFailed); err != nil {
			c.transient(m, err)
			return
		}
	}
	why := rec.Failure
	if why == nil {
		why = messages.Errorf(messages.CodeInternal, "the lease could not be made")
	}
	m.outcome = string(why.Code)
	if err := c.reply(a.replyTo, messages.ErrorReply(why, rec.Lease())); err != nil {
		c.transient(m, err)
		return
	}
	m.done()
}
