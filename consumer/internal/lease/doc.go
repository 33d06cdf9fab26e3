// Package lease is the lease engine: it takes leases through their life.
//
// [Requests], [Renewals], [Revocations] and [Confirmations] handle the messages of one
// verb each. A handler decodes the message, loads the lease's entry, decides by the
// entry what is to be done, does it, and returns a [queue.Outcome]; a first request
// without an idempotency key has no entry and begins at once. The decisions are pure
// functions: [decideRequest] for a request, [decideReminder] for a reminder.
// [Teardown] is how every lease ends, whatever ends it. [DryRuns] try a definition
// out. [Engine] has them all.
//
// # A request
//
// The record is written before AWS is called. Then the worker makes user and key,
// puts the key, sealed, into the record, emits the event issued, and delivers
// ([Deliveries]): first the event, because a requester that has the key may end the
// lease at once. When the record says that NATS has taken the delivery, the message is
// acknowledged. A confirmation is a message on the confirm stream, so that no worker of
// requests waits for it.
//
// A worker may die after any of these steps. The message is redelivered to any
// replica, and the record says how far the work has come: an unfinished attempt is
// taken over (the attempt's number goes up, by compare-and-set, so that the first
// worker notices) and finished with the same IAM user; a key that may not have been
// delivered is delivered again, unchanged. If the message is not redelivered, the
// record is due at some time, and a reminder tears the lease down.
//
// # An end
//
// A message on a revoke subject is a command or, with the header Lessor-Due, a
// reminder by a scheduler. For a reminder the record decides whether anything is due,
// so a renewal that was stored in time wins. The teardown deletes key and user; what
// can't be deleted now is due again later, without end.
//
// If calls to the AWS account wait, a worker deletes the key only: the record is due
// again a few seconds later, the message is acknowledged, and the next reminder makes a
// worker start a cleanup, which runs on a goroutine of its own. So in a mass expiry all
// keys are deleted before the first user.
package lease
