package record

import (
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// RenewalEnd returns the end that a renewal requests, which JetStream stored at a
// given time: a renewal that was stored before the lease's end counts, however late
// it is handled. The result is never earlier than the present end. The error is a
// [messages.Error] for the requester.
func (r Record) RenewalEnd(q messages.RenewRequest, stored time.Time, minTTL messages.Duration) (time.Time, error) {
	switch {
	case r.State == messages.StateProvisioning:
		return time.Time{}, messages.Errorf(messages.CodeUnavailable, "the lease is still being made; try again in a moment")
	case r.State != messages.StateActive:
		return time.Time{}, messages.Errorf(messages.CodeLeaseEnded, "the lease is %s", r.State)
	case stored.After(r.ExpiresAt):
		return time.Time{}, messages.Errorf(messages.CodeLeaseEnded, "the lease expired at %s", r.ExpiresAt.Format(time.RFC3339))
	case r.User.IsSession():
		return time.Time{}, messages.Errorf(messages.CodeNotRenewable, "temporary credentials can't be renewed")
	}
	ttl := q.TTL
	if ttl == 0 {
		ttl = max(r.DefaultTTL, min(minTTL, r.MaxTTL))
	}
	if ttl < minTTL {
		return time.Time{}, messages.Errorf(messages.CodeTTLBelowMin, "ttl %s is below the minimum of %s", ttl, minTTL)
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

// tooLong names the largest ttl of a renewal, if there is one.
func (r Record) tooLong(ttl messages.Duration, stored time.Time, minTTL messages.Duration) *messages.Error {
	largest := messages.Duration(r.MaxExpiresAt.Sub(stored).Truncate(time.Second))
	would := fmt.Sprintf("the largest that is possible now is %s", largest)
	if largest < max(minTTL, messages.Duration(time.Second)) {
		would = "that is too near for a renewal"
	}
	return messages.Errorf(messages.CodeTTLExceedsMax, "ttl %s goes past the latest end of the lease at %s; %s", ttl, r.MaxExpiresAt.Format(time.RFC3339), would)
}

// Renew moves the lease's end. Sequence and stored identify the renewal's message:
// [Record.RenewedWith] recognizes it when it is delivered again.
func (r Record) Renew(end time.Time, sequence uint64, stored time.Time, t Timing) (Record, error) {
	if err := r.requireState("renew", messages.StateActive); err != nil {
		return r, err
	}
	if end.After(r.MaxExpiresAt) || end.Before(r.ExpiresAt) {
		return r, fmt.Errorf("lease %s: renew: end %s is not between %s and %s", r.Name(), end, r.ExpiresAt, r.MaxExpiresAt)
	}
	if end = moment(end); end.After(r.ExpiresAt) {
		r.Announced = false
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

// RenewedWith reports whether the last renewal that counted is this message.
func (r Record) RenewedWith(sequence uint64, stored time.Time) bool {
	return r.RenewedBy == sequence && r.RenewedAt.Equal(stored)
}

// Restored gives a lease whose record comes from a backup the end that an event
// states: it was renewed since the backup, and so had been delivered. When is not known:
// at the earliest when it was issued.
func (r Record) Restored(end time.Time, renewals int, t Timing) (Record, error) {
	if err := r.requireState("restore", messages.StateActive); err != nil {
		return r, err
	}
	r.ExpiresAt = earlier(later(moment(end), r.ExpiresAt), later(r.MaxExpiresAt, r.ExpiresAt))
	r.Renewals = max(renewals, r.Renewals)
	r.Announced = false
	if r.DeliveredAt.IsZero() {
		r.DeliveredAt = r.IssuedAt
	}
	return r.settle(t), nil
}
