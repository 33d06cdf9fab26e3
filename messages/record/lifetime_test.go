package record_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// lifetime applies random transitions to a lease, by workers whose clocks differ by some
// seconds.
type lifetime struct {
	record record.Record
	now    time.Time
	timing record.Timing
	plan   record.Plan
	wait   time.Duration // the longest wait of Postpone
	behind time.Duration // how far a clock may be behind the clock that wrote the record
}

func drawTiming(t *rapid.T) record.Timing {
	d := func(name string) time.Duration {
		return time.Duration(rapid.Int64Range(0, 120).Draw(t, name)) * time.Second
	}
	return record.Timing{
		Provision: d("provision"), Deliver: d("deliver"), Confirm: d("confirm"), Teardown: d("undo"), Expiring: d("expiring"),
	}.WithDefaults()
}

func drawPlan(t *rapid.T, now time.Time) record.Plan {
	maxTTL := rapid.Int64Range(1, 86400).Draw(t, "max_ttl")
	second := func(n int64) messages.Duration { return messages.Duration(time.Duration(n) * time.Second) }
	p := record.Plan{
		Name:       messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct"},
		Origin:     record.Origin{Sequence: rapid.Uint64().Draw(t, "sequence"), Stored: now, Fingerprint: "f00d"},
		Connection: "default-us-east-1",
		Region:     "us-east-1",
		TTL:        second(rapid.Int64Range(1, maxTTL).Draw(t, "ttl")),
		DefaultTTL: second(rapid.Int64Range(1, maxTTL).Draw(t, "default_ttl")),
		MaxTTL:     second(maxTTL),
		Request: messages.LeaseRequest{
			Confirm:     rapid.Bool().Draw(t, "confirm"),
			ReadyWithin: second(rapid.Int64Range(0, 60).Draw(t, "ready_within")),
		},
		User: record.User{
			Name: "lessor-alice-x", Path: "/lessor/", Boundary: "arn:aws:iam::123456789012:policy/b",
			Groups: []string{"deployers"}, ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
			InlinePolicy: []byte(`{"Version":"2012-10-17"}`), Tags: map[string]string{"team": "platform"},
			HardExpiry: rapid.SampledFrom([]messages.HardExpiry{"lease", "max_ttl", "none"}).Draw(t, "hard_expiry"),
		},
	}
	if rapid.Bool().Draw(t, "has xkey") {
		p.Request.XKey = "XABC"
	}
	if rapid.Bool().Draw(t, "has labels") {
		p.Request.Labels = map[string]string{"job": "1234"}
	}
	return p
}

// drawAnyPlan returns a plan for an IAM user or for a role session.
func drawAnyPlan(t *rapid.T, now time.Time) record.Plan {
	p := drawPlan(t, now)
	if rapid.Bool().Draw(t, "session") {
		p.User = sessionPlan().User
		p.User.DenyOnRevoke = rapid.Bool().Draw(t, "deny_on_revoke")
	}
	return p
}

func beginLifetime(t *rapid.T) *lifetime {
	l := &lifetime{now: noon.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "ns"))), timing: drawTiming(t)}
	l.plan = drawAnyPlan(t, l.now)
	l.record = record.New(l.plan, l.now, l.timing)
	l.checkStep(t, record.Record{}, "new")
	return l
}

// step checks the result of a transition and makes it the current record. In a state from
// which the transition does not exist, the result must be an error and the old record.
func (l *lifetime) step(t *rapid.T, name string, possible bool, next record.Record, err error) {
	before := l.record
	if !possible {
		if err == nil {
			t.Fatalf("%s: accepted for a lease that is %s", name, before.State)
		}
		if !reflect.DeepEqual(next, before) {
			t.Fatalf("%s: an error and a changed record:\n%+v\n%+v", name, before, next)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: refused for a lease that is %s: %v", name, before.State, err)
	}
	l.record = next
	l.checkStep(t, before, name)
}

func (l *lifetime) is(states ...messages.State) bool { return slices.Contains(states, l.record.State) }

// Short names of the states in this file.
const (
	provisioning = messages.StateProvisioning
	active       = messages.StateActive
	revoking     = messages.StateRevoking
)

// actions returns all transitions, each with the states from which it exists.
func (l *lifetime) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){}
	for _, group := range []map[string]func(*rapid.T){l.clockActions(), l.provisioningActions(), l.activeActions(), l.teardownActions()} {
		maps.Copy(all, group)
	}
	return all
}

