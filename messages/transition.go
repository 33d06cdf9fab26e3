package messages

import (
	"fmt"
	"time"
)

// Timing is how long a lease may stay in the states that somebody must bring to
// an end.
type Timing struct {
	// Provision is how long the making of a lease may take before it counts as
	// abandoned; 0 is 30s.
	Provision time.Duration
	// Deliver is how long a finished lease may wait for its delivery before it
	// counts as undelivered; 0 is 45s. The wait for ready_within comes on top.
	Deliver time.Duration
	// Confirm is how long a requester who promised it may take to confirm; 0 is
	// 10s.
	Confirm time.Duration
	// Undo is how long the undoing of a lease may take before somebody else
	// tries; 0 is 30s.
	Undo time.Duration
	// Expiring is how long before its end a lease is announced as expiring;
	// 0 announces nothing.
	Expiring time.Duration
}

// WithDefaults fills in what is zero.
func (t Timing) WithDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.Provision, 30*time.Second)
	set(&t.Deliver, 45*time.Second)
	set(&t.Confirm, 10*time.Second)
	set(&t.Undo, 30*time.Second)
	return t
}

// Plan is what a request, its secret and the provider make of a new lease.
type Plan struct {
	Name       LeaseName
	Origin     Origin
	Request    LeaseRequest
	Connection string
	Region     string
	User       User
	TTL        Duration // what the request asked for, or the default
	DefaultTTL Duration
	MaxTTL     Duration
}

// NewRecord begins a lease: provisioning, attempt 1.
func NewRecord(p Plan, now time.Time, t Timing) Record {
	r := Record{
		Version: RecordVersion, Identity: p.Name.Identity, Secret: p.Name.Secret, ID: p.Name.ID,
		Origin: p.Origin, Connection: p.Connection, Region: p.Region, User: p.User,
		TTL: p.TTL, DefaultTTL: p.DefaultTTL, MaxTTL: p.MaxTTL,
		XKey: p.Request.XKey, Confirm: p.Request.Confirm, ReadyWithin: p.Request.ReadyWithin, Labels: p.Request.Labels,
	}
	return r.start(now, t)
}

// start begins an attempt: the lease's time runs from here, so that the end
// which AWS is told with the first call is the end that the record has.
func (r Record) start(now time.Time, t Timing) Record {
	now = moment(now)
	r.State = StateProvisioning
	r.Attempt++
	r.StartedAt = now
	r.Untouched = false
	r.ExpiresAt = now.Add(r.TTL.Std())
	r.MaxExpiresAt = now.Add(r.MaxTTL.Std())
	r.Due = now.Add(t.Provision)
	return r
}

// TakeOver continues the making of a lease that somebody else began. Whoever
// began it finds the attempt changed and stops.
func (r Record) TakeOver(origin Origin, now time.Time, t Timing) (Record, error) {
	if err := r.must("take over", StateProvisioning); err != nil {
		return r, err
	}
	r.Origin = origin
	return r.start(now, t), nil
}

// Repeatable says whether a repeated request may begin the lease anew: it has
// ended, because of something that passes, or nobody ever had its key.
func (r Record) Repeatable() bool {
	return r.State.Ended() && r.cameToNothing()
}

// WillBeRepeatable says whether the lease is being undone and will be
// [Record.Repeatable] then.
func (r Record) WillBeRepeatable() bool {
	// Of a session that is cut off the record must stay, longer than anybody waits.
	return r.State == StateRevoking && !r.Cut() && r.cameToNothing()
}

func (r Record) cameToNothing() bool {
	switch r.Reason {
	case ReasonFailed:
		return r.Failure == nil || r.Failure.Retryable
	case ReasonUndelivered:
		return true
	}
	return false
}

// Again begins an ended lease anew, as the plan says.
func (r Record) Again(p Plan, now time.Time, t Timing) (Record, error) {
	if !r.Repeatable() {
		return r, fmt.Errorf("lease %s: begin again: it is %s (%s)", r.Name(), r.State, r.Reason)
	}
	next := NewRecord(p, now, t)
	next.Attempt = r.Attempt + 1
	return next, nil
}

// Rename gives the lease another user name, where the first is somebody else's.
func (r Record) Rename(username string) (Record, error) {
	if err := r.must("rename", StateProvisioning); err != nil {
		return r, err
	}
	r.User.Name = username
	return r, nil
}

