package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// undoing is what is known of an undoing.
type undoing struct {
	known bool // the user is certainly this lease's; that of an issued lease always is
	again bool // somebody may have tried before
}

// undo is how every lease ends: it takes a record in state revoking, deletes key
// and user, leaves a tombstone, and tells. Where AWS takes no more calls it deletes
// no more than the key: in a mass expiry all keys go before the first user.
//
// What it returns is the record afterwards, which may still be revoking: then
// the record has the reason, if it is not that, and is due again. An error means that
// the record could not be read or written.
func (c *Consumer) undo(ctx context.Context, log zerolog.Logger, rec held, u undoing) (held, error) {
	cut := c.mustWait(rec) // looked at once: it may expire while AWS is at it
	if failure := c.remove(ctx, rec, u, cut); failure != nil {
		if ctx.Err() != nil {
			return rec, ctx.Err() // nobody has failed: it is given up, and could not be written down
		}
		return c.undoFailed(ctx, log, rec, failure)
	}
	if cut {
		return c.cutOff(ctx, log, rec)
	}
	told := !rec.DeniedAt.IsZero()
	for {
		next, err := rec.Ended(c.cfg.Now())
		if err != nil {
			return rec, err
		}
		after, err := c.leases.save(ctx, next, rec.revision)
		if err == nil {
			rec = after
			break
		}
		if !errors.Is(err, errConflict) {
			return rec, err
		}
		// Somebody else undoes it too. Whether they got through or not, the user
		// of this attempt is gone, and one of us has to say so.
		attempt := rec.Attempt
		if rec, err = c.leases.load(ctx, rec.Name()); err != nil {
			return rec, err
		}
		if rec.State != messages.StateRevoking || rec.Attempt != attempt {
			return rec, nil
		}
	}
	log.Info().Str("username", rec.User.Name).Str("reason", string(rec.Reason)).
		Str("state", string(rec.State)).Msg("undone")
	if told {
		return rec, nil
	}
	return rec, c.tellEnded(ctx, rec)
}

// undoIfFree is undo where no call to the account waits, and else leaves the lease for
// later: it is for one that nobody was given, and for those who have better to do.
func (c *Consumer) undoIfFree(ctx context.Context, log zerolog.Logger, rec held, u undoing) (held, error) {
	if account, err := c.connections.of(ctx, rec.Record); err == nil && account.Backlog() {
		return c.undoLater(ctx, log, rec, rec.Record, errBacklog)
	}
	return c.undo(ctx, log, rec, u)
}

var errBacklog = messages.Errorf(messages.CodeProviderUnavailable, "calls to AWS wait")

// mustWait says whether a session is to be denied everything and has not expired yet:
// the Deny must stay until then.
func (c *Consumer) mustWait(rec held) bool {
	return rec.User.DenyOnRevoke && !rec.IssuedAt.IsZero() && c.cfg.Now().Before(rec.SessionEnd()) && rec.Reason != messages.ReasonExpired
}

// cutOff writes down that a session can do nothing any more, and tells. To whom it
// was given it is revoked; the record stays until the Deny can be removed.
func (c *Consumer) cutOff(ctx context.Context, log zerolog.Logger, rec held) (held, error) {
	next, err := rec.DenySession(c.cfg.Now())
	if err != nil {
		return rec, err
	}
	after, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		return c.leases.load(ctx, rec.Name()) // somebody else undoes it too; theirs counts
	}
	if err != nil {
		return rec, err
	}
	log.Info().Str("session", rec.User.Name).Str("reason", string(rec.Reason)).Time("until", next.Due).Msg("a session is denied everything until it has expired")
	return after, c.tellEnded(ctx, after)
}

// tellEnded tells of a lease that is over.
func (c *Consumer) tellEnded(ctx context.Context, rec held) error {
	if rec.State == messages.StateFailed {
		return c.tell(ctx, rec.Record, messages.EventFailed)
	}
	if rec.Reason == messages.ReasonUndelivered {
		// Told when it began, too; but whoever began may have died before that.
		if err := c.tell(ctx, rec.Record, messages.EventUndelivered); err != nil {
			return err
		}
	}
	return c.tell(ctx, rec.Record, messages.EventRevoked)
}