// clockActions let time pass, for one worker or between two.
func (l *lifetime) clockActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"time passes": func(t *rapid.T) {
			l.now = l.now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "passes")))
		},
		"until due": func(*rapid.T) {
			if l.record.Due.After(l.now) {
				l.now = l.record.Due
			}
		},
		"another clock": func(t *rapid.T) {
			behind := time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "behind"))
			l.now = l.now.Add(-behind)
			l.behind += behind
		},
	}
}

// provisioningActions are the transitions from provisioning.
func (l *lifetime) provisioningActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"take over": func(t *rapid.T) {
			o := record.Origin{Sequence: rapid.Uint64().Draw(t, "sequence"), Stored: l.now, Fingerprint: "beef"}
			next, err := l.record.TakeOver(o, l.now, l.timing)
			l.step(t, "take over", l.is(provisioning), next, err)
		},
		"again": func(t *rapid.T) {
			p := drawAnyPlan(t, l.now)
			next, err := l.record.Again(p, l.now, l.timing)
			l.step(t, "again", l.record.Repeatable(), next, err)
		},
		"rename": func(t *rapid.T) {
			next, err := l.record.Rename("lessor-alice-y")
			l.step(t, "rename", l.is(provisioning), next, err)
		},
		"postpone": func(t *rapid.T) {
			wait := time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "wait"))
			l.wait = max(l.wait, wait)
			next, err := l.record.Postpone(wait, false, l.now, l.timing)
			l.step(t, "postpone", l.is(provisioning), next, err)
		},
		"activate": func(t *rapid.T) {
			next, err := l.record.Activate("AKIAX", &messages.Sealed{From: "XABC", Box: []byte("box")}, l.now, l.timing)
			l.step(t, "activate", l.is(provisioning), next, err)
		},
		"fail": func(t *rapid.T) {
			code := rapid.SampledFrom([]messages.Code{messages.CodeProviderDenied, messages.CodeProviderUnavailable}).Draw(t, "code")
			next, err := l.record.Fail(messages.Errorf(code, "no"), rapid.Bool().Draw(t, "nothing made"), l.now, l.timing)
			l.step(t, "fail", l.is(provisioning), next, err)
		},
	}
}

// activeActions are the transitions from active.
func (l *lifetime) activeActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"deliver": func(t *rapid.T) {
			next, err := l.record.Deliver(l.now, l.timing)
			l.step(t, "deliver", l.is(active), next, err)
		},
		"confirmed": func(t *rapid.T) {
			next, err := l.record.Confirmed(l.now, l.timing)
			l.step(t, "confirmed", l.is(active), next, err)
		},
		"announce": func(t *rapid.T) {
			next, err := l.record.Announce(l.timing)
			l.step(t, "announce", l.is(active), next, err)
		},
		"renew": func(t *rapid.T) {
			if l.record.User.IsSession() {
				l.checkNotRenewable(t)
				return
			}
			low, high := l.record.ExpiresAt.Add(-time.Minute), l.record.MaxExpiresAt.Add(time.Minute)
			end := low.Add(time.Duration(rapid.Int64Range(0, int64(high.Sub(low))).Draw(t, "end")))
			fits := !end.Before(l.record.ExpiresAt) && !end.After(l.record.MaxExpiresAt)
			next, err := l.record.Renew(end, rapid.Uint64().Draw(t, "sequence"), noon, l.timing)
			l.step(t, "renew", l.is(active) && fits, next, err)
		},
		"restored": func(t *rapid.T) {
			if l.record.User.IsSession() {
				return // it can't be renewed, so no event states another end
			}
			end := l.record.ExpiresAt.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "later")))
			next, err := l.record.Restored(end, l.record.Renewals+1, l.timing)
			l.step(t, "restored", l.is(active), next, err)
		},
		"end": func(t *rapid.T) {
			reason := rapid.SampledFrom([]messages.Reason{
				messages.ReasonExpired, messages.ReasonRequested, messages.ReasonUndelivered, messages.ReasonFailed,
			}).Draw(t, "reason")
			next, err := l.record.End(reason, "because", l.now, l.timing)
			l.step(t, "end", l.is(provisioning, active), next, err)
		},
	}
}

