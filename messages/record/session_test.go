package record_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestSessionTransitions(t *testing.T) {
	const provisioning, active, revoking = messages.StateProvisioning, messages.StateActive, messages.StateRevoking
	want := map[messages.State]messages.State{revoking: revoking}
	for _, from := range states {
		before := sessionIn(from)
		next, err := before.DenySession(noon.Add(time.Hour))
		if !reflect.DeepEqual(before, sessionIn(from)) {
			t.Errorf("%s: the old record was changed", from)
		}
		if to, possible := want[from]; possible {
			if err != nil || next.State != to {
				t.Errorf("%s: led to %s, %v", from, next.State, err)
			}
			continue
		}
		if err == nil || !reflect.DeepEqual(next, before) {
			t.Errorf("%s: led to %s, %v", from, next.State, err)
		} else if !strings.Contains(err.Error(), before.Name().String()) || !strings.Contains(err.Error(), string(from)) {
			t.Errorf("error %q does not name the lease and the state", err)
		}
	}
	for _, from := range []messages.State{provisioning, active, revoking} {
		r := inState(from)
		if next, err := r.DenySession(noon); err == nil || !reflect.DeepEqual(next, r) {
			t.Errorf("%s, an IAM user: led to %s, %v", from, next.State, err)
		}
	}
}

func TestDenySessionIsDueAtTheSessionEnd(t *testing.T) {
	ending := must(sessionIn(messages.StateRevoking).TeardownFailed("AWS is away", noon.Add(5*time.Minute)))
	end := noon.Add(time.Hour + time.Minute)
	for _, c := range []struct {
		name     string
		now      time.Time
		cut, due time.Time
	}{
		{"at once", noon.Add(6 * time.Minute), noon.Add(6 * time.Minute), end},
		{"to the millisecond, in UTC", noon.Add(6*time.Minute + 1234567).In(time.FixedZone("east", 3600)), noon.Add(6*time.Minute + time.Millisecond), end},
		{"a moment before the end", end.Add(-time.Millisecond), end.Add(-time.Millisecond), end},
		{"at the end", end, end, end},
		{"after it", end.Add(time.Minute), end.Add(time.Minute), end.Add(time.Minute)},
	} {
		got := must(ending.DenySession(c.now))
		want := ending
		want.DeniedAt, want.Due, want.TeardownError = c.cut, c.due, ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", c.name, got, want)
		}
	}
}

// The Deny may be restored later; the session ended with the first one.
func TestTimeOfTheFirstDenyIsKept(t *testing.T) {
	r := deniedSession()
	again := must(r.DenySession(noon.Add(30 * time.Minute)))
	if !reflect.DeepEqual(again, r) {
		t.Errorf("got\n%+v, want\n%+v", again, r)
	}
}

func TestSessionEndIsAMinuteAfterTheLeaseEnd(t *testing.T) {
	if got := sessionIn(messages.StateActive).SessionEnd(); !got.Equal(noon.Add(61 * time.Minute)) {
		t.Errorf("got %s", got)
	}
}

func TestSessionDenied(t *testing.T) {
	for _, s := range states {
		if sessionIn(s).SessionDenied() || inState(s).SessionDenied() {
			t.Errorf("%s: SessionDenied is true", s)
		}
		r := sessionIn(s)
		r.DeniedAt = noon
		if r.SessionDenied() != (s == messages.StateRevoking) {
			t.Errorf("%s with DeniedAt: %v", s, r.SessionDenied())
		}
	}
	if !deniedSession().SessionDenied() {
		t.Error("SessionDenied is false")
	}
}

