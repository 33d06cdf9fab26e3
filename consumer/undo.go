package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// undo is how every lease ends: it takes a record in state revoking, deletes key
// and user, leaves a tombstone, and tells. Known says that the user is certainly
// this lease's; that of an issued lease always is.
//
// What it returns is the record afterwards, which may still be revoking: then
// the record has the reason and is due again. An error means that the record
// could not be read or written.
func (c *Consumer) undo(ctx context.Context, log zerolog.Logger, rec held, known bool) (held, error) {
	cut := c.mustWait(rec) // looked at once: it may expire while AWS is at it
	if failure := c.remove(ctx, rec, known, cut); failure != nil {
		return c.undoFailed(ctx, log, rec, failure)
	}
	if cut {
		return c.cutOff(ctx, log, rec)
	}
	told := !rec.CutAt.IsZero()
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

// mustWait says whether a session is to be denied everything and has not expired yet:
// the Deny must stay until then.
func (c *Consumer) mustWait(rec held) bool {
	return rec.User.DenyOnRevoke && !rec.IssuedAt.IsZero() && c.cfg.Now().Before(rec.SessionEnd()) && rec.Reason != messages.ReasonExpired
}

// cutOff writes down that a session can do nothing any more, and tells. To whom it
// was given it is revoked; the record stays until the Deny can be removed.
func (c *Consumer) cutOff(ctx context.Context, log zerolog.Logger, rec held) (held, error) {
	next, err := rec.CutOff(c.cfg.Now())
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
func (c *Consumer) remove(ctx context.Context, rec held, known, cut bool) error {
	if rec.User.IsSession() && (!rec.User.DenyOnRevoke || rec.IssuedAt.IsZero() || rec.Reason == messages.ReasonExpired) {
		return nil // nothing has been put anywhere
	}
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Undo*5/6)
	defer cancel()
	if cut {
		return account.Cut(ctx, rec.User)
	}
	return account.Delete(ctx, provider.Deletion{
		User:        rec.User,
		Owner:       c.owner(rec.Record),
		AccessKeyID: rec.AccessKeyID,
		Ours:        known || !rec.IssuedAt.IsZero(),
		Young:       c.young(rec.Record),
	})
}

// young says whether AWS may not show the lease's user yet.
func (c *Consumer) young(r messages.Record) bool { return c.cfg.Now().Sub(r.StartedAt) < youngUser }

// undoFailed writes down why, and when to try again.
func (c *Consumer) undoFailed(ctx context.Context, log zerolog.Logger, rec held, e error) (held, error) {
	invisible := provider.AsError(e).Kind == provider.NotVisible
	cause := safe(e)
	if invisible {
		cause = "AWS does not show the user, which may be too young to be seen"
	}
	next, err := rec.UndoFailed(cause, c.cfg.Now())
	if err != nil {
		return rec, err
	}
	log.Warn().Err(e).Str("username", rec.User.Name).Time("again_at", next.Due).Msg("could not be undone yet")
	after, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		return c.leases.load(ctx, rec.Name()) // somebody else undoes it too; theirs counts
	}
	if err != nil {
		return rec, fmt.Errorf("after a failed revocation: %w", err)
	}
	if !invisible && rec.UndoError != cause {
		if err := c.tell(ctx, after.Record, messages.EventRevokeFailed); err != nil {
			return after, err
		}
	}
	return after, nil
}

// safe is what everybody may know of an error of the provider, or on the way to it.
func safe(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return provider.AsError(err).Safe()
}
