package queue

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Outcome is what becomes of a task: what its handler returns, and [Workers] carry
// out. The functions below make outcomes; the zero value is [NoAck].
type Outcome struct {
	action action
	label  string // for the meter

	reply *messages.Reply
	err   error
	lease *messages.Lease
	wait  time.Duration
	next  func(context.Context) Outcome
}

type action int

const (
	noAck action = iota
	ack
	retryLater
	retryIn
	reject
	detach
	detachUntilStop
)

// Labels of outcomes for a [Meter], beside the codes of errors.
const (
	LabelIssued      = "issued"
	LabelUndelivered = "undelivered"
	LabelRenewed     = "renewed"
	LabelRevoked     = "revoked"
	LabelConfirmed   = "confirmed"
	LabelNothing     = "nothing" // there was nothing to do
)

// Ack acknowledges the message: its work is done and needs no answer.
func Ack(label string) Outcome { return Outcome{action: ack, label: label} }

// Answer publishes a reply on the task's reply subject, if it has one, and
// acknowledges the message.
func Answer(label string, reply messages.Reply) Outcome {
	return Outcome{action: ack, label: label, reply: &reply}
}

// Retry gives the message back because of an error that passes. It is redelivered
// after a wait that doubles with each delivery or, if another worker was faster
// ([bucket.ErrConflict]), after a short one.
func Retry(err error) Outcome { return Outcome{action: retryLater, err: err} }

// RetryIn gives the message back, to be redelivered after the wait.
func RetryIn(wait time.Duration) Outcome { return Outcome{action: retryIn, wait: wait} }

// Reject takes the message off its stream because it can't be served: an event is
// emitted, and the requester gets the error and the lease's present state, which may
// be nil. An error that is not a [messages.Error] becomes an internal one.
func Reject(err error, lease *messages.Lease) Outcome {
	return Outcome{action: reject, err: err, lease: lease}
}

// NoAck leaves the message as it is: another worker has it, or will have it after
// AckWait.
func NoAck() Outcome { return Outcome{} }

// Detach continues the task without its worker. The message stays in progress; a
// stop waits for it. The context is [Lifetime.Base].
func Detach(next func(context.Context) Outcome) Outcome {
	return Outcome{action: detach, next: next}
}

// DetachUntilStop is Detach for work that a stop interrupts: its context is
// [Lifetime.Running].
func DetachUntilStop(next func(context.Context) Outcome) Outcome {
	return Outcome{action: detachUntilStop, next: next}
}