// teardownActions are the transitions from revoking.
func (l *lifetime) teardownActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"retry teardown": func(t *rapid.T) {
			next, err := l.record.RetryTeardown(l.now, l.timing)
			l.step(t, "retry teardown", l.is(revoking), next, err)
		},
		"teardown failed": func(t *rapid.T) {
			next, err := l.record.TeardownFailed("AWS is away", l.now)
			l.step(t, "teardown failed", l.is(revoking), next, err)
		},
		"defer teardown": func(t *rapid.T) {
			wait := time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "wait"))
			next, err := l.record.DeferTeardown(wait, l.now)
			l.step(t, "defer teardown", l.is(revoking), next, err)
		},
		"key deleted": func(t *rapid.T) {
			next, err := l.record.KeyDeleted(l.now)
			l.step(t, "key deleted", l.is(revoking), next, err)
		},
		"deny session": func(t *rapid.T) {
			next, err := l.record.DenySession(l.now)
			l.step(t, "deny session", l.is(revoking) && l.record.User.IsSession(), next, err)
		},
		"ended": func(t *rapid.T) {
			will, denied := l.record.WillBeRepeatable(), l.record.SessionDenied()
			next, err := l.record.Ended(l.now)
			early := l.record.SessionDenied() && l.now.Before(l.record.SessionEnd())
			l.step(t, "ended", l.is(revoking) && !early, next, err)
			if err == nil && next.Repeatable() != will && !denied { // WillBeRepeatable is false for denied sessions
				t.Fatalf("repeatable is %v, and WillBeRepeatable was %v: %+v", !will, will, next)
			}
		},
	}
}

// denied reports whether a teardown now adds a Deny to the role, which must stay until
// the session has expired.
func (l *lifetime) denied() bool {
	r := l.record
	return r.User.IsSession() && r.User.DenyOnRevoke && !r.IssuedAt.IsZero() && r.Reason != messages.ReasonExpired && l.now.Before(r.SessionEnd())
}

func TestEveryLifetimeKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := beginLifetime(t)
		actions := l.actions()
		actions[""] = l.checkRecord
		t.Repeat(actions)
	})
}

// After any transitions, the actions that are due end the lease, and on time.
func TestSchedulerAloneEndsEveryLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := beginLifetime(t)
		t.Repeat(l.actions())
		awayFor := rapid.IntRange(0, 20).Draw(t, "AWS away for")
		for range 100 {
			if l.record.State.Ended() {
				return
			}
			if l.record.Due.After(l.now) {
				l.now = l.record.Due
			}
			var err error
			switch action := l.record.Action(l.now); action {
			case record.ActionAbandon:
				l.record, err = l.record.Fail(messages.Errorf(messages.CodeAbandoned, "the worker stopped"), false, l.now, l.timing)
			case record.ActionGiveUp:
				l.record, err = l.record.End(messages.ReasonUndelivered, "", l.now, l.timing)
			case record.ActionExpire:
				l.record, err = l.record.End(messages.ReasonExpired, "", l.now, l.timing)
			case record.ActionAnnounce:
				l.record, err = l.record.Announce(l.timing)
			case record.ActionTeardown:
				if awayFor--; awayFor > 0 {
					l.record, err = l.record.TeardownFailed("AWS is away", l.now)
				} else if l.denied() {
					l.record, err = l.record.DenySession(l.now)
				} else {
					l.record, err = l.record.Ended(l.now)
				}
			default:
				t.Fatalf("due at %s, %s, and no action", l.record.Due, l.record.State)
			}
			if err != nil {
				t.Fatal(err)
			}
			l.checkRecord(t)
		}
		t.Fatalf("still %s after 100 steps", l.record.State)
	})
}
