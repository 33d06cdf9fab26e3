package consumer

import (
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Meter is told what happens, so that it can be counted. Its methods are called by
// many goroutines, and must be quick.
type Meter interface {
	// Handled tells of a message that is off its stream, or refused at the front door.
	// The outcome is a constant: what was done, or an error's code. It took the given
	// time since the message was stored.
	Handled(verb messages.Verb, outcome string, took time.Duration)
	// Redelivered tells of a message that came again.
	Redelivered(verb messages.Verb)
	// Undelivered tells of a lease whose credentials reached nobody.
	Undelivered()
	// RevocationFailed tells of a try to undo a lease that has failed.
	RevocationFailed()
	// Expired tells of a lease that expired and is undone, so long after its end.
	Expired(late time.Duration)
	// OrphanSwept tells of a user that no lease knew, and whether it could be removed.
	OrphanSwept(removed bool)
	// OrphansHeld tells how many such users wait for an operator.
	OrphansHeld(users int)
	// Held tells whether the lease bucket is held.
	Held(bool)
}

// Outcomes of messages for a [Meter], beside the codes of errors.
const (
	OutcomeIssued      = "issued"
	OutcomeUndelivered = "undelivered"
	OutcomeRenewed     = "renewed"
	OutcomeRevoked     = "revoked"
	OutcomeConfirmed   = "confirmed"
	OutcomeNothing     = "nothing" // there was nothing to do (any more)
)

// unmetered is a Meter that nobody reads.
type unmetered struct{}

func (unmetered) Handled(messages.Verb, string, time.Duration) {}
func (unmetered) Redelivered(messages.Verb)                    {}
func (unmetered) Undelivered()                                 {}
func (unmetered) RevocationFailed()                            {}
func (unmetered) Expired(time.Duration)                        {}
func (unmetered) OrphanSwept(bool)                             {}
func (unmetered) OrphansHeld(int)                              {}
func (unmetered) Held(bool)                                    {}
