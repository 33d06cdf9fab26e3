package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Teardown is how every lease ends: from the state revoking to a tombstone. What
// can't be deleted now is due again later.
type Teardown struct {
	Settings
	leases   *store.Leases
	events   *events.Log
	accounts *connection.Registry
	cleanups *cleanups
}

// ending is what the teardown needs to know of the message that ends a lease.
type ending struct {
	wantsReply  bool // its sender waits for the outcome
	redelivered bool
	label       string // of the outcome, if the lease has ended
	log         zerolog.Logger
}

// attempt is what is known before one attempt at a teardown.
type attempt struct {
	ownerKnown bool // the user is certainly the lease's, although the lease was not issued
	repeated   bool // another worker may have tried before
}

// begin stores the record that says that the lease ends, and tears the lease down.
// next and err are the result of the transition.
func (t *Teardown) begin(ctx context.Context, m ending, e store.Entry, next record.Record, err error) queue.Outcome {
	if err != nil {
		return queue.Retry(err)
	}
	if t.needsCleanupOnly(e) && t.cleanups.full() {
		return t.cleanUpLater(m, e) // before anything is written: there may be thousands of these
	}
	begun, err := t.leases.Save(ctx, next, e.Revision)
	if err != nil {
		return queue.Retry(err)
	}
	// The event issued, if it is still missing, must come before revoked. A conflict
	// means that revoked has been emitted.
	if err := t.events.EnsureIssued(ctx, begun.Record); err != nil && !errors.Is(err, bucket.ErrConflict) {
		return queue.Retry(err)
	}
	if begun.Reason == messages.ReasonUndelivered && e.State == messages.StateActive {
		t.Meter.Undelivered()
		if err := t.events.EmitLease(ctx, begun.Record, messages.EventUndelivered); err != nil {
			return queue.Retry(err)
		}
	}
	try := attempt{repeated: m.redelivered || e.State == messages.StateRevoking}
	if t.needsCleanupOnly(begun) {
		return t.cleanUp(m, begun, try)
	}
	return t.runFor(ctx, m, begun, try)
}

// runFor runs one attempt and returns the message's outcome.
func (t *Teardown) runFor(ctx context.Context, m ending, e store.Entry, try attempt) queue.Outcome {
	after, err := t.run(ctx, m.log, e, try)
	switch {
	case err != nil:
		return queue.Retry(err)
	case m.wantsReply && after.AccessEnded() && after.TeardownError == "" && !e.AccessEnded():
		return t.cleanUp(m, after, attempt{repeated: true}) // the answer comes when the user is deleted
	}
	if after.State.Ended() && after.Reason == messages.ReasonExpired {
		t.Meter.Expired(max(0, cmp.Or(e.KeyDeletedAt, t.Now()).Sub(after.ExpiresAt)))
	}
	return m.outcome(after)
}

// outcome is the outcome of a message that ends a lease, by the lease's entry after
// it.
func (m ending) outcome(e store.Entry) queue.Outcome {
	answer, label := messages.Reply{Kind: messages.KindRevoked, Lease: e.Lease()}, m.label
	if !e.State.Ended() && !e.SessionDenied() {
		answer = messages.ErrorReply(messages.Errorf(messages.CodeProviderUnavailable,
			"the lease is being revoked and could not be yet; there is nothing to do, it is tried again until it is: %s",
			cmp.Or(e.TeardownError, "AWS takes no more calls for now")), e.Lease())
		if label == queue.LabelRevoked {
			label = string(answer.Error.Code)
		}
	}
	if m.wantsReply {
		return queue.Answer(label, answer)
	}
	return queue.Ack(label)
}

// run makes one attempt: it deletes key and user, stores the tombstone and emits the
// event. It returns the entry afterwards. That may still be revoking: then it says
// why, unless AWS just takes no more calls, and is due again. An error means that the
// record could not be read or written.
func (t *Teardown) run(ctx context.Context, log zerolog.Logger, e store.Entry, try attempt) (store.Entry, error) {
	deny := t.mustDenySession(e) // decided once: the session may expire during the call
	if err := t.remove(ctx, e, try, deny); err != nil {
		if ctx.Err() != nil {
			return e, ctx.Err() // a stop, and not a failure
		}
		return t.failed(ctx, log, e, err)
	}
	if deny {
		return t.sessionDenied(ctx, log, e)
	}
	return t.ended(ctx, log, e)
}

// runIfIdle is run if no calls to the account wait. Otherwise the lease, which was
// never delivered, is due again later.
func (t *Teardown) runIfIdle(ctx context.Context, log zerolog.Logger, e store.Entry, try attempt) (store.Entry, error) {
	if account, err := t.accounts.Reach(ctx, e.Connection); err == nil && account.Backlog() {
		return t.deferred(ctx, log, e, e.Record, errBacklog)
	}
	return t.run(ctx, log, e, try)
}

var errBacklog = messages.Errorf(messages.CodeProviderUnavailable, "calls to AWS wait")

