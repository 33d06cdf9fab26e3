// Package consumer runs leases through their life. It pulls what requesters,
// schedulers and requesters' confirmations put on the streams, and is the one
// place that writes lease records.
//
// # A request
//
// A worker pulls a message only when it is free, and tells JetStream that it is
// still at it for as long as AWS takes. It writes the lease's record before AWS
// is touched, makes user and key, puts the key, sealed, into the record, tells
// the event issued (before anybody has the key, and so before its end), and hands
// it to the reply subject. Then the delivery is settled and the message is
// acknowledged, or the requester has promised to confirm: the confirmation has a
// stream of its own, so no worker waits for it.
//
// A worker may die after any of these steps. Its message comes again, to any
// replica, and the record says how far the work has got: a lease that is half
// made is taken over (the attempt goes up, by compare-and-set, so that the first
// worker notices when it wakes) and finished on the same IAM user; a key that
// was not delivered for sure is sent again, unchanged. If the message does not
// come again the record is due at some time, and a revocation cleans up.
//
// What a broker has written it remembers for a while: an order about a lease that it
// wrote last is decided by that, as far as nothing happens before the record is written
// by compare-and-set. Where NATS flushes each write to the disk, what many leases write
// at the same time is committed together.
//
// # An end
//
// Whatever ends a lease (it expired, somebody revoked it, nobody took delivery,
// AWS refused it half-way) goes through one function, [Consumer.undo], from the
// state revoking to a tombstone. What can't be undone now is due again later,
// and never given up. A message on a revoke subject is an order, or, with the
// header Lessor-Due, a reminder: then the worker decides by the record at hand
// whether anything is due, so a renewal that was stored in time wins.
//
// Where AWS takes no more calls the worker deletes the key alone, writes that down,
// and leaves the rest for later: the record is due again. So when very many leases end
// at once, every key dies before the first user goes. What can harm nobody any more is
// tidied up by no worker, but by a few goroutines beside them. Whoever has ordered a
// revocation is told when everything is gone, and so is the event stream.
//
// # What operators do
//
// Definitions are put through the admin service, or from files, and reach AWS by a
// connection: the state bucket has it, with its key sealed, for as long as a
// definition or a lease names it. Deleting a definition ends its leases first. What
// takes longer than a request (a deletion, a key's rotation, the sweep for users that
// no lease knows) is written down before each step, and finished by any replica as
// one of its chores.
//
// A record that can't be read is left as it is, and never taken for one that is not
// there. A lease bucket that was restored from a backup is held: nothing ends because
// of a record that comes from there, until an operator says so.
//
// # What comes with an answer
//
// An answer goes to the subject that the header Lessor-Reply-To names, if it is
// one that the broker may publish to. Where NATS says that nobody listens there,
// a new lease is revoked at once. The front door, a NATS micro service, checks a
// plain request, puts it on its stream with that header set to the requester's
// inbox, and stays silent: the one answer is the worker's.
package consumer
