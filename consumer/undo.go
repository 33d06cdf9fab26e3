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
	failure := c.remove(ctx, rec, known)
	if failure != nil {
		return c.undoFailed(ctx, log, rec, failure)
	}
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
	return rec, c.tellEnded(ctx, rec)
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

// remove deletes key and user. That they are gone already is no error.
func (c *Consumer) remove(ctx context.Context, rec held, known bool) *provider.Error {
	account, err := c.accounts.of(ctx, rec.Record)
	if err != nil {
		return &provider.Error{Kind: provider.Unavailable, Op: "Connect", Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timing.Undo*5/6)
	defer cancel()
	err = account.Delete(ctx, provider.Deletion{
		User:        rec.User,
		Owner:       c.owner(rec.Record),
		AccessKeyID: rec.AccessKeyID,
		Ours:        known || !rec.IssuedAt.IsZero(),
		Young:       c.young(rec.Record),
	})
	if err == nil {
		return nil
	}
	return provider.AsError(err)
}

// young says whether AWS may not show the lease's user yet.
func (c *Consumer) young(r messages.Record) bool { return c.cfg.Now().Sub(r.StartedAt) < youngUser }

// undoFailed writes down why, and when to try again.
func (c *Consumer) undoFailed(ctx context.Context, log zerolog.Logger, rec held, e *provider.Error) (held, error) {
	cause := e.Safe()
	if e.Kind == provider.NotVisible {
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
	if e.Kind != provider.NotVisible && rec.UndoError != cause {
		if err := c.tell(ctx, after.Record, messages.EventRevokeFailed); err != nil {
			return after, err
		}
	}
	return after, nil
}
