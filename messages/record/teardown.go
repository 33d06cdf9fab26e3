package record

import (
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Bounds of the wait between two attempts at a teardown.
const (
	MinTeardownWait = 5 * time.Second
	MaxTeardownWait = time.Hour
)

// End begins the teardown of the lease. The credentials leave the record, so that
// they can't be delivered any more.
func (r Record) End(reason messages.Reason, note string, now time.Time, t Timing) (Record, error) {
	if err := r.requireState("end", messages.StateProvisioning, messages.StateActive); err != nil {
		return r, err
	}
	r.State = messages.StateRevoking
	r.Reason = reason
	r.Note = note
	r.Sealed = nil
	r.DeliverBy, r.ConfirmBy = time.Time{}, time.Time{}
	r.Due = moment(now).Add(t.Teardown)
	return r, nil
}

// Fail begins the teardown of a lease that can't be made or, if nothing was made,
// ends it at once.
func (r Record) Fail(failure *messages.Error, nothingMade bool, now time.Time, t Timing) (Record, error) {
	if err := r.requireState("fail", messages.StateProvisioning); err != nil {
		return r, err
	}
	r, err := r.End(messages.ReasonFailed, "", now, t)
	if err != nil {
		return r, err
	}
	r.Failure = failure
	if nothingMade {
		return r.Ended(now)
	}
	return r, nil
}

// RetryTeardown claims one more attempt at the teardown.
func (r Record) RetryTeardown(now time.Time, t Timing) (Record, error) {
	if err := r.requireState("retry teardown", messages.StateRevoking); err != nil {
		return r, err
	}
	r.Due = r.notBeforeSessionEnd(moment(now).Add(t.Teardown))
	return r, nil
}

// notBeforeSessionEnd returns due, or the end of a session that is denied if that is
// later: until then there is nothing to do.
func (r Record) notBeforeSessionEnd(due time.Time) time.Time {
	if r.SessionDenied() {
		return later(r.SessionEnd(), due)
	}
	return due
}

// sessionMargin is how much longer than its lease a session may last: the lease
// begins a moment before AssumeRole.
const sessionMargin = time.Minute

// SessionEnd is when a session has certainly expired.
func (r Record) SessionEnd() time.Time { return r.ExpiresAt.Add(sessionMargin) }

// DenySession says that a Deny on the role is in force and the session may do
// nothing any more. The lease is due next when the session has expired.
func (r Record) DenySession(now time.Time) (Record, error) {
	if err := r.requireState("deny session", messages.StateRevoking); err != nil {
		return r, err
	}
	if !r.User.IsSession() {
		return r, fmt.Errorf("lease %s: deny session: it is %s, and an IAM user", r.Name(), r.State)
	}
	if r.DeniedAt.IsZero() {
		r.DeniedAt = moment(now)
	}
	r.TeardownError = ""
	r.Due = later(r.SessionEnd(), moment(now))
	return r, nil
}

// KeyDeleted says that AWS has acknowledged the deletion of the access key. An error
// of an earlier teardown no longer applies.
func (r Record) KeyDeleted(now time.Time) (Record, error) {
	if err := r.requireState("key deleted", messages.StateRevoking); err != nil {
		return r, err
	}
	if r.KeyDeletedAt.IsZero() {
		r.KeyDeletedAt = moment(now)
		r.TeardownError = ""
	}
	return r, nil
}

// DeferTeardown makes the lease due again after a wait, because AWS takes no more
// calls now. It does not count as a failed teardown.
func (r Record) DeferTeardown(wait time.Duration, now time.Time) (Record, error) {
	if err := r.requireState("defer teardown", messages.StateRevoking); err != nil {
		return r, err
	}
	r.Due = r.notBeforeSessionEnd(moment(now).Add(wait))
	return r, nil
}

// TeardownFailed keeps why the teardown failed and makes the lease due again after
// a wait that doubles with each failure, up to an hour. There is no last attempt.
// The cause must be safe to show.
func (r Record) TeardownFailed(cause string, now time.Time) (Record, error) {
	if err := r.requireState("teardown failed", messages.StateRevoking); err != nil {
		return r, err
	}
	r.TeardownError = cause
	wait := MaxTeardownWait
	if r.TeardownTries < 10 {
		wait = min(MinTeardownWait<<r.TeardownTries, MaxTeardownWait)
	}
	r.TeardownTries++
	r.Due = r.notBeforeSessionEnd(moment(now).Add(wait))
	return r, nil
}

// Ended says that nothing of the lease is left in AWS, and returns its tombstone. A
// session that is denied has not ended before it has expired, because the tombstone
// does not know of the Deny.
func (r Record) Ended(now time.Time) (Record, error) {
	if err := r.requireState("ended", messages.StateRevoking); err != nil {
		return r, err
	}
	if r.SessionDenied() && now.Before(r.SessionEnd()) {
		return r, fmt.Errorf("lease %s: ended: its Deny must stay until %s", r.Name(), r.SessionEnd().Format(time.RFC3339))
	}
	tomb := Record{
		Version: Version, State: messages.StateRevoked, Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		Origin: r.Origin, Attempt: r.Attempt, User: User{Name: r.User.Name}, Labels: r.Labels,
		StartedAt: r.StartedAt, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		AccessKeyID: r.AccessKeyID, DeliveredAt: r.DeliveredAt, Renewals: r.Renewals,
		Reason: r.Reason, Note: r.Note, EndedAt: moment(now), Failure: r.Failure,
	}
	if !r.DeniedAt.IsZero() {
		tomb.EndedAt = r.DeniedAt
	} else if r.User.IsSession() && !r.IssuedAt.IsZero() && now.Before(r.ExpiresAt) {
		tomb.ValidUntil = r.ExpiresAt
	}
	if r.Reason == messages.ReasonFailed {
		tomb.State = messages.StateFailed
	}
	return tomb, nil
}
