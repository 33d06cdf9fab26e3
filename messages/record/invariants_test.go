package record_test

import (
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// arrows are the transitions of the package comment, by state. Every state may also
// lead to itself.
var arrows = map[messages.State][]messages.State{
	messages.StateProvisioning: {messages.StateActive, messages.StateRevoking, messages.StateFailed},
	messages.StateActive:       {messages.StateRevoking},
	messages.StateRevoking:     {messages.StateRevoked, messages.StateFailed},
	messages.StateRevoked:      {messages.StateProvisioning},
	messages.StateFailed:       {messages.StateProvisioning},
}

// checkStep checks the invariants between a record and its predecessor.
func (l *lifetime) checkStep(t *rapid.T, before record.Record, name string) {
	r := l.record
	if before.Attempt > 0 && r.State != before.State && !slices.Contains(arrows[before.State], r.State) {
		t.Fatalf("%s: led from %s to %s", name, before.State, r.State)
	}
	newAttempt := name == "new" || name == "take over" || name == "again"
	switch {
	case newAttempt && r.Attempt != before.Attempt+1:
		t.Fatalf("%s: attempt %d follows %d", name, r.Attempt, before.Attempt)
	case !newAttempt && r.Attempt != before.Attempt:
		t.Fatalf("%s: changed the attempt from %d to %d", name, before.Attempt, r.Attempt)
	case !newAttempt && r.ExpiresAt.Before(before.ExpiresAt):
		t.Fatalf("%s: the end moved back from %s to %s", name, before.ExpiresAt, r.ExpiresAt)
	case !newAttempt && !r.MaxExpiresAt.Equal(before.MaxExpiresAt):
		t.Fatalf("%s: the latest end moved from %s to %s", name, before.MaxExpiresAt, r.MaxExpiresAt)
	case !newAttempt && name != "renew" && name != "restored" && !r.ExpiresAt.Equal(before.ExpiresAt):
		t.Fatalf("%s: moved the end from %s to %s", name, before.ExpiresAt, r.ExpiresAt)
	case !newAttempt && name != "activate" && before.Sealed == nil && r.Sealed != nil:
		t.Fatalf("%s: credentials in the record after the delivery was settled", name)
	case name != "new" && r.Name() != before.Name():
		t.Fatalf("%s: the name is %s, was %s", name, r.Name(), before.Name())
	}
	if !r.State.Ended() && name != "rename" && name != "again" && name != "new" && !reflect.DeepEqual(r.User, before.User) {
		t.Fatalf("%s: changed the user:\n%+v\n%+v", name, before.User, r.User)
	}
	l.checkSessionStep(t, before, name)
	if !r.Due.IsZero() && !r.Due.Equal(before.Due) {
		if latest := l.latestDue().Add(l.behind); r.Due.After(latest) {
			t.Fatalf("%s: %s at %s, and due at %s, later than %s", name, r.State, l.now, r.Due, latest)
		}
	}
}

// latestDue returns the latest due time that [record.Timing] allows in the state.
func (l *lifetime) latestDue() time.Time {
	r := l.record
	switch {
	case r.State == messages.StateProvisioning:
		return l.now.Add(l.timing.Provision + l.wait)
	case r.State == messages.StateRevoking:
		latest := l.now.Add(max(l.timing.Teardown, record.MaxTeardownWait))
		if r.SessionDenied() && r.SessionEnd().After(latest) {
			return r.SessionEnd()
		}
		return latest
	case r.Settled():
		return r.ExpiresAt
	case r.DeliveredAt.IsZero():
		return l.now.Add(l.timing.Deliver + r.ReadyWithin.Std())
	default:
		return l.now.Add(l.timing.Confirm)
	}
}

// checkRecord checks the invariants of every record.
func (l *lifetime) checkRecord(t *rapid.T) {
	r := l.record
	if r.Sealed != nil && r.State != messages.StateActive {
		t.Fatalf("a lease that is %s has credentials", r.State)
	}
	if r.Settled() != (r.Sealed == nil) {
		t.Fatal("settled, with credentials")
	}
	if r.State == messages.StateActive && r.Settled() && r.DeliveredAt.IsZero() {
		t.Fatal("settled, and never delivered")
	}
	if r.ExpiresAt.After(r.MaxExpiresAt) {
		t.Fatalf("ends at %s, after its latest end %s", r.ExpiresAt, r.MaxExpiresAt)
	}
	if r.State == messages.StateActive && r.Due.After(r.ExpiresAt) {
		t.Fatalf("ends at %s and is due only at %s", r.ExpiresAt, r.Due)
	}
	if (r.State == messages.StateRevoking || r.State.Ended()) && r.Reason == "" {
		t.Fatalf("%s without a reason", r.State)
	}
	if r.State == messages.StateActive && !r.Settled() && !r.ConfirmBy.IsZero() && r.Due.After(r.ConfirmBy) {
		t.Fatalf("to be confirmed by %s and due only at %s", r.ConfirmBy, r.Due)
	}
	l.checkDue(t)
	checkSession(t, r)
	if r.State.Ended() {
		checkTombstone(t, r)
	}
	checkCoding(t, r)
}

// checkDue checks that a lease that has not ended has an action when it is due, and none
// before.
func (l *lifetime) checkDue(t *rapid.T) {
	r := l.record
	if r.State.Ended() {
		if !r.Due.IsZero() || r.Action(l.now.Add(1000*time.Hour)) != record.ActionNone {
			t.Fatalf("%s, and due at %s", r.State, r.Due)
		}
		return
	}
	if r.Due.IsZero() {
		t.Fatalf("%s, and never due", r.State)
	}
	if action := r.Action(r.Due.Add(-time.Nanosecond)); action != record.ActionNone {
		t.Fatalf("%s, with the action %s before it is due", r.State, action)
	}
	for _, after := range []time.Duration{0, time.Second, time.Hour, 1000 * time.Hour} {
		if r.Action(r.Due.Add(after)) == record.ActionNone {
			t.Fatalf("%s: no action %s after it was due", r.State, after)
		}
	}
	if r.State == messages.StateActive && r.Action(r.ExpiresAt) != record.ActionExpire {
		t.Fatalf("at the end the action is %q", r.Action(r.ExpiresAt))
	}
}

func checkTombstone(t *rapid.T, r record.Record) {
	if !reflect.DeepEqual(r.User, record.User{Name: r.User.Name}) || r.Sealed != nil || r.XKey != "" || r.TeardownError != "" || r.Connection != "" {
		t.Fatalf("the tombstone has unexpected fields: %+v", r)
	}
	if data := must(r.Encode()); len(data) > 1024 {
		t.Fatalf("the tombstone has %d bytes: %s", len(data), data)
	}
}

func checkCoding(t *rapid.T, r record.Record) {
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := record.Decode(data)
	if err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if !reflect.DeepEqual(back, r) {
		t.Fatalf("decoded again:\n%+v\n%+v", r, back)
	}
}

// checkNotRenewable checks that a session can't be renewed in any state.
func (l *lifetime) checkNotRenewable(t *rapid.T) {
	r := l.record
	end, err := r.RenewalEnd(messages.RenewRequest{TTL: minute, Clamp: true}, l.now, 0)
	if err == nil {
		t.Fatalf("a session that is %s can be renewed to %s", r.State, end)
	}
	if late := l.now.After(r.ExpiresAt); r.State == messages.StateActive && messages.IsCode(err, messages.CodeNotRenewable) == late {
		t.Fatalf("at %s, with its end at %s: %v", l.now, r.ExpiresAt, err)
	}
}

// checkSessionStep checks the invariants of sessions between a record and its
// predecessor.
func (l *lifetime) checkSessionStep(t *rapid.T, before record.Record, name string) {
	r := l.record
	newLease := name == "new" || name == "again"
	switch {
	case newLease && !r.DeniedAt.IsZero():
		t.Fatalf("%s: a new attempt with a Deny of %s", name, r.DeniedAt)
	case !newLease && before.DeniedAt.IsZero() && !r.DeniedAt.IsZero() && name != "deny session":
		t.Fatalf("%s: set DeniedAt", name)
	case before.SessionDenied() && !r.State.Ended() && !r.DeniedAt.Equal(before.DeniedAt):
		t.Fatalf("%s: moved DeniedAt from %s to %s", name, before.DeniedAt, r.DeniedAt)
	case before.SessionDenied() && l.now.Before(before.SessionEnd()) && r.State != messages.StateRevoking:
		t.Fatalf("%s: is %s at %s, and the session works until %s without its Deny", name, r.State, l.now, before.SessionEnd())
	case name == "deny session" && r.TeardownError != "":
		t.Fatalf("denied, with the teardown error %s", r.TeardownError)
	}
	if before.State.Ended() || !r.State.Ended() {
		return
	}
	// The transition ended the lease. Do its credentials still work?
	ms := l.now.UTC().Truncate(time.Millisecond)
	works := before.User.IsSession() && !before.IssuedAt.IsZero() && before.DeniedAt.IsZero() && ms.Before(before.ExpiresAt)
	switch want := before.ExpiresAt; {
	case works && !r.ValidUntil.Equal(want):
		t.Fatalf("%s: the credentials work until %s, and ValidUntil is %s", name, want, r.ValidUntil)
	case !works && !r.ValidUntil.IsZero():
		t.Fatalf("%s: the credentials do not work, and ValidUntil is %s", name, r.ValidUntil)
	case before.SessionDenied() && !r.EndedAt.Equal(before.DeniedAt):
		t.Fatalf("%s: ended at %s, and was denied at %s", name, r.EndedAt, before.DeniedAt)
	case !before.SessionDenied() && !r.EndedAt.Equal(ms):
		t.Fatalf("%s: ended at %s, want %s", name, r.EndedAt, ms)
	}
	if before.SessionDenied() && before.Reason != messages.ReasonFailed {
		// For the requester the lease has ended already and does not change.
		first, then := before.Lease(), r.Lease()
		first.Error = nil
		if !reflect.DeepEqual(first, then) {
			t.Fatalf("%s: shown as\n%+v, then as\n%+v", name, first, then)
		}
	}
}

// checkSession checks the invariants of records that concern sessions.
func checkSession(t *rapid.T, r record.Record) {
	if !r.DeniedAt.IsZero() && (!r.User.IsSession() || r.State != messages.StateRevoking) {
		t.Fatalf("denied, %s, and of the role %q", r.State, r.User.Role)
	}
	if r.SessionDenied() == r.DeniedAt.IsZero() {
		t.Fatalf("DeniedAt is %s, and SessionDenied %v", r.DeniedAt, r.SessionDenied())
	}
	if !r.SessionEnd().After(r.ExpiresAt) {
		t.Fatalf("the session ends at %s, not after its lease at %s", r.SessionEnd(), r.ExpiresAt)
	}
	if r.SessionDenied() && (r.Due.Before(r.SessionEnd()) || r.Action(r.SessionEnd().Add(-1)) != record.ActionNone) {
		t.Fatalf("denied until %s, and due at %s", r.SessionEnd(), r.Due)
	}
	if !r.ValidUntil.IsZero() && (!r.State.Ended() || !r.ValidUntil.Equal(r.ExpiresAt) || !r.EndedAt.Before(r.ValidUntil)) {
		t.Fatalf("%s at %s, ends at %s, valid until %s", r.State, r.EndedAt, r.ExpiresAt, r.ValidUntil)
	}
	lease := r.Lease()
	state, ended := r.State, r.EndedAt
	if r.SessionDenied() {
		state, ended = messages.StateRevoked, r.DeniedAt
		if !r.Settled() || !r.DeliverBy.IsZero() || !r.ConfirmBy.IsZero() {
			t.Fatalf("denied, and with an open delivery: %+v", r)
		}
	}
	if lease.State != state || !lease.EndedAt.Equal(ended) || !lease.ValidUntil.Equal(r.ValidUntil) {
		t.Fatalf("shown as %s, ended %s, valid until %s: %+v", lease.State, lease.EndedAt, lease.ValidUntil, r)
	}
	if lease.State.Ended() == lease.EndedAt.IsZero() {
		t.Fatalf("shown as %s, ended %s", lease.State, lease.EndedAt)
	}
}