// remove deletes key and user. That they are gone already is no error. A session
// can't be removed: it is cut off, where the definition wants that, and the Deny is
// removed when the session has expired.
func (c *Consumer) remove(ctx context.Context, rec held, u undoing, cut bool) error {
	if rec.User.IsSession() && (!rec.User.DenyOnRevoke || rec.IssuedAt.IsZero() || rec.Reason == messages.ReasonExpired) {
		return nil // nothing has been put anywhere
	}
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		return err
	}
	patience := c.cfg.Timing.Teardown * 5 / 6
	if c.isTidying(rec) {
		patience *= tidyTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if cut {
		return account.DenySession(ctx, rec.User)
	}
	return account.Delete(ctx, provider.Deletion{
		User:        rec.User,
		Owner:       c.owner(rec.Record),
		AccessKeyID: rec.AccessKeyID,
		Mode:        c.deletionMode(rec.Record, u),
		OwnerKnown:  u.known || !rec.IssuedAt.IsZero(),
		Young:       c.young(rec.Record),
	})
}

// deletionMode returns the mode in which a lease's user is deleted.
func (c *Consumer) deletionMode(r record.Record, u undoing) provider.DeletionMode {
	switch {
	case !r.KeyDeletedAt.IsZero():
		return provider.Cleanup
	case r.AccessEnded(): // no requester was given the key
		return provider.DeleteUser
	case u.again || c.isDenied(r):
		return provider.TeardownKeyFirst
	}
	return provider.Teardown
}

// isDenied says whether AWS refuses the lease's key by now, or will before the lease
// is tried again: the Deny is in the user's policy, and must stay as long as the key.
func (c *Consumer) isDenied(r record.Record) bool {
	deny := r.DenyAfter()
	return !deny.IsZero() && !c.cfg.Now().Add(c.cfg.Timing.Teardown).Before(deny)
}

// young says whether AWS may not show the lease's user yet.
func (c *Consumer) young(r record.Record) bool { return c.cfg.Now().Sub(r.StartedAt) < youngUser }

// undoFailed writes down how far it came, why no further, and when to try again.
func (c *Consumer) undoFailed(ctx context.Context, log zerolog.Logger, rec held, e error) (held, error) {
	why := provider.AsError(e)
	next := rec.Record
	var err error
	if why.KeyDeleted {
		if next, err = next.KeyDeleted(c.cfg.Now()); err != nil {
			return rec, err
		}
	}
	if why.Throttled {
		return c.undoLater(ctx, log, rec, next, why)
	}
	c.cfg.Meter.RevocationFailed()
	invisible := why.Kind == provider.NotVisible
	cause := safe(e)
	if invisible {
		cause = "AWS does not show the user, which may be too young to be seen"
	}
	if next, err = next.TeardownFailed(cause, c.cfg.Now()); err != nil {
		return rec, err
	}
	log.Warn().Err(e).Str("username", rec.User.Name).Time("again_at", next.Due).Msg("could not be undone yet")
	after, mine, err := c.saveUndoing(ctx, rec, next)
	if mine && !invisible && rec.TeardownError != cause {
		err = c.tell(ctx, after.Record, messages.EventRevokeFailed)
	}
	return after, err
}

// undoLater is for what AWS takes no calls for now, which is no failure.
func (c *Consumer) undoLater(ctx context.Context, log zerolog.Logger, rec held, next record.Record, why error) (held, error) {
	next, err := next.DeferTeardown(notYet(next), c.cfg.Now())
	if err != nil {
		return rec, err
	}
	log.Info().Str("why", safe(why)).Str("username", rec.User.Name).Bool("key_gone", !next.KeyDeletedAt.IsZero()).Time("again_at", next.Due).
		Msg("AWS takes no more calls for now; the rest is undone later")
	after, _, err := c.saveUndoing(ctx, rec, next)
	return after, err
}

// saveUndoing writes a record that is being undone. Where somebody else undoes it
// too, theirs counts, and is what it returns.
func (c *Consumer) saveUndoing(ctx context.Context, rec held, next record.Record) (after held, mine bool, err error) {
	after, err = c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		after, err = c.leases.load(ctx, rec.Name())
		return after, false, err
	}
	if err != nil {
		return rec, false, fmt.Errorf("after a revocation that is not finished: %w", err)
	}
	return after, true, nil
}

// safe is what everybody may know of an error of the provider, or on the way to it.
func safe(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return provider.AsError(err).Safe()
}
