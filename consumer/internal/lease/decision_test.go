package lease

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const fingerprint = "f00d"

var timing = record.Timing{}.WithDefaults()

// plan is a lease of one hour whose requester promised to confirm.
func plan() record.Plan {
	return record.Plan{
		Name:   messages.LeaseName{Identity: "alice", Secret: "ci", ID: "1"},
		Origin: record.Origin{Sequence: 7, Stored: noon, Fingerprint: fingerprint},
		User:   record.User{Name: "lessor-alice-x"}, TTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(time.Hour),
		Request: messages.LeaseRequest{Confirm: true},
	}
}

// rolePlan is the same lease of a role session.
func rolePlan() record.Plan {
	p := plan()
	p.User = record.User{Name: "lessor-alice-x", Role: "arn:aws:iam::123456789012:role/deploy", DenyOnRevoke: true}
	return p
}

func must(r record.Record, err error) record.Record {
	if err != nil {
		panic(err)
	}
	return r
}

// The records of the tables, all begun at noon.
func provisioningLease() record.Record { return record.New(plan(), noon, timing) }

func activeLease(p record.Plan) record.Record {
	return must(record.New(p, noon, timing).Activate("AKIAX", &messages.Sealed{From: "X", Box: []byte("box")}, noon, timing))
}

func deliveredLease(r record.Record) record.Record { return must(r.Deliver(noon, timing)) }

func settledLease() record.Record {
	return must(deliveredLease(activeLease(plan())).Confirmed(noon, timing))
}

func endingLease(r record.Record, why messages.Reason) record.Record {
	return must(r.End(why, "", noon, timing))
}

func failingLease(code messages.Code) record.Record {
	return must(provisioningLease().Fail(messages.Errorf(code, "no"), false, noon, timing))
}

func deniedLease(r record.Record) record.Record { return must(r.DenySession(noon)) }

func endedLease(r record.Record) record.Record { return must(r.Ended(noon.Add(2 * time.Hour))) }

// TestDecideRequest has the rows of the table in the comment of decideRequest, and the
// rows that it refers to.
func TestDecideRequest(t *testing.T) {
	const (
		undelivered = messages.ReasonUndelivered
		requested   = messages.ReasonRequested
		// Failures: the first two pass, the last does not.
		away      = messages.CodeProviderUnavailable
		abandoned = messages.CodeAbandoned
		refused   = messages.CodeProviderDenied
	)
	soon, late, expired := noon.Add(time.Second), noon.Add(time.Minute), noon.Add(time.Hour)
	for _, c := range []struct {
		name   string
		record record.Record
		now    time.Time
		// What is decided for the message that began the attempt and for a repeat, each
		// before its deadline and after it.
		own, ownLate       requestStep
		repeat, repeatLate requestStep
	}{
		{"provisioning, not due yet", provisioningLease(), soon, stepTakeOver, stepTakeOver, stepWaitAttempt, stepRejectLate},
		{"provisioning, due", provisioningLease(), late, stepTakeOver, stepTakeOver, stepTakeOver, stepTakeOver},

		{"active, not delivered", activeLease(plan()), soon, stepDeliver, stepGiveUp, stepDeliver, stepRejectLate},
		{"active, not confirmed", deliveredLease(activeLease(plan())), soon, stepDeliver, stepAck, stepDeliver, stepRejectLate},
		{"expired, not delivered", activeLease(plan()), expired, stepGiveUp, stepGiveUp, stepRejectExpired, stepRejectExpired},
		{"expired, not confirmed", deliveredLease(activeLease(plan())), expired, stepAck, stepAck, stepRejectExpired, stepRejectExpired},
		{"settled", settledLease(), soon, stepAck, stepAck, stepRejectDelivered, stepRejectDelivered},
		{"settled by a restore", must(activeLease(plan()).Restored(expired, 1, timing)), soon, stepAck, stepAck, stepRejectDelivered, stepRejectDelivered},

		{"teardown, not delivered", endingLease(activeLease(plan()), undelivered), soon, stepWaitTeardown, stepRejectLate, stepWaitTeardown, stepRejectLate},
		{"teardown, not confirmed", endingLease(deliveredLease(activeLease(plan())), undelivered), soon, stepAck, stepAck, stepWaitTeardown, stepRejectLate},
		{"teardown, abandoned", failingLease(abandoned), soon, stepWaitTeardown, stepRejectLate, stepWaitTeardown, stepRejectLate},
		{"teardown, AWS was away", failingLease(away), soon, stepFinishFailed, stepFinishFailed, stepWaitTeardown, stepRejectLate},
		{"teardown, AWS refused", failingLease(refused), soon, stepFinishFailed, stepFinishFailed, stepAnswerFailed, stepAnswerFailed},
		{"teardown, revoked before delivery", endingLease(activeLease(plan()), requested), soon, stepRejectEnded, stepRejectEnded, stepRejectEnded, stepRejectEnded},
		{"teardown, revoked", endingLease(settledLease(), requested), soon, stepAck, stepAck, stepRejectDelivered, stepRejectDelivered},
		{"session denied, not delivered", deniedLease(endingLease(activeLease(rolePlan()), undelivered)), soon, stepRejectEnded, stepRejectEnded, stepRejectEnded, stepRejectEnded},
		{"session denied, not confirmed", deniedLease(endingLease(deliveredLease(activeLease(rolePlan())), undelivered)), soon, stepAck, stepAck, stepRejectDelivered, stepRejectDelivered},

		{"ended, not delivered", endedLease(endingLease(activeLease(plan()), undelivered)), soon, stepBegin, stepBegin, stepBegin, stepBegin},
		{"ended, not confirmed", endedLease(endingLease(deliveredLease(activeLease(plan())), undelivered)), soon, stepAck, stepAck, stepBegin, stepBegin},
		{"failed, abandoned", endedLease(failingLease(abandoned)), soon, stepBegin, stepBegin, stepBegin, stepBegin},
		{"failed, AWS was away", endedLease(failingLease(away)), soon, stepFinishFailed, stepFinishFailed, stepBegin, stepBegin},
		{"failed, AWS refused", endedLease(failingLease(refused)), soon, stepFinishFailed, stepFinishFailed, stepAnswerFailed, stepAnswerFailed},
		{"revoked before delivery", endedLease(endingLease(activeLease(plan()), requested)), soon, stepRejectEnded, stepRejectEnded, stepRejectEnded, stepRejectEnded},
		{"revoked", endedLease(endingLease(settledLease(), requested)), soon, stepAck, stepAck, stepRejectDelivered, stepRejectDelivered},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, want := range []struct {
				own, late bool
				step      requestStep
			}{{true, false, c.own}, {true, true, c.ownLate}, {false, false, c.repeat}, {false, true, c.repeatLate}} {
				f := requestFacts{fingerprint: fingerprint, own: want.own, late: want.late, now: c.now}
				if got := decideRequest(f, c.record); got != want.step {
					t.Errorf("own %v, late %v: %s, want %s", want.own, want.late, got, want.step)
				}
				f.fingerprint = "beef"
				if got := decideRequest(f, c.record); got != stepRejectReused {
					t.Errorf("own %v, late %v, another body: %s, want %s", want.own, want.late, got, stepRejectReused)
				}
			}
		})
	}
}

