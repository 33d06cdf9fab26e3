package record_test

import (
	"reflect"
	"regexp"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestRenewalEnd(t *testing.T) {
	r := settledLease() // ends at 12:15, at the latest at noon of the next day; default 1h
	hour := 60 * minute
	for _, c := range []struct {
		name    string
		request messages.RenewRequest
		stored  time.Time
		want    time.Time
	}{
		{"the message's own time counts", messages.RenewRequest{TTL: hour}, noon.Add(time.Minute), noon.Add(61 * time.Minute)},
		{"without a ttl the default of the secret", messages.RenewRequest{}, noon, noon.Add(time.Hour)},
		{"never earlier than the present end", messages.RenewRequest{TTL: minute}, noon, noon.Add(15 * time.Minute)},
		{"stored at the very end", messages.RenewRequest{TTL: hour}, r.ExpiresAt, r.ExpiresAt.Add(time.Hour)},
		{"up to the latest end", messages.RenewRequest{TTL: 24 * hour}, noon, r.MaxExpiresAt},
		{"clamped to the latest end", messages.RenewRequest{TTL: 48 * hour, Clamp: true}, noon, r.MaxExpiresAt},
		{"clamp changes nothing below it", messages.RenewRequest{TTL: hour, Clamp: true}, noon, noon.Add(time.Hour)},
		{"the minimum itself", messages.RenewRequest{TTL: minute}, r.ExpiresAt.Add(-time.Second), r.ExpiresAt.Add(59 * time.Second)},
		{"in UTC", messages.RenewRequest{TTL: hour}, noon.In(time.FixedZone("east", 3600)), noon.Add(time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := r.RenewalEnd(c.request, c.stored, minute)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestRenewalEndRefuses(t *testing.T) {
	r := settledLease()
	hour := 60 * minute
	for _, c := range []struct {
		name    string
		record  record.Record
		request messages.RenewRequest
		stored  time.Time
		code    messages.Code
		words   []string
	}{
		{"stored after the end", r, messages.RenewRequest{TTL: hour}, r.ExpiresAt.Add(1), messages.CodeLeaseEnded, []string{"2026-11-22T12:15:00Z"}},
		{"clamp does not revive it", r, messages.RenewRequest{TTL: hour, Clamp: true}, r.ExpiresAt.Add(1), messages.CodeLeaseEnded, nil},
		{"below the minimum", r, messages.RenewRequest{TTL: minute - 1}, noon, messages.CodeTTLBelowMin, []string{"59s", "1m"}},
		{"clamp does not help below the minimum", r, messages.RenewRequest{TTL: minute - 1, Clamp: true}, noon, messages.CodeTTLBelowMin, nil},
		{"past the latest end", r, messages.RenewRequest{TTL: 24*hour + 1}, noon, messages.CodeTTLExceedsMax, []string{"1d", "2026-11-23T12:00:00Z"}},
		{"provisioning", inState(messages.StateProvisioning), messages.RenewRequest{TTL: hour}, noon, messages.CodeUnavailable, []string{"still being made"}},
		{"revoking", inState(messages.StateRevoking), messages.RenewRequest{TTL: hour}, noon, messages.CodeLeaseEnded, []string{"revoking"}},
		{"revoked", inState(messages.StateRevoked), messages.RenewRequest{TTL: hour}, noon, messages.CodeLeaseEnded, []string{"revoked"}},
		{"failed", inState(messages.StateFailed), messages.RenewRequest{TTL: hour}, noon, messages.CodeLeaseEnded, []string{"failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			end, err := c.record.RenewalEnd(c.request, c.stored, minute)
			wantCode(t, err, c.code, c.words...)
			if !end.IsZero() {
				t.Errorf("got an error and the end %s", end)
			}
		})
	}
}

// The time at which JetStream stored the renewal counts, not the time at which a worker
// handles it.
func TestRenewalStoredInTimeCountsAfterTheEnd(t *testing.T) {
	r := settledLease()
	now := r.ExpiresAt.Add(10 * time.Second)
	if r.Action(now) != record.ActionExpire {
		t.Fatal("the lease has not expired")
	}
	end, err := r.RenewalEnd(messages.RenewRequest{TTL: 60 * minute}, r.ExpiresAt.Add(-time.Second), minute)
	if err != nil {
		t.Fatal(err)
	}
	if r = must(r.Renew(end, 7, noon, timing)); r.Action(now) != record.ActionNone {
		t.Errorf("after the renewal the action is %q", r.Action(now))
	}
}

// A renewal without a ttl never fails for a ttl below the minimum.
func TestRenewalWithoutTTLMeetsTheMinimum(t *testing.T) {
	r := settledLease()
	r.DefaultTTL = minute / 2
	end, err := r.RenewalEnd(messages.RenewRequest{}, r.ExpiresAt, minute)
	if want := r.ExpiresAt.Add(time.Minute); err != nil || !end.Equal(want) {
		t.Errorf("got %s, %v; want %s", end, err, want)
	}
}

func TestErrorNamesNoTTLWhenNoneIsPossible(t *testing.T) {
	r := settledLease()
	r = must(r.Renew(r.MaxExpiresAt, 1, noon, timing))
	for _, c := range []struct {
		before time.Duration
		minTTL messages.Duration
	}{{0, minute}, {time.Millisecond, minute}, {59 * time.Second, minute}, {0, 0}, {999 * time.Millisecond, 0}} {
		_, err := r.RenewalEnd(messages.RenewRequest{TTL: 60 * minute}, r.MaxExpiresAt.Add(-c.before), c.minTTL)
		wantCode(t, err, messages.CodeTTLExceedsMax)
		if m := largestNamed.FindString(err.Error()); m != "" {
			t.Errorf("%s before the latest end the error names %q, which is not possible", c.before, m)
		}
	}
}

var largestNamed = regexp.MustCompile(`largest that is possible now is (\w+)`)

func TestRenewalEndIsWithinBoundsAndErrorsNameTheLargestTTL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, noon)
		r := must(record.New(p, noon, timing).Activate("AKIAX", nil, noon, timing))
		// The lease may have been renewed; the request is stored during its life or shortly after.
		left := r.MaxExpiresAt.Sub(r.ExpiresAt)
		r.ExpiresAt = r.ExpiresAt.Add(time.Duration(rapid.Int64Range(0, int64(left)).Draw(t, "renewed by")))
		stored := noon.Add(time.Duration(rapid.Int64Range(0, int64(r.ExpiresAt.Sub(noon))+int64(time.Minute)).Draw(t, "stored")))
		seconds := func(name string, most int64) messages.Duration {
			return messages.Duration(time.Duration(rapid.Int64Range(0, most).Draw(t, name)) * time.Second)
		}
		q := messages.RenewRequest{TTL: seconds("ttl", 2*86400), Clamp: rapid.Bool().Draw(t, "clamp")}
		minTTL := seconds("min_ttl", 120)
		ttl := q.TTL
		if ttl == 0 {
			ttl = max(r.DefaultTTL, min(minTTL, r.MaxTTL))
		}

		end, err := r.RenewalEnd(q, stored, minTTL)
		if err != nil {
			if e := messages.AsError(err); e.Code == messages.CodeTTLExceedsMax {
				checkNamedTTL(t, r, e.Message, stored, minTTL)
				if q.Clamp {
					t.Fatal("refused as too long with clamp")
				}
			} else if !stored.After(r.ExpiresAt) && ttl >= minTTL {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		want := stored.Add(ttl.Std())
		if q.Clamp && want.After(r.MaxExpiresAt) {
			want = r.MaxExpiresAt
		}
		if want.Before(r.ExpiresAt) {
			want = r.ExpiresAt
		}
		if stored.After(r.ExpiresAt) || ttl < minTTL || !end.Equal(want) {
			t.Fatalf("got %s, want %s (ttl %s stored at %s)", end, want, ttl, stored)
		}
		if _, err := r.Renew(end, 1, noon, timing); err != nil {
			t.Fatalf("Renew refuses the end: %v", err)
		}
	})
}

func checkNamedTTL(t *rapid.T, r record.Record, message string, stored time.Time, minTTL messages.Duration) {
	m := largestNamed.FindStringSubmatch(message)
	if m == nil {
		if most := r.MaxExpiresAt.Sub(stored).Truncate(time.Second); most >= max(minTTL.Std(), time.Second) {
			t.Fatalf("%s is possible, and not named: %s", most, message)
		}
		return
	}
	largest := must(messages.ParseDuration(m[1]))
	if end, err := r.RenewalEnd(messages.RenewRequest{TTL: largest}, stored, minTTL); err != nil {
		t.Fatalf("the named ttl %s is refused: %v", largest, err)
	} else if end.After(r.MaxExpiresAt) {
		t.Fatalf("the named ttl %s ends at %s, after %s", largest, end, r.MaxExpiresAt)
	}
	if _, err := r.RenewalEnd(messages.RenewRequest{TTL: largest + messages.Duration(time.Second)}, stored, minTTL); err == nil {
		t.Fatalf("a second more than %s is accepted", largest)
	}
}

func TestSessionsAreNotRenewable(t *testing.T) {
	active := must(sessionIn(messages.StateActive).Confirmed(noon, timing))
	for _, c := range []struct {
		name   string
		record record.Record
		stored time.Time
		code   messages.Code
	}{
		{"active", active, noon.Add(time.Minute), messages.CodeNotRenewable},
		{"to be delivered", sessionIn(messages.StateActive), noon.Add(time.Minute), messages.CodeNotRenewable},
		{"at its end", active, active.ExpiresAt, messages.CodeNotRenewable},
		{"after its end", active, active.ExpiresAt.Add(1), messages.CodeLeaseEnded},
		{"provisioning", sessionIn(messages.StateProvisioning), noon, messages.CodeUnavailable},
		{"revoking", sessionIn(messages.StateRevoking), noon, messages.CodeLeaseEnded},
		{"denied", deniedSession(), noon, messages.CodeLeaseEnded},
		{"revoked", sessionIn(messages.StateRevoked), noon, messages.CodeLeaseEnded},
		{"failed", sessionIn(messages.StateFailed), noon, messages.CodeLeaseEnded},
	} {
		for _, q := range []messages.RenewRequest{{}, {TTL: hour}, {TTL: 100 * 24 * hour}, {TTL: second}, {TTL: 100 * 24 * hour, Clamp: true}} {
			end, err := c.record.RenewalEnd(q, c.stored, minute)
			wantCode(t, err, c.code)
			if !end.IsZero() {
				t.Errorf("%s: got an error and the end %s", c.name, end)
			}
			if e := messages.AsError(err); c.code == messages.CodeNotRenewable && (e.Retryable || e.Status() != "409") {
				t.Errorf("%s: %+v, %s", c.name, e, e.Status())
			}
		}
	}
}

func TestRenewMovesTheEndAndNothingElse(t *testing.T) {
	r := settledLease()
	end := r.ExpiresAt.Add(time.Hour)
	got := must(r.Renew(end.In(time.FixedZone("east", 3600)), 41, noon, timing))
	want := r
	want.ExpiresAt, want.Due, want.Renewals, want.RenewedBy, want.RenewedAt = end, end.Add(-timing.Expiring), 1, 41, noon
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

// An open delivery is due at the end of the lease if that is before the deadline of its
// confirmation. A renewal must move the due time.
func TestRenewMovesTheDueTimeOfAnOpenDelivery(t *testing.T) {
	patient := record.Timing{Confirm: 10 * time.Minute}.WithDefaults()
	plan := record.Plan{
		Name: messages.LeaseName{Identity: "a", Secret: "b", ID: "c"}, Request: messages.LeaseRequest{Confirm: true},
		TTL: messages.Duration(time.Minute), MaxTTL: messages.Duration(24 * time.Hour),
	}
	r := must(record.New(plan, noon, patient).Activate("AKIA", &messages.Sealed{}, noon, patient))
	for state, open := range map[string]record.Record{"undelivered": r, "unconfirmed": must(r.Deliver(noon, patient))} {
		renewed := must(open.Renew(noon.Add(time.Hour), 1, noon, patient))
		want := renewed.ConfirmBy
		if state == "undelivered" {
			if want = renewed.DeliverBy; want.After(noon.Add(time.Minute)) {
				t.Fatal("the deadline of the delivery is not before the old end")
			}
		}
		if !renewed.Due.Equal(want) {
			t.Errorf("%s: due at %s, want %s", state, renewed.Due, want)
		}
	}
}

func TestRenewKeepsTheDueTimeOfAnOpenDelivery(t *testing.T) {
	r := must(inState(messages.StateActive).Deliver(noon.Add(time.Second), timing))
	if got := must(r.Renew(r.ExpiresAt.Add(time.Hour), 41, noon, timing)); !got.Due.Equal(r.Due) || got.Settled() {
		t.Errorf("due at %s, was %s; settled: %v", got.Due, r.Due, got.Settled())
	}
}

func TestRenewRefusesAnEndOutOfBounds(t *testing.T) {
	r := settledLease()
	for name, end := range map[string]time.Time{
		"earlier":          r.ExpiresAt.Add(-time.Nanosecond),
		"past the maximum": r.MaxExpiresAt.Add(time.Nanosecond),
	} {
		if next, err := r.Renew(end, 1, noon, timing); err == nil || !reflect.DeepEqual(next, r) {
			t.Errorf("%s: accepted (%v)", name, err)
		}
	}
	for name, end := range map[string]time.Time{"the same": r.ExpiresAt, "the maximum": r.MaxExpiresAt} {
		if _, err := r.Renew(end, 1, noon, timing); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An event may state any end. The result is not before the record's end and not after
// the latest end.
func TestRestoredLeaseHasTheLaterEnd(t *testing.T) {
	r := inState(messages.StateActive)
	for name, c := range map[string]struct{ stated, want time.Time }{
		"later":    {r.ExpiresAt.Add(time.Hour), r.ExpiresAt.Add(time.Hour)},
		"earlier":  {r.ExpiresAt.Add(-time.Minute), r.ExpiresAt},
		"too late": {r.MaxExpiresAt.Add(time.Hour), r.MaxExpiresAt},
	} {
		next, err := r.Restored(c.stated, 3, timing)
		if err != nil || !next.ExpiresAt.Equal(c.want) || next.Renewals != 3 || !next.Settled() || !next.Due.Equal(c.want.Add(-timing.Expiring)) {
			t.Errorf("%s: %+v, %v", name, next, err)
		}
	}
}
