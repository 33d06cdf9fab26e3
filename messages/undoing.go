package messages

import (
	"fmt"
	"time"
)

// Bounds of the wait between two tries to undo a lease.
const (
	MinUndoWait = 5 * time.Second
	MaxUndoWait = time.Hour
)

// End begins the undoing of the lease. The credentials leave the record: nobody
// may get them any more.
func (r Record) End(reason Reason, note string, now time.Time, t Timing) (Record, error) {
	if err := r.must("end", StateProvisioning, StateActive); err != nil {
		return r, err
	}
	r.State = StateRevoking
	r.Reason = reason
	r.Note = note
	r.Sealed = nil
	r.DeliverBy, r.ConfirmBy = time.Time{}, time.Time{}
	r.Due = moment(now).Add(t.Undo)
	return r, nil
}

// Fail begins the undoing of a lease that can't be made, or says at once that
// nothing was.
func (r Record) Fail(failure *Error, nothingMade bool, now time.Time, t Timing) (Record, error) {
	if err := r.must("fail", StateProvisioning); err != nil {
		return r, err
	}
	r, err := r.End(ReasonFailed, "", now, t)
	if err != nil {
		return r, err
	}
	r.Failure = failure
	if nothingMade {
		return r.Ended(now)
	}
	return r, nil
}

// UndoAgain claims one more try to undo the lease.
func (r Record) UndoAgain(now time.Time, t Timing) (Record, error) {
	if err := r.must("undo again", StateRevoking); err != nil {
		return r, err
	}
	r.Due = r.notBeforeCutEnds(moment(now).Add(t.Undo))
	return r, nil
}

// notBeforeCutEnds is when to look again at a lease that is being undone: where a
// Deny holds a session off, there is nothing to do before it has expired.
func (r Record) notBeforeCutEnds(due time.Time) time.Time {
	if r.Cut() {
		return later(r.SessionEnd(), due)
	}
	return due
}

// sessionMargin is how much longer than its lease a session may last: STS gives no
// less than 15 minutes, and the lease began a moment before the session.
const sessionMargin = time.Minute

// SessionEnd is when a session has expired for certain.
func (r Record) SessionEnd() time.Time { return r.ExpiresAt.Add(sessionMargin) }

// CutOff says that a session can do nothing any more. What is due next is to tidy
// up when it has expired.
func (r Record) CutOff(now time.Time) (Record, error) {
	if err := r.must("cut off", StateRevoking); err != nil {
		return r, err
	}
	if !r.User.IsSession() {
		return r, fmt.Errorf("lease %s: cut off: it is %s, and no session of a role", r.Name(), r.State)
	}
	if r.CutAt.IsZero() {
		r.CutAt = moment(now)
	}
	r.UndoError = ""
	r.Due = later(r.SessionEnd(), moment(now))
	return r, nil
}

// KeyGone says that AWS has deleted the lease's access key. Why it could not be before
// is history.
func (r Record) KeyGone(now time.Time) (Record, error) {
	if err := r.must("key gone", StateRevoking); err != nil {
		return r, err
	}
	if r.KeyGoneAt.IsZero() {
		r.KeyGoneAt = moment(now)
		r.UndoError = ""
	}
	return r, nil
}

// UndoLater makes the lease due again after a wait, because AWS takes no more calls
// for now. That is no failure: the tries are not counted.
func (r Record) UndoLater(wait time.Duration, now time.Time) (Record, error) {
	if err := r.must("undo later", StateRevoking); err != nil {
		return r, err
	}
	r.Due = r.notBeforeCutEnds(moment(now).Add(wait))
	return r, nil
}

// UndoFailed says why the lease could not be undone, and makes it due again:
// after a while that grows with each try up to an hour, and never gives up. The
// cause must be safe to show.
func (r Record) UndoFailed(cause string, now time.Time) (Record, error) {
	if err := r.must("undo failed", StateRevoking); err != nil {
		return r, err
	}
	r.UndoError = cause
	wait := MaxUndoWait
	if r.UndoTries < 10 {
		wait = min(MinUndoWait<<r.UndoTries, MaxUndoWait)
	}
	r.UndoTries++
	r.Due = r.notBeforeCutEnds(moment(now).Add(wait))
	return r, nil
}

// Ended says that nothing of the lease is left in AWS. What stays is a small
// tombstone, never due. A session that was cut off has not ended before it has
// expired: the tombstone would no longer know of its Deny.
func (r Record) Ended(now time.Time) (Record, error) {
	if err := r.must("ended", StateRevoking); err != nil {
		return r, err
	}
	if r.Cut() && now.Before(r.SessionEnd()) {
		return r, fmt.Errorf("lease %s: ended: it is %s, and its Deny must stay until %s", r.Name(), r.State, r.SessionEnd().Format(time.RFC3339))
	}
	tomb := Record{
		Version: RecordVersion, State: StateRevoked, Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		Origin: r.Origin, Attempt: r.Attempt, User: User{Name: r.User.Name}, Labels: r.Labels,
		StartedAt: r.StartedAt, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		AccessKeyID: r.AccessKeyID, DeliveredAt: r.DeliveredAt, Renewals: r.Renewals,
		Reason: r.Reason, Note: r.Note, EndedAt: moment(now), Failure: r.Failure,
	}
	if !r.CutAt.IsZero() {
		tomb.EndedAt = r.CutAt
	} else if r.User.IsSession() && !r.IssuedAt.IsZero() && now.Before(r.ExpiresAt) {
		tomb.ValidUntil = r.ExpiresAt
	}
	if r.Reason == ReasonFailed {
		tomb.State = StateFailed
	}
	return tomb, nil
}