func TestDecideReminder(t *testing.T) {
	announcing := timing
	announcing.Expiring = 5 * time.Minute
	announced := must(record.New(plan(), noon, announcing).Activate("AKIAX", &messages.Sealed{From: "X", Box: []byte("box")}, noon, announcing))
	announced = must(must(announced.Deliver(noon, announcing)).Confirmed(noon, announcing))
	revoking := endingLease(settledLease(), messages.ReasonRequested)
	session := deniedLease(endingLease(activeLease(rolePlan()), messages.ReasonRequested))
	for _, c := range []struct {
		name   string
		record record.Record
		now    time.Time
		// What is decided for the first delivery of the reminder, and for a later one.
		first, again reminderDecision
	}{
		{"provisioning, not due", provisioningLease(), noon, reminderDecision{}, reminderDecision{}},
		{"provisioning, due", provisioningLease(), noon.Add(time.Minute), reminderDecision{action: record.ActionAbandon}, reminderDecision{action: record.ActionAbandon}},
		{"not delivered in time", activeLease(plan()), noon.Add(time.Minute), reminderDecision{action: record.ActionGiveUp}, reminderDecision{action: record.ActionGiveUp}},
		{"settled, long before its end", settledLease(), noon.Add(time.Minute), reminderDecision{}, reminderDecision{}},
		{"a little early", settledLease(), noon.Add(time.Hour - 4*time.Second), reminderDecision{wait: 4 * time.Second}, reminderDecision{wait: 4 * time.Second}},
		{"too early to wait", settledLease(), noon.Add(time.Hour - 6*time.Second), reminderDecision{}, reminderDecision{}},
		{"at its end", settledLease(), noon.Add(time.Hour), reminderDecision{action: record.ActionExpire}, reminderDecision{action: record.ActionExpire}},
		{"soon at its end", announced, noon.Add(56 * time.Minute), reminderDecision{action: record.ActionAnnounce}, reminderDecision{action: record.ActionAnnounce}},
		{"in teardown, not due", revoking, noon.Add(time.Second), reminderDecision{}, reminderDecision{action: record.ActionTeardown}},
		{"in teardown, due", revoking, noon.Add(time.Minute), reminderDecision{action: record.ActionTeardown}, reminderDecision{action: record.ActionTeardown}},
		{"session denied, not expired", session, noon.Add(time.Minute), reminderDecision{}, reminderDecision{ensureEnded: true}},
		{"session denied, expired", session, noon.Add(62 * time.Minute), reminderDecision{action: record.ActionTeardown}, reminderDecision{action: record.ActionTeardown}},
		{"ended", endedLease(revoking), noon.Add(3 * time.Hour), reminderDecision{}, reminderDecision{ensureEnded: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := decideReminder(c.record, c.now, false); got != c.first {
				t.Errorf("first delivery: %+v, want %+v", got, c.first)
			}
			if got := decideReminder(c.record, c.now, true); got != c.again {
				t.Errorf("redelivered: %+v, want %+v", got, c.again)
			}
		})
	}
}
