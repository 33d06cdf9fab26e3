package record_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// lifetime is a lease that is led through its life at random, by workers whose
// clocks differ a little.
type lifetime struct {
	record record.Record
	now    time.Time
	timing record.Timing
	plan   record.Plan
	wait   time.Duration // the longest that Postpone was asked for
	behind time.Duration // how far clocks may be behind that which the record was written by
}

var (
	live   = []messages.State{messages.StateProvisioning, messages.StateActive, messages.StateRevoking}
	states = append(slices.Clone(live), messages.StateRevoked, messages.StateFailed)
)

// arrows are the package comment's: from which states to which a transition may
// lead. A loop is always allowed.
var arrows = map[messages.State][]messages.State{
	messages.StateProvisioning: {messages.StateActive, messages.StateRevoking, messages.StateFailed},
	messages.StateActive:       {messages.StateRevoking},
	messages.StateRevoking:     {messages.StateRevoked, messages.StateFailed},
	messages.StateRevoked:      {messages.StateProvisioning},
	messages.StateFailed:       {messages.StateProvisioning},
}

func drawTiming(t *rapid.T) record.Timing {
	d := func(name string) time.Duration {
		return time.Duration(rapid.Int64Range(0, 120).Draw(t, name)) * time.Second
	}
	return record.Timing{
		Provision: d("provision"), Deliver: d("deliver"), Confirm: d("confirm"), Undo: d("undo"), Expiring: d("expiring"),
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

// drawAnyPlan is a plan for an IAM user or for a session of a role.
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

// step takes a transition's result. From a state in which the transition does
// not exist, it must be an error and change nothing.
func (l *lifetime) step(t *rapid.T, name string, possible bool, next record.Record, err error) {
	before := l.record
	if !possible {
		if err == nil {
			t.Fatalf("%s: a lease that is %s took it", name, before.State)
		}
		if !reflect.DeepEqual(next, before) {
			t.Fatalf("%s: refused, and changed the record all the same:\n%+v\n%+v", name, before, next)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: a lease that is %s refused it: %v", name, before.State, err)
	}
	l.record = next
	l.checkStep(t, before, name)
}

func (l *lifetime) is(states ...messages.State) bool { return slices.Contains(states, l.record.State) }

// actions are all transitions, each with the states from which it exists.
func (l *lifetime) actions() map[string]func(*rapid.T) {
	const (
		provisioning, active, revoking = messages.StateProvisioning, messages.StateActive, messages.StateRevoking
	)
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
		"end": func(t *rapid.T) {
			reason := rapid.SampledFrom([]messages.Reason{
				messages.ReasonExpired, messages.ReasonRequested, messages.ReasonUndelivered, messages.ReasonFailed,
			}).Draw(t, "reason")
			next, err := l.record.End(reason, "because", l.now, l.timing)
			l.step(t, "end", l.is(provisioning, active), next, err)
		},
		"fail": func(t *rapid.T) {
			code := rapid.SampledFrom([]messages.Code{messages.CodeProviderDenied, messages.CodeProviderUnavailable}).Draw(t, "code")
			next, err := l.record.Fail(messages.Errorf(code, "no"), rapid.Bool().Draw(t, "nothing made"), l.now, l.timing)
			l.step(t, "fail", l.is(provisioning), next, err)
		},
		"undo again": func(t *rapid.T) {
			next, err := l.record.RetryTeardown(l.now, l.timing)
			l.step(t, "undo again", l.is(revoking), next, err)
		},
		"undo failed": func(t *rapid.T) {
			next, err := l.record.TeardownFailed("AWS is away", l.now)
			l.step(t, "undo failed", l.is(revoking), next, err)
		},
		"cut off": func(t *rapid.T) {
			next, err := l.record.DenySession(l.now)
			l.step(t, "cut off", l.is(revoking) && l.record.User.IsSession(), next, err)
		},
		"ended": func(t *rapid.T) {
			will, cut := l.record.WillBeRepeatable(), l.record.Cut()
			next, err := l.record.Ended(l.now)
			early := l.record.Cut() && l.now.Before(l.record.SessionEnd())
			l.step(t, "ended", l.is(revoking) && !early, next, err)
			if err == nil && next.Repeatable() != will && !cut { // one that is cut off foretells nothing
				t.Fatalf("repeatable is %v, and was foretold to be %v: %+v", !will, will, next)
			}
		},
	}
}

// checkStep checks what must hold between a record and the one before it.
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
		t.Fatalf("%s: the end went back from %s to %s", name, before.ExpiresAt, r.ExpiresAt)
	case !newAttempt && !r.MaxExpiresAt.Equal(before.MaxExpiresAt):
		t.Fatalf("%s: the last end moved from %s to %s", name, before.MaxExpiresAt, r.MaxExpiresAt)
	case !newAttempt && name != "renew" && !r.ExpiresAt.Equal(before.ExpiresAt):
		t.Fatalf("%s: moved the end from %s to %s", name, before.ExpiresAt, r.ExpiresAt)
	case !newAttempt && name != "activate" && before.Sealed == nil && r.Sealed != nil:
		t.Fatalf("%s: credentials came back after the delivery was settled", name)
	case name != "new" && r.Name() != before.Name():
		t.Fatalf("%s: the lease is called %s and no longer %s", name, r.Name(), before.Name())
	}
	if !r.State.Ended() && name != "rename" && name != "again" && name != "new" && !reflect.DeepEqual(r.User, before.User) {
		t.Fatalf("%s: changed the user:\n%+v\n%+v", name, before.User, r.User)
	}
	l.checkSessionStep(t, before, name)
	if !r.Due.IsZero() && !r.Due.Equal(before.Due) {
		if latest := l.latestDue().Add(l.behind); r.Due.After(latest) {
			t.Fatalf("%s: %s at %s, and due only at %s, after %s", name, r.State, l.now, r.Due, latest)
		}
	}
}