// Postpone gives a provisioning lease that waits for AWS more time before it
// counts as abandoned. Untouched says that nothing has been made so far.
func (r Record) Postpone(wait time.Duration, untouched bool, now time.Time, t Timing) (Record, error) {
	if err := r.must("postpone", StateProvisioning); err != nil {
		return r, err
	}
	r.Due = moment(now).Add(wait + t.Provision)
	r.Untouched = untouched
	return r, nil
}

// Activate says that the key exists. The record keeps it, sealed, until the
// delivery is settled.
func (r Record) Activate(accessKeyID string, sealed *Sealed, now time.Time, t Timing) (Record, error) {
	if err := r.must("activate", StateProvisioning); err != nil {
		return r, err
	}
	r.State = StateActive
	r.IssuedAt = r.StartedAt
	r.AccessKeyID = accessKeyID
	r.Sealed = sealed
	r.DeliverBy = moment(now).Add(t.Deliver + r.ReadyWithin.Std())
	r.Due = earlier(r.DeliverBy, r.ExpiresAt)
	return r, nil
}

// AnswerTo says to which message the lease's delivery is the answer, where it is
// not the one that began it but a repeat of that.
func (r Record) AnswerTo(origin Origin) Record {
	r.Origin = origin
	return r
}

// Deliver says that the credentials were handed to NATS, and nothing spoke
// against somebody having got them. Unless the requester promised to confirm,
// that settles the delivery.
func (r Record) Deliver(now time.Time, t Timing) (Record, error) {
	if err := r.must("deliver", StateActive); err != nil {
		return r, err
	}
	if r.Settled() {
		return r, nil
	}
	now = moment(now)
	r.DeliveredAt = now
	r.DeliverBy = time.Time{}
	if !r.Confirm {
		return r.settle(t), nil
	}
	r.ConfirmBy = now.Add(t.Confirm)
	r.Due = earlier(r.ConfirmBy, r.ExpiresAt)
	return r, nil
}

// Confirmed says that the requester has the key.
func (r Record) Confirmed(now time.Time, t Timing) (Record, error) {
	if err := r.must("confirm", StateActive); err != nil {
		return r, err
	}
	if r.DeliveredAt.IsZero() {
		r.DeliveredAt = moment(now)
	}
	return r.settle(t), nil
}

// settle forgets the credentials. What is due next is the end.
func (r Record) settle(t Timing) Record {
	r.Sealed = nil
	r.DeliverBy, r.ConfirmBy = time.Time{}, time.Time{}
	return r.awaitEnd(t)
}

// awaitEnd makes a settled lease due at its end, or at the announcement of it.
func (r Record) awaitEnd(t Timing) Record {
	r.Due = r.ExpiresAt
	if t.Expiring > 0 && !r.Notified {
		r.Due = r.ExpiresAt.Add(-t.Expiring)
	}
	return r
}

// Announce says that the lease's expiring event is out.
func (r Record) Announce(t Timing) (Record, error) {
	if err := r.must("announce", StateActive); err != nil {
		return r, err
	}
	r.Notified = true
	if r.Settled() {
		return r.awaitEnd(t), nil
	}
	return r, nil
}

// RenewalEnd computes the end that a renewal asks for, stored at a time. It is
// the lease's own end where that is later. The error is an [Error] for the
// requester.
func (r Record) RenewalEnd(q RenewRequest, stored time.Time, minTTL Duration) (time.Time, error) {
	if r.State == StateProvisioning {
		return time.Time{}, Errorf(CodeUnavailable, "the lease is still being made; try again in a moment")
	}
	if r.State != StateActive {
		return time.Time{}, Errorf(CodeLeaseEnded, "the lease is %s", r.State)
	}
	if stored.After(r.ExpiresAt) {
		return time.Time{}, Errorf(CodeLeaseEnded, "the lease expired at %s", r.ExpiresAt.Format(time.RFC3339))
	}
	if r.User.IsSession() {
		return time.Time{}, Errorf(CodeNotRenewable, "temporary credentials can't be renewed")
	}
	ttl := q.TTL
	if ttl == 0 {
		ttl = max(r.DefaultTTL, min(minTTL, r.MaxTTL))
	}
	if ttl < minTTL {
		return time.Time{}, Errorf(CodeTTLBelowMin, "ttl %s is below the minimum of %s", ttl, minTTL)
	}
	end := stored.UTC().Add(ttl.Std())
	if end.After(r.MaxExpiresAt) {
		if !q.Clamp {
			return time.Time{}, r.tooLong(ttl, stored, minTTL)
		}
		end = r.MaxExpiresAt
	}
	return later(end, r.ExpiresAt), nil
}

