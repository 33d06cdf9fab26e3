package record_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// transitions are all transitions, with valid arguments.
var transitions = map[string]func(record.Record) (record.Record, error){
	"TakeOver": func(r record.Record) (record.Record, error) {
		return r.TakeOver(record.Origin{Sequence: 99, Stored: noon, Fingerprint: "beef"}, noon.Add(time.Second), timing)
	},
	"Again": func(r record.Record) (record.Record, error) {
		return r.Again(plan(), noon.Add(time.Second), timing)
	},
	"Rename": func(r record.Record) (record.Record, error) { return r.Rename("other") },
	"Postpone": func(r record.Record) (record.Record, error) {
		return r.Postpone(time.Minute, false, noon.Add(time.Second), timing)
	},
	"Activate": func(r record.Record) (record.Record, error) {
		return r.Activate("AKIAY", &messages.Sealed{From: "X", Box: []byte{1}}, noon.Add(time.Second), timing)
	},
	"Deliver":   func(r record.Record) (record.Record, error) { return r.Deliver(noon.Add(time.Second), timing) },
	"Confirmed": func(r record.Record) (record.Record, error) { return r.Confirmed(noon.Add(time.Second), timing) },
	"Announce":  func(r record.Record) (record.Record, error) { return r.Announce(timing) },
	"Renew": func(r record.Record) (record.Record, error) {
		return r.Renew(r.ExpiresAt.Add(time.Minute), 7, noon, timing)
	},
	"Restored": func(r record.Record) (record.Record, error) {
		return r.Restored(r.ExpiresAt.Add(time.Minute), r.Renewals+1, timing)
	},
	"End": func(r record.Record) (record.Record, error) {
		return r.End(messages.ReasonRequested, "done", noon.Add(time.Second), timing)
	},
	"Fail": func(r record.Record) (record.Record, error) {
		return r.Fail(messages.Errorf(messages.CodeProviderDenied, "no"), false, noon.Add(time.Second), timing)
	},
	"DenySession":    func(r record.Record) (record.Record, error) { return r.DenySession(noon.Add(time.Second)) },
	"RetryTeardown":  func(r record.Record) (record.Record, error) { return r.RetryTeardown(noon.Add(time.Second), timing) },
	"TeardownFailed": func(r record.Record) (record.Record, error) { return r.TeardownFailed("away", noon.Add(time.Second)) },
	"KeyDeleted":     func(r record.Record) (record.Record, error) { return r.KeyDeleted(noon.Add(time.Second)) },
	"DeferTeardown": func(r record.Record) (record.Record, error) {
		return r.DeferTeardown(time.Minute, noon.Add(time.Second))
	},
	"Ended": func(r record.Record) (record.Record, error) { return r.Ended(noon.Add(time.Second)) },
}