// latestDue is the bound that [record.Timing] documents for the state.
func (l *lifetime) latestDue() time.Time {
	r := l.record
	switch {
	case r.State == messages.StateProvisioning:
		return l.now.Add(l.timing.Provision + l.wait)
	case r.State == messages.StateRevoking:
		latest := l.now.Add(max(l.timing.Teardown, record.MaxTeardownWait))
		if r.Cut() && r.SessionEnd().After(latest) {
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

// checkRecord checks what must hold of every record.
func (l *lifetime) checkRecord(t *rapid.T) {
	r := l.record
	if r.Sealed != nil && r.State != messages.StateActive {
		t.Fatalf("a lease that is %s holds credentials", r.State)
	}
	if r.Settled() != (r.Sealed == nil) {
		t.Fatal("settled, with credentials")
	}
	if r.State == messages.StateActive && r.Settled() && r.DeliveredAt.IsZero() {
		t.Fatal("settled, and never delivered")
	}
	if r.ExpiresAt.After(r.MaxExpiresAt) {
		t.Fatalf("ends at %s, after its last end %s", r.ExpiresAt, r.MaxExpiresAt)
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

// checkDue checks that nothing is ever stuck, and nothing done too early.
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
	if task := r.Action(r.Due.Add(-time.Nanosecond)); task != record.ActionNone {
		t.Fatalf("%s, and to %s before it is due", r.State, task)
	}
	for _, after := range []time.Duration{0, time.Second, time.Hour, 1000 * time.Hour} {
		if r.Action(r.Due.Add(after)) == record.ActionNone {
			t.Fatalf("%s: nothing to do %s after it was due", r.State, after)
		}
	}
	if r.State == messages.StateActive && r.Action(r.ExpiresAt) != record.ActionExpire {
		t.Fatalf("at its end there is %q to do", r.Action(r.ExpiresAt))
	}
}

func checkTombstone(t *rapid.T, r record.Record) {
	if !reflect.DeepEqual(r.User, record.User{Name: r.User.Name}) || r.Sealed != nil || r.XKey != "" || r.TeardownError != "" || r.Connection != "" {
		t.Fatalf("the tombstone keeps more than it must: %+v", r)
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
		t.Fatalf("came back changed:\n%+v\n%+v", r, back)
	}
}

func TestEveryLifeKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := beginLifetime(t)
		actions := l.actions()
		actions[""] = l.checkRecord
		t.Repeat(actions)
	})
}

// Whatever happened to a lease, the scheduler alone, doing no more than what
// is due when it is due, brings it to its end, and on time.
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
			switch task := l.record.Action(l.now); task {
			case record.ActionAbandon:
				l.record, err = l.record.Fail(messages.Errorf(messages.CodeAbandoned, "nobody finished it"), false, l.now, l.timing)
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
				t.Fatalf("due at %s, %s, and nothing to do", l.record.Due, l.record.State)
			}
			if err != nil {
				t.Fatal(err)
			}
			l.checkRecord(t)
		}
		t.Fatalf("still %s after 100 steps", l.record.State)
	})
}