// remove deletes key and user. A session can't be deleted: it is denied, if the
// definition wants that, and the Deny is deleted when the session has expired.
func (t *Teardown) remove(ctx context.Context, e store.Entry, try attempt, deny bool) error {
	if e.User.IsSession() && (!e.User.DenyOnRevoke || e.IssuedAt.IsZero() || e.Reason == messages.ReasonExpired) {
		return nil // nothing was put anywhere
	}
	account, err := t.accounts.Reach(ctx, e.Connection)
	if err != nil {
		return err
	}
	timeout := t.Timing.Teardown - margin(t.Timing.Teardown)
	if t.needsCleanupOnly(e) {
		timeout *= cleanupTimeoutFactor
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if deny {
		return account.DenySession(ctx, e.User)
	}
	return account.Delete(ctx, provider.Deletion{
		Mode: t.mode(e, try), User: e.User, Owner: t.owner(e.Record), AccessKeyID: e.AccessKeyID,
		OwnerKnown: try.ownerKnown || !e.IssuedAt.IsZero(), Young: t.isYoung(e.Record),
	})
}

// mode is what a deletion of the lease's user deletes, and in which order.
func (t *Teardown) mode(e store.Entry, try attempt) provider.DeletionMode {
	switch {
	case !e.KeyDeletedAt.IsZero():
		return provider.Cleanup
	case e.AccessEnded():
		return provider.DeleteUser // no requester ever had the key
	case try.repeated || t.denyInForce(e.Record):
		return provider.TeardownKeyFirst
	}
	return provider.Teardown
}

// denyInForce reports whether AWS refuses the lease's key now, or will before the
// next attempt: the Deny in the user's policy must stay until the key is deleted.
func (t *Teardown) denyInForce(r record.Record) bool {
	deny := r.DenyAfter()
	return !deny.IsZero() && !t.Now().Add(t.Timing.Teardown).Before(deny)
}

// mustDenySession reports whether a session is to be denied and has not expired: the
// Deny must stay until then.
func (t *Teardown) mustDenySession(e store.Entry) bool {
	return e.User.DenyOnRevoke && !e.IssuedAt.IsZero() && t.Now().Before(e.SessionEnd()) && e.Reason != messages.ReasonExpired
}

// sessionDenied stores that a session may do nothing any more, and emits revoked. The
// record stays until the Deny can be deleted.
func (t *Teardown) sessionDenied(ctx context.Context, log zerolog.Logger, e store.Entry) (store.Entry, error) {
	next, err := e.DenySession(t.Now())
	if err != nil {
		return e, err
	}
	after, err := t.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		return t.leases.Load(ctx, e.Name()) // another worker's teardown counts
	}
	if err != nil {
		return e, err
	}
	log.Info().Str("session", e.User.Name).Str("reason", string(e.Reason)).Time("until", next.Due).Msg("the session is denied everything until it has expired")
	return after, t.events.EmitEnded(ctx, after.Record)
}

// ended stores the tombstone and emits the event.
func (t *Teardown) ended(ctx context.Context, log zerolog.Logger, e store.Entry) (store.Entry, error) {
	emitted := !e.DeniedAt.IsZero() // with the Deny
	for {
		next, err := e.Ended(t.Now())
		if err != nil {
			return e, err
		}
		after, err := t.leases.Save(ctx, next, e.Revision)
		if err == nil {
			e = after
			break
		}
		if !errors.Is(err, bucket.ErrConflict) {
			return e, err
		}
		// Another worker tears the same lease down. Whether it has finished or not, the
		// user of this attempt is deleted, and one of the two stores that.
		started := e.Attempt
		if e, err = t.leases.Load(ctx, e.Name()); err != nil {
			return e, err
		}
		if e.State != messages.StateRevoking || e.Attempt != started {
			return e, nil
		}
	}
	log.Info().Str("username", e.User.Name).Str("reason", string(e.Reason)).Str("state", string(e.State)).Msg("torn down")
	if emitted {
		return e, nil
	}
	return e, t.events.EmitEnded(ctx, e.Record)
}

// failed stores how far the attempt came, why it failed, and when the next is due.
func (t *Teardown) failed(ctx context.Context, log zerolog.Logger, e store.Entry, cause error) (store.Entry, error) {
	why := provider.AsError(cause)
	next := e.Record
	var err error
	if why.KeyDeleted {
		if next, err = next.KeyDeleted(t.Now()); err != nil {
			return e, err
		}
	}
	if why.Throttled {
		return t.deferred(ctx, log, e, next, why)
	}
	t.Meter.RevocationFailed()
	notVisible := why.Kind == provider.NotVisible
	text := SafeText(cause)
	if notVisible {
		text = "AWS does not show the user, which may be too young to be seen"
	}
	if next, err = next.TeardownFailed(text, t.Now()); err != nil {
		return e, err
	}
	log.Warn().Err(cause).Str("username", e.User.Name).Time("again_at", next.Due).Msg("the teardown failed")
	after, mine, err := t.save(ctx, e, next)
	if mine && !notVisible && e.TeardownError != text {
		err = t.events.EmitLease(ctx, after.Record, messages.EventRevokeFailed)
	}
	return after, err
}

// deferred stores that the rest is due later, because AWS takes no more calls now.
// That is no failure.
func (t *Teardown) deferred(ctx context.Context, log zerolog.Logger, e store.Entry, next record.Record, why error) (store.Entry, error) {
	next, err := next.DeferTeardown(spreadWait(next), t.Now())
	if err != nil {
		return e, err
	}
	log.Info().Str("why", SafeText(why)).Str("username", e.User.Name).Bool("key_deleted", !next.KeyDeletedAt.IsZero()).Time("again_at", next.Due).
		Msg("AWS takes no more calls for now; the rest is deleted later")
	after, _, err := t.save(ctx, e, next)
	return after, err
}

// save stores a record in teardown. If another worker tears the lease down too, its
// entry is returned, and mine is false.
func (t *Teardown) save(ctx context.Context, e store.Entry, next record.Record) (after store.Entry, mine bool, err error) {
	after, err = t.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		after, err = t.leases.Load(ctx, e.Name())
		return after, false, err
	}
	if err != nil {
		return e, false, fmt.Errorf("after an unfinished teardown: %w", err)
	}
	return after, true, nil
}