// tooLong names the largest ttl that a renewal may ask for, if there is one.
func (r Record) tooLong(ttl Duration, stored time.Time, minTTL Duration) *Error {
	largest := Duration(r.MaxExpiresAt.Sub(stored).Truncate(time.Second))
	would := fmt.Sprintf("the largest that would do now is %s", largest)
	if largest < max(minTTL, Duration(time.Second)) {
		would = "that is too near for another renewal"
	}
	return Errorf(CodeTTLExceedsMax, "ttl %s goes past the lease's last end at %s; %s", ttl, r.MaxExpiresAt.Format(time.RFC3339), would)
}

// Renew moves the lease's end. Sequence and stored are the renewal's in its
// stream: one that has counted counts no more ([Record.RenewedWith]).
func (r Record) Renew(end time.Time, sequence uint64, stored time.Time, t Timing) (Record, error) {
	if err := r.must("renew", StateActive); err != nil {
		return r, err
	}
	if end.After(r.MaxExpiresAt) || end.Before(r.ExpiresAt) {
		return r, fmt.Errorf("lease %s: renew: end %s is not between %s and %s", r.Name(), end, r.ExpiresAt, r.MaxExpiresAt)
	}
	if end = moment(end); end.After(r.ExpiresAt) {
		r.Notified = false
	}
	r.ExpiresAt = end
	r.Renewals++
	r.RenewedBy, r.RenewedAt = sequence, stored.UTC()
	if r.Settled() {
		return r.awaitEnd(t), nil
	}
	r.Due = earlier(later(r.DeliverBy, r.ConfirmBy), r.ExpiresAt)
	return r, nil
}

// Restored gives a lease whose record was restored from a backup the end that an event
// tells of: it was renewed since, and therefore delivered.
func (r Record) Restored(end time.Time, renewals int, t Timing) (Record, error) {
	if err := r.must("give the end of an event", StateActive); err != nil {
		return r, err
	}
	r.ExpiresAt = earlier(later(moment(end), r.ExpiresAt), later(r.MaxExpiresAt, r.ExpiresAt))
	r.Renewals = max(renewals, r.Renewals)
	r.Notified = false
	return r.settle(t), nil
}

// RenewedWith says whether the last renewal that counted is this message.
func (r Record) RenewedWith(sequence uint64, stored time.Time) bool {
	return r.RenewedBy == sequence && r.RenewedAt.Equal(stored)
}

// Task is what is due about a lease.
type Task string

// What may be due.
const (
	TaskNone     Task = ""         // nothing, for now
	TaskAbandon  Task = "abandon"  // nobody finished making it: undo
	TaskGiveUp   Task = "give up"  // nobody got it, or nobody confirmed: undo
	TaskExpire   Task = "expire"   // its time is over: undo
	TaskAnnounce Task = "announce" // its time is over soon: tell
	TaskUndo     Task = "undo"     // it was being undone and is not yet: go on
)

// Task says what is due about the lease now.
func (r Record) Task(now time.Time) Task {
	if r.Due.IsZero() || now.Before(r.Due) {
		return TaskNone
	}
	switch r.State {
	case StateProvisioning:
		return TaskAbandon
	case StateRevoking:
		return TaskUndo
	case StateActive:
		switch {
		case !now.Before(r.ExpiresAt):
			return TaskExpire
		case !r.Settled():
			return TaskGiveUp
		default:
			return TaskAnnounce
		}
	}
	return TaskNone
}

func (r Record) must(transition string, states ...State) error {
	for _, s := range states {
		if r.State == s {
			return nil
		}
	}
	return fmt.Errorf("lease %s: %s: it is %s", r.Name(), transition, r.State)
}

// moment is a time as records have it: in UTC, and no finer than milliseconds.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