// Without its Deny, a session that has not expired works again.
func TestDenyStaysUntilTheSessionHasExpired(t *testing.T) {
	r := deniedSession()
	end := r.SessionEnd()
	for name, early := range map[string]time.Time{"long before": noon.Add(10 * time.Minute), "at the lease's end": r.ExpiresAt, "a moment before": end.Add(-1)} {
		if action := r.Action(early); action != record.ActionNone {
			t.Errorf("%s: the action is %q", name, action)
		}
		next, err := r.Ended(early)
		if err == nil || !reflect.DeepEqual(next, r) {
			t.Errorf("%s: Ended accepted it (%v)", name, err)
		} else if !strings.Contains(err.Error(), r.Name().String()) || !strings.Contains(err.Error(), "2026-11-22T13:01:00Z") {
			t.Errorf("error %q does not name the lease and the end", err)
		}
		// A worker may handle it early, by an operator's command or with a clock that is ahead.
		for how, later := range map[string]record.Record{
			"claimed": must(r.RetryTeardown(early, timing)), "failed": must(r.TeardownFailed("away", early)), "denied again": must(r.DenySession(early)),
		} {
			if later.Due.Before(end) {
				t.Errorf("%s %s: due at %s, before %s", how, name, later.Due, end)
			}
			if !later.DeniedAt.Equal(r.DeniedAt) {
				t.Errorf("%s %s: denied at %s", how, name, later.DeniedAt)
			}
		}
	}
	if action := r.Action(end); action != record.ActionTeardown {
		t.Errorf("at its end the action is %q", action)
	}
	if got := must(r.RetryTeardown(end, timing)); !got.Due.Equal(end.Add(30 * time.Second)) {
		t.Errorf("claimed at the end, and due at %s", got.Due)
	}
	if got := must(r.TeardownFailed("away", end)); !got.Due.Equal(end.Add(record.MinTeardownWait)) {
		t.Errorf("failed at the end, and due at %s", got.Due)
	}
	if _, err := r.Ended(end); err != nil {
		t.Error(err)
	}
}

func TestTombstoneOfASessionStatesHowLongItWorks(t *testing.T) {
	expires := noon.Add(time.Hour)
	issued, cut := sessionIn(messages.StateRevoking), deniedSession()
	undenied := issued
	undenied.User.DenyOnRevoke = false
	never := must(sessionIn(messages.StateProvisioning).End(messages.ReasonSecretDeleted, "", noon, timing))
	for _, c := range []struct {
		name         string
		record       record.Record
		now          time.Time
		ended, valid time.Time
	}{
		{"long before its end", issued, noon.Add(10 * time.Minute), noon.Add(10 * time.Minute), expires},
		{"without deny_on_revoke", undenied, noon.Add(10 * time.Minute), noon.Add(10 * time.Minute), expires},
		{"a moment before its end", issued, expires.Add(-1), expires.Add(-time.Millisecond), expires},
		{"at its end", issued, expires, expires, time.Time{}},
		{"a moment after its end", issued, expires.Add(time.Millisecond), expires.Add(time.Millisecond), time.Time{}},
		{"denied", cut, cut.SessionEnd(), cut.DeniedAt, time.Time{}},
		{"denied, cleanup is late", cut, cut.SessionEnd().Add(time.Hour), cut.DeniedAt, time.Time{}},
		{"never issued", never, noon.Add(time.Minute), noon.Add(time.Minute), time.Time{}},
		{"an IAM user", inState(messages.StateRevoking), noon, noon, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tomb := must(c.record.Ended(c.now))
			if !tomb.EndedAt.Equal(c.ended) || !tomb.ValidUntil.Equal(c.valid) || !tomb.DeniedAt.IsZero() {
				t.Errorf("ended %s, valid until %s, denied at %s", tomb.EndedAt, tomb.ValidUntil, tomb.DeniedAt)
			}
			if !reflect.DeepEqual(tomb.User, record.User{Name: c.record.User.Name}) {
				t.Errorf("the tombstone has the user %+v", tomb.User)
			}
			if l := tomb.Lease(); l.State != messages.StateRevoked || !l.EndedAt.Equal(c.ended) || !l.ValidUntil.Equal(c.valid) {
				t.Errorf("shown as %+v", l)
			}
		})
	}
}

func TestDeniedSessionIsRepeatableOnlyWithoutItsDeny(t *testing.T) {
	cut := must(must(sessionIn(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing)).DenySession(noon))
	// A request does not wait for it either: it may take hours.
	if cut.Repeatable() || cut.WillBeRepeatable() {
		t.Errorf("repeatable %v, will be %v", cut.Repeatable(), cut.WillBeRepeatable())
	}
	if _, err := cut.Again(plan(), noon, timing); err == nil {
		t.Error("began again while its Deny is in force")
	}
	tomb := must(cut.Ended(cut.SessionEnd()))
	if next := must(tomb.Again(sessionPlan(), noon, timing)); !next.DeniedAt.IsZero() || !next.ValidUntil.IsZero() || !next.EndedAt.IsZero() {
		t.Errorf("began again with fields of the ended lease: %+v", next)
	}
}
