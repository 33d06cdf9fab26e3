package consumer

import (
	"time"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

// Meter counts what happens. Its methods are called by many goroutines, and must be
// quick.
type Meter interface {
	// Handled counts a message that is off its stream, or refused by the API. The
	// outcome is one of the constants below or an error's code; took is the time since
	// the message was stored.
	Handled(verb messages.Verb, outcome string, took time.Duration)
	// Redelivered counts a message that was delivered again.
	Redelivered(verb messages.Verb)
	// Undelivered counts a lease whose delivery was not settled.
	Undelivered()
	// RevocationFailed counts a failed teardown.
	RevocationFailed()
	// Expired counts a lease that expired and is torn down; late is the time from
	// its end to the deletion of its key.
	Expired(late time.Duration)
	// OrphanSwept counts an orphan, and whether it could be removed.
	OrphanSwept(removed bool)
	// OrphansHeld sets how many orphans wait for an operator's consent.
	OrphansHeld(users int)
	// Held sets whether the restore guard is active.
	Held(bool)
}

// Outcomes of messages for a [Meter], beside the codes of errors.
const (
	OutcomeIssued      = queue.LabelIssued
	OutcomeUndelivered = queue.LabelUndelivered
	OutcomeRenewed     = queue.LabelRenewed
	OutcomeRevoked     = queue.LabelRevoked
	OutcomeConfirmed   = queue.LabelConfirmed
	OutcomeNothing     = queue.LabelNothing
)

// noMeter counts nothing.
type noMeter struct{}

func (noMeter) Handled(messages.Verb, string, time.Duration) {}
func (noMeter) Redelivered(messages.Verb)                    {}
func (noMeter) Undelivered()                                 {}
func (noMeter) RevocationFailed()                            {}
func (noMeter) Expired(time.Duration)                        {}
func (noMeter) OrphanSwept(bool)                             {}
func (noMeter) OrphansHeld(int)                              {}
func (noMeter) Held(bool)                                    {}