func TestTransitionsExistOnlyFromTheirStates(t *testing.T) {
	const provisioning, active, revoking = messages.StateProvisioning, messages.StateActive, messages.StateRevoking
	want := map[string]map[messages.State]messages.State{
		"TakeOver":       {provisioning: provisioning},
		"Again":          {}, // these tombstones are not repeatable; TestAgain has those that are
		"Rename":         {provisioning: provisioning},
		"Postpone":       {provisioning: provisioning},
		"Activate":       {provisioning: active},
		"Deliver":        {active: active},
		"Confirmed":      {active: active},
		"Announce":       {active: active},
		"Renew":          {active: active},
		"Restored":       {active: active},
		"End":            {provisioning: revoking, active: revoking},
		"Fail":           {provisioning: revoking},
		"DenySession":    {}, // an IAM user is deleted; TestSessionTransitions has sessions
		"RetryTeardown":  {revoking: revoking},
		"KeyDeleted":     {revoking: revoking},
		"DeferTeardown":  {revoking: revoking},
		"TeardownFailed": {revoking: revoking},
		"Ended":          {revoking: messages.StateRevoked},
	}
	for name, transition := range transitions {
		for _, from := range states {
			t.Run(name+"/"+string(from), func(t *testing.T) {
				before := inState(from)
				next, err := transition(before)
				if !reflect.DeepEqual(before, inState(from)) {
					t.Error("the old record was changed")
				}
				to, possible := want[name][from]
				if !possible {
					if err == nil {
						t.Fatalf("led to %s", next.State)
					}
					if !reflect.DeepEqual(next, before) {
						t.Errorf("an error and a changed record:\n%+v\n%+v", before, next)
					}
					if !strings.Contains(err.Error(), before.Name().String()) || !strings.Contains(err.Error(), string(from)) {
						t.Errorf("error %q does not name the lease and the state", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if next.State != to {
					t.Errorf("led to %s, want %s", next.State, to)
				}
			})
		}
	}
}

func TestNewRecordHasEverythingThatTeardownNeeds(t *testing.T) {
	p := plan()
	r := record.New(p, noon, timing)
	want := record.Record{
		Version: record.Version, Due: noon.Add(30 * time.Second), State: messages.StateProvisioning,
		Identity: "alice", Secret: "ci", ID: p.Name.ID, Origin: p.Origin, Attempt: 1,
		Connection: p.Connection, Region: p.Region, User: p.User, TTL: p.TTL, DefaultTTL: p.DefaultTTL, MaxTTL: p.MaxTTL,
		XKey: "XABC", Confirm: true, ReadyWithin: p.Request.ReadyWithin, Labels: p.Request.Labels,
		StartedAt: noon, ExpiresAt: noon.Add(15 * time.Minute), MaxExpiresAt: noon.Add(24 * time.Hour),
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got\n%+v, want\n%+v", r, want)
	}
}

func TestNewRecordHasTimesInUTC(t *testing.T) {
	r := record.New(plan(), noon.In(time.FixedZone("east", 7200)), timing)
	if r.StartedAt.Location() != time.UTC || r.ExpiresAt.Location() != time.UTC || r.Due.Location() != time.UTC {
		t.Errorf("times are not in UTC: %s, %s, %s", r.StartedAt, r.ExpiresAt, r.Due)
	}
}

func TestTakeOverRestartsTheLeaseTime(t *testing.T) {
	later := noon.Add(10 * time.Minute)
	origin := record.Origin{Sequence: 99, Stored: later, Fingerprint: "beef"}
	r := must(inState(messages.StateProvisioning).TakeOver(origin, later, timing))
	want := record.New(plan(), later, timing)
	want.Origin, want.Attempt = origin, 2
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got\n%+v, want\n%+v", r, want)
	}
}

func TestAgainNeedsARetryableFailureOrAnUndeliveredKey(t *testing.T) {
	failed := func(code messages.Code) record.Record {
		return must(inState(messages.StateProvisioning).Fail(messages.Errorf(code, "no"), true, noon, timing))
	}
	ended := func(reason messages.Reason) record.Record {
		return must(must(inState(messages.StateActive).End(reason, "", noon, timing)).Ended(noon))
	}
	for _, c := range []struct {
		name   string
		record record.Record
		want   bool
	}{
		{"failed with a retryable error", failed(messages.CodeProviderUnavailable), true},
		{"abandoned", failed(messages.CodeAbandoned), true},
		{"failed with another error", failed(messages.CodeProviderDenied), false},
		{"failed without an error", ended(messages.ReasonFailed), true},
		{"undelivered", ended(messages.ReasonUndelivered), true},
		{"expired", ended(messages.ReasonExpired), false},
		{"revoked on request", ended(messages.ReasonRequested), false},
		{"revoked by an operator", ended(messages.ReasonOperator), false},
		{"secret deleted", ended(messages.ReasonSecretDeleted), false},
		{"provisioning", inState(messages.StateProvisioning), false},
		{"active", inState(messages.StateActive), false},
		{"undelivered, in teardown", must(inState(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.record.Repeatable(); got != c.want {
				t.Errorf("Repeatable is %v", got)
			}
			later := noon.Add(time.Hour)
			next, err := c.record.Again(plan(), later, timing)
			if !c.want {
				if err == nil || !reflect.DeepEqual(next, c.record) {
					t.Errorf("began again: %+v, %v", next, err)
				}
				return
			}
			want := record.New(plan(), later, timing)
			want.Attempt = c.record.Attempt + 1
			if err != nil || !reflect.DeepEqual(next, want) {
				t.Errorf("got %v\n%+v, want\n%+v", err, next, want)
			}
		})
	}
}

func TestPostponeAddsTheWaitToTheProvisioningTime(t *testing.T) {
	r := inState(messages.StateProvisioning)
	at := noon.Add(20 * time.Second)
	got := must(r.Postpone(2*time.Minute, false, at, timing))
	want := r
	want.Due = at.Add(2*time.Minute + 30*time.Second)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestOnlyALeaseInTeardownWillBeRepeatable(t *testing.T) {
	for _, s := range states {
		if r := inState(s); r.WillBeRepeatable() {
			t.Errorf("%s, %s", s, r.Reason)
		}
	}
	undelivered := must(inState(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing))
	if !undelivered.WillBeRepeatable() {
		t.Error("undelivered, in teardown: not repeatable")
	}
	if must(undelivered.Ended(noon)).WillBeRepeatable() {
		t.Error("it has ended, so it is repeatable already")
	}
}

func TestActionOfEveryState(t *testing.T) {
	provisioning, active, settled := inState(messages.StateProvisioning), inState(messages.StateActive), settledLease()
	revoking := inState(messages.StateRevoking)
	for _, c := range []struct {
		name   string
		record record.Record
		now    time.Time
		want   record.Action
	}{
		{"provisioning, in time", provisioning, provisioning.Due.Add(-1), record.ActionNone},
		{"provisioning, late", provisioning, provisioning.Due, record.ActionAbandon},
		{"provisioning, past its end", provisioning, provisioning.ExpiresAt.Add(time.Hour), record.ActionAbandon},
		{"to be delivered, in time", active, active.Due.Add(-1), record.ActionNone},
		{"to be delivered, late", active, active.Due, record.ActionGiveUp},
		{"to be delivered, past its end", active, active.ExpiresAt, record.ActionExpire},
		{"active, long before its end", settled, settled.Due.Add(-1), record.ActionNone},
		{"active, soon before its end", settled, settled.ExpiresAt.Add(-timing.Expiring), record.ActionAnnounce},
		{"active, a moment before its end", settled, settled.ExpiresAt.Add(-1), record.ActionAnnounce},
		{"active, at its end", settled, settled.ExpiresAt, record.ActionExpire},
		{"revoking, claimed", revoking, revoking.Due.Add(-1), record.ActionNone},
		{"revoking, claim over", revoking, revoking.Due, record.ActionTeardown},
		{"revoked", inState(messages.StateRevoked), noon.Add(1000 * time.Hour), record.ActionNone},
		{"failed", inState(messages.StateFailed), noon.Add(1000 * time.Hour), record.ActionNone},
	} {
		if got := c.record.Action(c.now); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTimingDefaultsReplaceOnlyZeroValues(t *testing.T) {
	want := record.Timing{Provision: 30 * time.Second, Deliver: 45 * time.Second, Confirm: 10 * time.Second, Teardown: 30 * time.Second}
	if got := (record.Timing{}).WithDefaults(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	own := record.Timing{Provision: 1, Deliver: 2, Confirm: 3, Teardown: 4, Expiring: 5}
	if got := own.WithDefaults(); got != own {
		t.Errorf("got %+v, want %+v", got, own)
	}
}
