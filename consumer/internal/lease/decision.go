package lease

import (
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// requestFacts is what a decision about a request takes of its message.
type requestFacts struct {
	fingerprint string
	own         bool // the record is for this message ([request.isOwn])
	late        bool // the deadline has passed
	now         time.Time
}

// requestStep is what a worker does with a request whose lease has a record.
type requestStep string

const (
	stepBegin           requestStep = "begin anew"             // on top of the ended lease
	stepTakeOver        requestStep = "take over"              // finish another worker's attempt
	stepDeliver         requestStep = "deliver"                // the key that exists
	stepWaitAttempt     requestStep = "wait for the attempt"   // another worker is making the lease
	stepWaitTeardown    requestStep = "wait for the teardown"  // then it begins anew
	stepGiveUp          requestStep = "give up"                // answer why, and tear the lease down
	stepFinishFailed    requestStep = "finish failed"          // tear down what was made, and answer why
	stepAnswerFailed    requestStep = "answer failed"          // answer why the lease could not be made
	stepAck             requestStep = "acknowledge"            // it was delivered for this message
	stepRejectReused    requestStep = "reject: key reused"     // idempotency_mismatch
	stepRejectLate      requestStep = "reject: late"           // deadline_exceeded
	stepRejectEnded     requestStep = "reject: ended"          // lease_ended, before it was delivered
	stepRejectDelivered requestStep = "reject: delivered"      // already_delivered
	stepRejectExpired   requestStep = "reject: expired active" // lease_ended, and a reminder tears it down
)

// decideRequest decides what to do with a request whose lease has a record: the
// message was redelivered because a worker died or stalled, or another message has
// the same idempotency key.
//
//	record                                        own message          a repeat with the key
//	other fingerprint                             reject: key reused   reject: key reused
//	provisioning, not due yet                     take over            wait; late: reject
//	provisioning, due                             take over            take over
//	active, not settled, in time                  deliver              deliver
//	active, not settled, late or expired:
//	  not delivered                               give up              reject
//	  delivered, waiting for the confirmation     acknowledge          reject
//	in teardown, then repeatable                  see below            wait; late: reject
//	ended, repeatable                             see below            begin anew
//	failed or failing                             finish failed        answer failed
//	otherwise, never delivered                    reject: ended        reject: ended
//	otherwise                                     acknowledge          reject: delivered
//
// A repeat may begin a lease anew that ended without use. The message that began it
// may only if its requester had neither an answer nor a delivery ([isUnanswered]).
func decideRequest(f requestFacts, r record.Record) requestStep {
	if r.Origin.Fingerprint != f.fingerprint {
		return stepRejectReused
	}
	mayBeginAnew := !f.own || isUnanswered(r)
	switch {
	case r.State == messages.StateProvisioning && !f.own && f.now.Before(r.Due):
		return unlessLate(f, stepWaitAttempt)
	case r.State == messages.StateProvisioning:
		return stepTakeOver
	case r.State == messages.StateActive && !r.Settled():
		return decideUnsettled(f, r)
	case r.WillBeRepeatable() && mayBeginAnew:
		return unlessLate(f, stepWaitTeardown)
	case r.Repeatable() && mayBeginAnew:
		return stepBegin
	case r.Reason == messages.ReasonFailed && f.own:
		return stepFinishFailed
	case r.Reason == messages.ReasonFailed:
		return stepAnswerFailed
	case r.DeliveredAt.IsZero():
		return stepRejectEnded
	case f.own:
		return stepAck
	}
	return stepRejectDelivered
}

func unlessLate(f requestFacts, step requestStep) requestStep {
	if f.late {
		return stepRejectLate
	}
	return step
}

// decideUnsettled decides about an active lease whose delivery is not settled.
func decideUnsettled(f requestFacts, r record.Record) requestStep {
	expired := !f.now.Before(r.ExpiresAt)
	switch {
	case !expired && !f.late:
		return stepDeliver
	case f.own && !r.DeliveredAt.IsZero():
		return stepAck
	case f.own:
		return stepGiveUp
	case expired:
		return stepRejectExpired
	}
	return stepRejectLate
}

// isUnanswered reports whether the requester of the message that began the lease had
// neither an answer nor a delivery.
func isUnanswered(r record.Record) bool {
	if r.Reason == messages.ReasonFailed {
		return r.Failure != nil && r.Failure.Code == messages.CodeAbandoned
	}
	return r.DeliveredAt.IsZero()
}

// maxClockSkew is how far a scheduler's clock may be ahead of a worker's: a reminder
// that comes early by less is redelivered when the lease is due.
const maxClockSkew = 5 * time.Second

// reminderDecision is what a worker does with a reminder.
type reminderDecision struct {
	action record.Action
	// wait is set, with ActionNone, if the reminder is a little early.
	wait time.Duration
	// ensureEnded is set, with ActionNone, if the worker that ended the lease with
	// this message may have died before it emitted the event.
	ensureEnded bool
}

// decideReminder decides what a reminder is for.
func decideReminder(r record.Record, now time.Time, redelivered bool) reminderDecision {
	if redelivered && r.State == messages.StateRevoking && !r.SessionDenied() {
		return reminderDecision{action: record.ActionTeardown} // the worker that began it with this message is gone
	}
	if action := r.Action(now); action != record.ActionNone {
		return reminderDecision{action: action}
	}
	if early := r.Due.Sub(now); early > 0 && early <= maxClockSkew {
		return reminderDecision{wait: early}
	}
	return reminderDecision{ensureEnded: redelivered && (r.State.Ended() || r.SessionDenied())}
}