// transitions are all transitions, with arguments that do.
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
	"KeyGone":        func(r record.Record) (record.Record, error) { return r.KeyGone(noon.Add(time.Second)) },
	"DeferTeardown": func(r record.Record) (record.Record, error) {
		return r.DeferTeardown(time.Minute, noon.Add(time.Second))
	},
	"Ended": func(r record.Record) (record.Record, error) { return r.Ended(noon.Add(time.Second)) },
}

var timing = record.Timing{Expiring: 5 * time.Minute}.WithDefaults()

func plan() record.Plan {
	return record.Plan{
		Name:       messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct3kq0zs1t1d9n6wvb6q0x2m"},
		Origin:     record.Origin{Sequence: 17, Stored: noon.Add(-time.Second), Fingerprint: "8f14e45fceea167a5a36dedd4bea2543"},
		Request:    messages.LeaseRequest{Confirm: true, ReadyWithin: messages.Duration(20 * time.Second), XKey: "XABC", Labels: map[string]string{"job": "1234"}},
		Connection: "default-us-east-1",
		Region:     "us-east-1",
		User: record.User{
			Name: "lessor-alice-x1y2", Path: "/lessor/ci/", Boundary: "arn:aws:iam::123456789012:policy/boundary",
			Groups: []string{"deployers"}, ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
			InlinePolicy: []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`),
			Tags:         map[string]string{"team": "platform"}, HardExpiry: messages.HardExpiryLease,
		},
		TTL: messages.Duration(15 * time.Minute), DefaultTTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(24 * time.Hour),
	}
}

// inState makes a record in each state, through the transitions that lead there.
func inState(state messages.State) record.Record {
	r := record.New(plan(), noon, timing)
	switch state {
	case messages.StateActive:
		r = must(r.Activate("AKIAX", &messages.Sealed{From: "XABC", Box: []byte("box")}, noon, timing))
	case messages.StateRevoking:
		r = must(inState(messages.StateActive).End(messages.ReasonExpired, "", noon, timing))
	case messages.StateRevoked:
		r = must(inState(messages.StateRevoking).Ended(noon))
	case messages.StateFailed:
		r = must(r.Fail(messages.Errorf(messages.CodeProviderRejected, "no such policy"), true, noon, timing))
	}
	if r.State != state {
		panic(fmt.Sprintf("made %s, want %s", r.State, state))
	}
	return r
}

// settledLease is an active lease whose delivery is over.
func settledLease() record.Record {
	return must(inState(messages.StateActive).Confirmed(noon, timing))
}

// An event may tell of any end: it is never earlier than the record's, nor later than
// the lease may last.
func TestARestoredLeaseHasTheLaterEnd(t *testing.T) {
	r := inState(messages.StateActive)
	for name, c := range map[string]struct{ told, want time.Time }{
		"later":    {r.ExpiresAt.Add(time.Hour), r.ExpiresAt.Add(time.Hour)},
		"earlier":  {r.ExpiresAt.Add(-time.Minute), r.ExpiresAt},
		"too late": {r.MaxExpiresAt.Add(time.Hour), r.MaxExpiresAt},
	} {
		next, err := r.Restored(c.told, 3, timing)
		if err != nil || !next.ExpiresAt.Equal(c.want) || next.Renewals != 3 || !next.Settled() || !next.Due.Equal(c.want.Add(-timing.Expiring)) {
			t.Errorf("%s: %+v, %v", name, next, err)
		}
	}
}

func TestTransitionsLeadOnlyWhereTheMapSays(t *testing.T) {
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
		"KeyGone":        {revoking: revoking},
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
						t.Errorf("refused, and changed the record:\n%+v\n%+v", before, next)
					}
					if !strings.Contains(err.Error(), before.Name().String()) || !strings.Contains(err.Error(), string(from)) {
						t.Errorf("error %q names not both lease and state", err)
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

func TestNewRecordHasEverythingToUndoTheLease(t *testing.T) {
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

func TestNewRecordKeepsUTC(t *testing.T) {
	r := record.New(plan(), noon.In(time.FixedZone("east", 7200)), timing)
	if r.StartedAt.Location() != time.UTC || r.ExpiresAt.Location() != time.UTC || r.Due.Location() != time.UTC {
		t.Errorf("times are not in UTC: %s, %s, %s", r.StartedAt, r.ExpiresAt, r.Due)
	}
}

func TestTakeOverStartsTheTimeAnew(t *testing.T) {
	later := noon.Add(10 * time.Minute)
	origin := record.Origin{Sequence: 99, Stored: later, Fingerprint: "beef"}
	r := must(inState(messages.StateProvisioning).TakeOver(origin, later, timing))
	want := record.New(plan(), later, timing)
	want.Origin, want.Attempt = origin, 2
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got\n%+v, want\n%+v", r, want)
	}
}

func TestAgainOnlyAfterAPassingReasonOrWhenNobodyHadTheKey(t *testing.T) {
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
		{"failed for a passing reason", failed(messages.CodeProviderUnavailable), true},
		{"abandoned", failed(messages.CodeAbandoned), true},
		{"failed for good", failed(messages.CodeProviderDenied), false},
		{"ended as failed without saying why", ended(messages.ReasonFailed), true},
		{"undelivered", ended(messages.ReasonUndelivered), true},
		{"expired", ended(messages.ReasonExpired), false},
		{"revoked on request", ended(messages.ReasonRequested), false},
		{"revoked by an operator", ended(messages.ReasonOperator), false},
		{"secret deleted", ended(messages.ReasonSecretDeleted), false},
		{"provisioning", inState(messages.StateProvisioning), false},
		{"active", inState(messages.StateActive), false},
		{"being revoked though undelivered", must(inState(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing)), false},
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

func TestPostponeAddsTheWaitToTheTimeForProvisioning(t *testing.T) {
	r := inState(messages.StateProvisioning)
	at := noon.Add(20 * time.Second)
	got := must(r.Postpone(2*time.Minute, false, at, timing))
	want := r
	want.Due = at.Add(2*time.Minute + 30*time.Second)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestOnlyALeaseThatIsBeingUndoneWillBeRepeatable(t *testing.T) {
	for _, s := range states {
		if r := inState(s); r.WillBeRepeatable() {
			t.Errorf("%s, %s", s, r.Reason)
		}
	}
	undelivered := must(inState(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing))
	if !undelivered.WillBeRepeatable() {
		t.Error("undelivered, and will not be")
	}
	if must(undelivered.Ended(noon)).WillBeRepeatable() {
		t.Error("it has ended: it is, and will not be")
	}
}

func TestActivateIsDueAtTheDeliverysDeadline(t *testing.T) {
	done := noon.Add(3 * time.Second)
	for _, c := range []struct {
		name string
		ttl  time.Duration
		want time.Time
	}{
		{"deliver and ready_within", time.Hour, done.Add(45*time.Second + 20*time.Second)},
		{"but never after the end", 10 * time.Second, noon.Add(10 * time.Second)},
		{"even if that has passed", time.Second, noon.Add(time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan()
			p.TTL = messages.Duration(c.ttl)
			box := &messages.Sealed{From: "X", Box: []byte("b")}
			r := must(record.New(p, noon, timing).Activate("AKIAX", box, done, timing))
			if !r.Due.Equal(c.want) {
				t.Errorf("due at %s, want %s", r.Due, c.want)
			}
			if r.Settled() || r.Sealed != box || r.AccessKeyID != "AKIAX" {
				t.Errorf("the key is not in the record: %+v", r)
			}
			// The end was told to AWS with the first call, so issued counts from there.
			if !r.IssuedAt.Equal(noon) {
				t.Errorf("issued at %s, want %s", r.IssuedAt, noon)
			}
		})
	}
}

func TestDeliverSettlesUnlessAConfirmationIsPromised(t *testing.T) {
	at := noon.Add(2 * time.Second)
	for _, confirm := range []bool{false, true} {
		t.Run(fmt.Sprintf("confirm %v", confirm), func(t *testing.T) {
			r := inState(messages.StateActive)
			r.Confirm = confirm
			r = must(r.Deliver(at, timing))
			if !r.DeliveredAt.Equal(at) {
				t.Errorf("delivered at %s", r.DeliveredAt)
			}
			if r.Settled() == confirm {
				t.Errorf("settled is %v", r.Settled())
			}
			due := r.ExpiresAt.Add(-timing.Expiring)
			if confirm {
				due = at.Add(10 * time.Second)
			}
			if !r.Due.Equal(due) {
				t.Errorf("due at %s, want %s", r.Due, due)
			}
			if confirm && (!r.ConfirmBy.Equal(due) || r.Action(due) != record.ActionGiveUp) {
				t.Errorf("confirm by %s, then %q", r.ConfirmBy, r.Action(due))
			}
		})
	}
}

func TestDeliverAfterTheDeliveryIsSettledChangesNothing(t *testing.T) {
	r := settledLease()
	if next := must(r.Deliver(noon.Add(time.Minute), timing)); !reflect.DeepEqual(next, r) {
		t.Errorf("got\n%+v, want\n%+v", next, r)
	}
}

func TestConfirmedForgetsTheCredentials(t *testing.T) {
	delivered := must(inState(messages.StateActive).Deliver(noon.Add(time.Second), timing))
	r := must(delivered.Confirmed(noon.Add(2*time.Second), timing))
	if !r.Settled() || !r.ConfirmBy.IsZero() || !r.DeliveredAt.Equal(delivered.DeliveredAt) {
		t.Errorf("got %+v", r)
	}
	if want := r.ExpiresAt.Add(-timing.Expiring); !r.Due.Equal(want) {
		t.Errorf("due at %s, want %s", r.Due, want)
	}
	if again := must(r.Confirmed(noon.Add(time.Minute), timing)); !reflect.DeepEqual(again, r) {
		t.Errorf("a second confirmation changed the record to %+v", again)
	}
}

// A broker that died between handing over the credentials and saying so must
// not make the confirmation worthless.
func TestConfirmedCountsThoughTheDeliveryWasNotWrittenDown(t *testing.T) {
	at := noon.Add(4 * time.Second)
	r := must(inState(messages.StateActive).Confirmed(at, timing))
	if !r.Settled() || !r.DeliveredAt.Equal(at) {
		t.Errorf("got %+v", r)
	}
}

func TestAnnounceIsOncePerEnd(t *testing.T) {
	r := settledLease()
	soon := r.ExpiresAt.Add(-timing.Expiring)
	if got := r.Action(soon); got != record.ActionAnnounce {
		t.Fatalf("before the end there is %q to do", got)
	}
	r = must(r.Announce(timing))
	if got := r.Action(r.ExpiresAt.Add(-time.Nanosecond)); got != record.ActionNone || !r.Due.Equal(r.ExpiresAt) {
		t.Errorf("announced, and there is %q to do, due at %s", got, r.Due)
	}
	r = must(r.Renew(r.ExpiresAt.Add(time.Hour), 7, noon, timing))
	if got := r.Action(r.ExpiresAt.Add(-timing.Expiring)); got != record.ActionAnnounce {
		t.Errorf("renewed, and before the new end there is %q to do", got)
	}
}

// What is due about a delivery that nobody confirmed must not wait for the end
// of the lease.
func TestAnnounceLeavesAnOpenDeliveryDue(t *testing.T) {
	r := must(inState(messages.StateActive).Deliver(noon.Add(time.Second), timing))
	next := must(r.Announce(timing))
	if !next.Due.Equal(r.Due) {
		t.Errorf("due at %s, was %s", next.Due, r.Due)
	}
	if got := next.Action(r.ConfirmBy); got != record.ActionGiveUp {
		t.Errorf("when it should be confirmed there is %q to do", got)
	}
}

func TestNothingIsAnnouncedWithoutExpiring(t *testing.T) {
	quiet := record.Timing{}.WithDefaults()
	r := must(inState(messages.StateActive).Confirmed(noon, quiet))
	if !r.Due.Equal(r.ExpiresAt) || r.Action(r.Due) != record.ActionExpire {
		t.Errorf("due at %s with %q, want the end, %s", r.Due, r.Action(r.Due), r.ExpiresAt)
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

// TestRenewMovesTheDueTimeOfAnOpenDelivery: it was due at the lease's end, which
// came before the last moment for the confirmation.
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
				t.Fatal("the delivery's own time is not before the old end: this proves nothing")
			}
		}
		if !renewed.Due.Equal(want) {
			t.Errorf("%s: due at %s, want %s", state, renewed.Due, want)
		}
	}
}

func TestRenewLeavesAnOpenDeliveryDue(t *testing.T) {
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
			t.Errorf("%s: took it (%v)", name, err)
		}
	}
	for name, end := range map[string]time.Time{"the same": r.ExpiresAt, "the maximum": r.MaxExpiresAt} {
		if _, err := r.Renew(end, 1, noon, timing); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndForgetsTheCredentials(t *testing.T) {
	delivered := must(inState(messages.StateActive).Deliver(noon, timing))
	at := noon.Add(time.Minute)
	got := must(delivered.End(messages.ReasonOperator, "leaked", at, timing))
	want := delivered
	want.State, want.Reason, want.Note, want.Sealed, want.ConfirmBy = messages.StateRevoking, messages.ReasonOperator, "leaked", nil, time.Time{}
	want.Due = at.Add(30 * time.Second)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestFail(t *testing.T) {
	failure := messages.Errorf(messages.CodeProviderRejected, "no such policy")
	begun := inState(messages.StateProvisioning)
	undoing := must(begun.Fail(failure, false, noon, timing))
	if undoing.State != messages.StateRevoking || undoing.Failure != failure || undoing.Reason != messages.ReasonFailed {
		t.Errorf("something may be left, and it is %s", undoing.State)
	}
	if !reflect.DeepEqual(undoing.User, begun.User) || undoing.Connection != begun.Connection {
		t.Error("the record no longer says how to undo it")
	}
	undone := must(undoing.Ended(noon))
	atOnce := must(begun.Fail(failure, true, noon, timing))
	if atOnce.State != messages.StateFailed || !reflect.DeepEqual(undone, atOnce) {
		t.Errorf("undone\n%+v, never made\n%+v", undone, atOnce)
	}
	if atOnce.Failure != failure {
		t.Error("the tombstone does not say why")
	}
}

func TestUndoFailedWaitsLongerEachTimeAndNeverGivesUp(t *testing.T) {
	r := inState(messages.StateRevoking)
	now := noon
	var waits []time.Duration
	for i := range 200 {
		r = must(r.TeardownFailed(fmt.Sprintf("try %d", i), now))
		waits = append(waits, r.Due.Sub(now))
		if r.TeardownTries != i+1 || r.TeardownError != fmt.Sprintf("try %d", i) {
			t.Fatalf("try %d is counted as %d: %s", i+1, r.TeardownTries, r.TeardownError)
		}
		now = r.Due
		r = must(r.RetryTeardown(now, timing))
		if !r.Due.Equal(now.Add(30 * time.Second)) {
			t.Fatalf("claimed until %s, want 30s", r.Due.Sub(now))
		}
	}
	if waits[0] != record.MinTeardownWait {
		t.Errorf("the first wait is %s", waits[0])
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] || (waits[i] == waits[i-1] && waits[i] != record.MaxTeardownWait) || waits[i] > record.MaxTeardownWait {
			t.Errorf("wait %d is %s after %s", i, waits[i], waits[i-1])
		}
	}
	if last := waits[len(waits)-1]; last != record.MaxTeardownWait {
		t.Errorf("the last wait is %s", last)
	}
}

// What AWS takes no calls for is neither a failure nor forgotten.
func TestUndoLaterCountsNoTry(t *testing.T) {
	r := must(inState(messages.StateRevoking).TeardownFailed("away", noon))
	later := must(r.DeferTeardown(time.Minute, noon))
	if later.TeardownTries != 1 || later.TeardownError != "away" || !later.Due.Equal(noon.Add(time.Minute)) {
		t.Errorf("got %d tries, %q, due %s", later.TeardownTries, later.TeardownError, later.Due)
	}
}

func TestALeaseIsHarmlessWhenNobodyHasAKey(t *testing.T) {
	if settledLease().AccessEnded() || inState(messages.StateRevoking).AccessEnded() {
		t.Error("a lease with a key is harmless")
	}
	r := must(inState(messages.StateRevoking).KeyGone(noon))
	if !r.AccessEnded() || !must(r.KeyGone(noon.Add(time.Hour))).KeyDeletedAt.Equal(noon) {
		t.Error("a lease whose key is gone is not harmless, or forgets since when")
	}
	if never := must(inState(messages.StateProvisioning).End(messages.ReasonFailed, "", noon, timing)); !never.AccessEnded() {
		t.Error("a lease that nobody was given is not harmless")
	}
	if sessionIn(messages.StateRevoking).AccessEnded() {
		t.Error("a session is")
	}
	if tomb := must(r.Ended(noon)); tomb.AccessEnded() || !tomb.KeyDeletedAt.IsZero() {
		t.Error("a tombstone is")
	}
}

func TestUndoFailedWaitsAtMostAnHourWhateverTheCount(t *testing.T) {
	for _, tries := range []int{0, 1, 9, 10, 11, 62, 63, 64, 1 << 40} {
		r := inState(messages.StateRevoking)
		r.TeardownTries = tries
		r = must(r.TeardownFailed("away", noon))
		if wait := r.Due.Sub(noon); wait < record.MinTeardownWait || wait > record.MaxTeardownWait {
			t.Errorf("after %d tries the wait is %s", tries, wait)
		}
	}
}

func TestEndedKeepsWhatRepliesAndEventsNeed(t *testing.T) {
	r := settledLease()
	r = must(r.Renew(r.ExpiresAt.Add(time.Hour), 7, noon, timing))
	r = must(r.End(messages.ReasonRequested, "done", noon, timing))
	r = must(r.TeardownFailed("away", noon))
	at := noon.Add(time.Minute)
	tomb := must(r.Ended(at))
	want := record.Record{
		Version: record.Version, State: messages.StateRevoked, Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		Origin: r.Origin, Attempt: 1, User: record.User{Name: r.User.Name}, Labels: r.Labels,
		StartedAt: r.StartedAt, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		AccessKeyID: "AKIAX", DeliveredAt: r.DeliveredAt, Renewals: 1,
		Reason: messages.ReasonRequested, Note: "done", EndedAt: at,
	}
	if !reflect.DeepEqual(tomb, want) {
		t.Errorf("got\n%+v, want\n%+v", tomb, want)
	}
}

func TestTask(t *testing.T) {
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

func TestTimingDefaultsFillOnlyWhatIsZero(t *testing.T) {
	want := record.Timing{Provision: 30 * time.Second, Deliver: 45 * time.Second, Confirm: 10 * time.Second, Undo: 30 * time.Second}
	if got := (record.Timing{}).WithDefaults(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	own := record.Timing{Provision: 1, Deliver: 2, Confirm: 3, Undo: 4, Expiring: 5}
	if got := own.WithDefaults(); got != own {
		t.Errorf("got %+v, want %+v", got, own)
	}
}
