package record

import (
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Plan is a new lease as its request and its secret define it.
type Plan struct {
	Name       messages.LeaseName
	Origin     Origin
	Request    messages.LeaseRequest
	Connection string
	Region     string
	User       User
	TTL        messages.Duration // of the request, or the default
	DefaultTTL messages.Duration
	MaxTTL     messages.Duration
}

// New begins a lease: provisioning, attempt 1.
func New(p Plan, now time.Time, t Timing) Record {
	r := Record{
		Version: Version, Identity: p.Name.Identity, Secret: p.Name.Secret, ID: p.Name.ID,
		Origin: p.Origin, Connection: p.Connection, Region: p.Region, User: p.User,
		TTL: p.TTL, DefaultTTL: p.DefaultTTL, MaxTTL: p.MaxTTL,
		XKey: p.Request.XKey, Confirm: p.Request.Confirm, ReadyWithin: p.Request.ReadyWithin, Labels: p.Request.Labels,
	}
	return r.start(now, t)
}

// start begins an attempt. The lease's time runs from here, so that the end that AWS
// receives with the first call is the end in the record.
func (r Record) start(now time.Time, t Timing) Record {
	now = moment(now)
	r.State = messages.StateProvisioning
	r.Attempt++
	r.StartedAt = now
	r.NothingMade = false
	r.ExpiresAt = now.Add(r.TTL.Std())
	r.MaxExpiresAt = now.Add(r.MaxTTL.Std())
	r.Due = now.Add(t.Provision)
	return r
}

// TakeOver begins another attempt at a lease that a worker began and did not finish.
// That worker, if it is still running, finds the attempt changed and stops.
func (r Record) TakeOver(origin Origin, now time.Time, t Timing) (Record, error) {
	if err := r.requireState("take over", messages.StateProvisioning); err != nil {
		return r, err
	}
	r.Origin = origin
	return r.start(now, t), nil
}

// Repeatable reports whether a repeated request may begin the lease anew: it has
// ended for a reason that passes, or its key reached no requester.
func (r Record) Repeatable() bool { return r.State.Ended() && r.endedUnused() }

// WillBeRepeatable reports whether the lease is in teardown and will be
// [Record.Repeatable] after it. The record of a denied session stays until the
// session has expired, which is longer than a request waits.
func (r Record) WillBeRepeatable() bool {
	return r.State == messages.StateRevoking && !r.SessionDenied() && r.endedUnused()
}

func (r Record) endedUnused() bool {
	switch r.Reason {
	case messages.ReasonFailed:
		return r.Failure == nil || r.Failure.Retryable
	case messages.ReasonUndelivered:
		return true
	}
	return false
}

// Again begins an ended lease anew, as the plan says.
func (r Record) Again(p Plan, now time.Time, t Timing) (Record, error) {
	if !r.Repeatable() {
		return r, fmt.Errorf("lease %s: begin again: it is %s (%s)", r.Name(), r.State, r.Reason)
	}
	next := New(p, now, t)
	next.Attempt = r.Attempt + 1
	return next, nil
}

// Rename gives the lease another user name, because AWS has a foreign user of the
// first.
func (r Record) Rename(username string) (Record, error) {
	if err := r.requireState("rename", messages.StateProvisioning); err != nil {
		return r, err
	}
	r.User.Name = username
	return r, nil
}

// Postpone gives a provisioning lease that waits for AWS more time before it counts
// as abandoned. nothingMade says that nothing exists in AWS so far.
func (r Record) Postpone(wait time.Duration, nothingMade bool, now time.Time, t Timing) (Record, error) {
	if err := r.requireState("postpone", messages.StateProvisioning); err != nil {
		return r, err
	}
	r.Due = moment(now).Add(wait + t.Provision)
	r.NothingMade = nothingMade
	return r, nil
}

// Activate says that the key exists. The record keeps it, sealed, until the delivery
// is settled.
func (r Record) Activate(accessKeyID string, sealed *messages.Sealed, now time.Time, t Timing) (Record, error) {
	if err := r.requireState("activate", messages.StateProvisioning); err != nil {
		return r, err
	}
	r.State = messages.StateActive
	r.IssuedAt = r.StartedAt // the lease's time runs from the begin of the attempt
	r.AccessKeyID = accessKeyID
	r.Sealed = sealed
	r.DeliverBy = moment(now).Add(t.Deliver + r.ReadyWithin.Std())
	r.Due = earlier(r.DeliverBy, r.ExpiresAt)
	return r, nil
}

// ReadyBy is when the wait for AWS to accept the key ends (ready_within).
func (r Record) ReadyBy(t Timing) time.Time { return r.DeliverBy.Add(-t.Deliver) }

// WithOrigin returns the record with another origin: the message that the delivery
// answers, which may be a repeat of the one that began the lease.
func (r Record) WithOrigin(origin Origin) Record {
	r.Origin = origin
	return r
}

// Deliver says that NATS has taken the delivery and has not answered "no
// responders". Unless the requester promised to confirm, that settles it.
func (r Record) Deliver(now time.Time, t Timing) (Record, error) {
	if err := r.requireState("deliver", messages.StateActive); err != nil {
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
	if err := r.requireState("confirm", messages.StateActive); err != nil {
		return r, err
	}
	if r.DeliveredAt.IsZero() {
		r.DeliveredAt = moment(now)
	}
	return r.settle(t), nil
}

// settle drops the credentials. The lease is due next at its end.
func (r Record) settle(t Timing) Record {
	r.Sealed = nil
	r.DeliverBy, r.ConfirmBy = time.Time{}, time.Time{}
	return r.awaitEnd(t)
}

// awaitEnd makes a settled lease due at its end, or at the announcement of it.
func (r Record) awaitEnd(t Timing) Record {
	r.Due = r.ExpiresAt
	if t.Expiring > 0 && !r.Announced {
		r.Due = r.ExpiresAt.Add(-t.Expiring)
	}
	return r
}

// Announce says that the event expiring is out.
func (r Record) Announce(t Timing) (Record, error) {
	if err := r.requireState("announce", messages.StateActive); err != nil {
		return r, err
	}
	r.Announced = true
	if r.Settled() {
		return r.awaitEnd(t), nil
	}
	return r, nil
}

// Action is what is due about a lease.
type Action string

// The actions.
const (
	ActionNone     Action = ""            // nothing is due now
	ActionAbandon  Action = "abandon"     // provisioning was not finished: tear it down
	ActionGiveUp   Action = "undelivered" // the delivery was not settled: tear it down
	ActionExpire   Action = "expire"      // it has reached its end: tear it down
	ActionAnnounce Action = "announce"    // it will reach its end soon: emit the event
	ActionTeardown Action = "teardown"    // it is in teardown: continue
)

// EndsLease reports whether the action ends a lease that is not in teardown yet.
func (a Action) EndsLease() bool {
	return a == ActionExpire || a == ActionGiveUp || a == ActionAbandon
}

// Action returns what is due about the lease now.
func (r Record) Action(now time.Time) Action {
	if r.Due.IsZero() || now.Before(r.Due) {
		return ActionNone
	}
	switch r.State {
	case messages.StateProvisioning:
		return ActionAbandon
	case messages.StateRevoking:
		return ActionTeardown
	case messages.StateActive:
		switch {
		case !now.Before(r.ExpiresAt):
			return ActionExpire
		case !r.Settled():
			return ActionGiveUp
		default:
			return ActionAnnounce
		}
	}
	return ActionNone
}

// requireState returns an error that names the transition if the record is in none of the
// states.
func (r Record) requireState(transition string, states ...messages.State) error {
	for _, s := range states {
		if r.State == s {
			return nil
		}
	}
	return fmt.Errorf("lease %s: %s: it is %s", r.Name(), transition, r.State)
}
