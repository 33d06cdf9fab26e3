package lease

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// life is a lease to which random transitions are applied.
type life struct {
	record record.Record
	now    time.Time
}

func drawPlanOfLife(t *rapid.T) record.Plan {
	p := plan()
	if rapid.Bool().Draw(t, "session") {
		p = rolePlan()
	}
	p.Request.Confirm = rapid.Bool().Draw(t, "confirm")
	p.TTL = messages.Duration(time.Duration(rapid.Int64Range(1, 3600).Draw(t, "ttl")) * time.Second)
	return p
}

// drawLife returns a lease at a random point of a random life.
func drawLife(t *rapid.T) life {
	l := life{now: noon}
	l.record = record.New(drawPlanOfLife(t), l.now, timing)
	for range rapid.IntRange(0, 12).Draw(t, "steps") {
		l.step(t)
	}
	return l
}

// step lets time pass and applies a transition, if it exists for the record.
func (l *life) step(t *rapid.T) {
	if rapid.Bool().Draw(t, "until due") && l.record.Due.After(l.now) {
		l.now = l.record.Due
	} else {
		l.now = l.now.Add(time.Duration(rapid.Int64Range(0, 1800).Draw(t, "passes")) * time.Second)
	}
	next, err := l.transition(t)
	if err == nil {
		l.record = next
	}
}

func (l *life) transition(t *rapid.T) (record.Record, error) {
	r, now := l.record, l.now
	switch name := rapid.SampledFrom([]string{
		"take over", "again", "postpone", "activate", "fail", "deliver", "confirm", "renew", "restore",
		"end", "deny session", "key deleted", "teardown failed", "ended",
	}).Draw(t, "transition"); name {
	case "take over":
		return r.TakeOver(plan().Origin, now, timing)
	case "again":
		return r.Again(drawPlanOfLife(t), now, timing)
	case "postpone":
		return r.Postpone(time.Minute, rapid.Bool().Draw(t, "nothing made"), now, timing)
	case "activate":
		return r.Activate("AKIAX", &messages.Sealed{From: "X", Box: []byte("box")}, now, timing)
	case "fail":
		code := rapid.SampledFrom([]messages.Code{messages.CodeProviderDenied, messages.CodeProviderUnavailable, messages.CodeAbandoned}).Draw(t, "code")
		return r.Fail(messages.Errorf(code, "no"), rapid.Bool().Draw(t, "nothing made"), now, timing)
	case "deliver":
		return r.Deliver(now, timing)
	case "confirm":
		return r.Confirmed(now, timing)
	case "renew":
		return r.Renew(r.MaxExpiresAt, 9, now, timing)
	case "restore":
		return r.Restored(r.MaxExpiresAt, 1, timing)
	case "end":
		return r.End(rapid.SampledFrom([]messages.Reason{
			messages.ReasonExpired, messages.ReasonRequested, messages.ReasonUndelivered, messages.ReasonFailed,
		}).Draw(t, "reason"), "", now, timing)
	case "deny session":
		return r.DenySession(now)
	case "key deleted":
		return r.KeyDeleted(now)
	case "teardown failed":
		return r.TeardownFailed("AWS is away", now)
	default: // ended
		return r.Ended(now)
	}
}

func TestEveryStepOfARequestIsPossible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLife(t)
		for _, own := range []bool{true, false} {
			for _, late := range []bool{true, false} {
				f := requestFacts{fingerprint: fingerprint, own: own, late: late, now: l.now}
				checkRequestStep(t, f, l.record, decideRequest(f, l.record))
				f.fingerprint = "beef"
				if step := decideRequest(f, l.record); step != stepRejectReused {
					t.Fatalf("another body: %s", step)
				}
			}
		}
	})
}

// checkRequestStep checks that a step is possible for the record, and allowed for the
// message.
func checkRequestStep(t *rapid.T, f requestFacts, r record.Record, step requestStep) {
	wasDelivered := !r.DeliveredAt.IsZero()
	open := r.State == messages.StateActive && !r.Settled()
	inTeardownOrEnded := r.State == messages.StateRevoking || r.State.Ended()
	_, takeOver := r.TakeOver(plan().Origin, f.now, timing)
	_, again := r.Again(plan(), f.now, timing)
	allowed := map[requestStep]bool{
		stepBegin:           again == nil,
		stepTakeOver:        takeOver == nil && (f.own || !f.now.Before(r.Due)),
		stepDeliver:         open && !f.late && f.now.Before(r.ExpiresAt),
		stepWaitAttempt:     takeOver == nil && !f.own && !f.late,
		stepWaitTeardown:    r.WillBeRepeatable() && !f.late,
		stepGiveUp:          f.own && open && !wasDelivered && (f.late || !f.now.Before(r.ExpiresAt)),
		stepFinishFailed:    f.own && r.Reason == messages.ReasonFailed,
		stepAnswerFailed:    !f.own && r.Reason == messages.ReasonFailed,
		stepAck:             f.own && wasDelivered,
		stepRejectLate:      f.late,
		stepRejectEnded:     inTeardownOrEnded && !wasDelivered,
		stepRejectDelivered: !f.own && wasDelivered && !open,
		stepRejectExpired:   !f.own && open && !f.now.Before(r.ExpiresAt),
	}
	if !allowed[step] {
		t.Fatalf("%s, own %v, late %v, at %s: %+v", step, f.own, f.late, f.now, r)
	}
	if f.own && r.State == messages.StateActive && r.Settled() && step != stepAck {
		t.Fatalf("the owner of a settled delivery: %s", step)
	}
	handsOut := []requestStep{stepTakeOver, stepDeliver, stepWaitAttempt}
	if inTeardownOrEnded && slices.Contains(handsOut, step) {
		t.Fatalf("%s of a lease that is %s", step, r.State)
	}
}

func TestEveryActionOfAReminderIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLife(t)
		if rapid.Bool().Draw(t, "a little early") && !l.record.Due.IsZero() {
			l.now = l.record.Due.Add(-time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(t, "early")))
		}
		for _, redelivered := range []bool{true, false} {
			checkReminder(t, l.record, l.now, redelivered, decideReminder(l.record, l.now, redelivered))
		}
	})
}

func checkReminder(t *rapid.T, r record.Record, now time.Time, redelivered bool, got reminderDecision) {
	due := !r.Due.IsZero() && !now.Before(r.Due)
	allowed := map[record.Action]bool{
		record.ActionNone:     true,
		record.ActionAbandon:  r.State == messages.StateProvisioning && due,
		record.ActionGiveUp:   r.State == messages.StateActive && !r.Settled() && due,
		record.ActionExpire:   r.State == messages.StateActive && !now.Before(r.ExpiresAt),
		record.ActionAnnounce: r.State == messages.StateActive && r.Settled() && due && now.Before(r.ExpiresAt),
		record.ActionTeardown: r.State == messages.StateRevoking && (due || redelivered && !r.SessionDenied()),
	}
	switch {
	case !allowed[got.action]:
		t.Fatalf("%s at %s: %+v", got.action, now, r)
	case due && got.action == record.ActionNone:
		t.Fatalf("due at %s, and no action at %s: %+v", r.Due, now, r)
	case redelivered && r.State == messages.StateRevoking && !r.SessionDenied() && got.action != record.ActionTeardown:
		t.Fatalf("the worker that began the teardown is gone, and the action is %q", got.action)
	case got.action != record.ActionNone && (got.wait != 0 || got.ensureEnded):
		t.Fatalf("an action and more: %+v", got)
	case got.wait < 0 || got.wait > maxClockSkew:
		t.Fatalf("the wait is %s", got.wait)
	case got.wait > 0 && r.Action(now.Add(got.wait)) == record.ActionNone:
		t.Fatalf("nothing is due after the wait of %s: %+v", got.wait, r)
	case got.ensureEnded && (!redelivered || !r.State.Ended() && !r.SessionDenied()):
		t.Fatalf("the end of a lease that is %s, redelivered %v", r.State, redelivered)
	}
}
