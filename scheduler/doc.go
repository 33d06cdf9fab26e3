// Package scheduler publishes a reminder when something about a lease is due.
//
// Every record of a live lease has a due time: the end of the lease, the last moment
// for a confirmation, the next attempt at a teardown that failed. The scheduler keeps
// an index of these times in memory. A watch of the lease bucket keeps the index up
// to date. Five times a second a tick takes what is due from the front of the index
// and publishes a reminder for each: a message without a body on the lease's revoke
// subject. The time that a tick takes grows with the number of leases that are due, and
// not with the number of all leases. The worker that receives the reminder reads the
// record and decides whether there is anything to do.
//
// The stream of revocations takes one pending message for each lease, a command or a
// reminder. So any number of schedulers may run, and there is no leader. A reminder is
// repeated, at growing intervals, until the record changes.
//
// # Loading
//
// A scheduler that starts reads the whole bucket. It does not parse the records: the
// broker writes what the index needs into the headers of their messages (see
// [record.Summarize]). Ticks run meanwhile, so leases that are overdue get their
// reminder as soon as their entry is read. Until everything is read the scheduler is
// not healthy and does not report counts.
//
// # Resync
//
// A watch reports everything that changes, with exceptions: a message that an operator
// purges leaves no trace, and the watch of a bucket that is deleted and made anew, or
// restored from a backup, may go on in the middle of the new one. Therefore the
// scheduler begins its watch anew every few minutes, and at once if the bucket's
// stream is another one or its last sequence is lower than it was. Each watch is a
// generation. It reports everything that is in the bucket; what it has not reported
// when it has reported everything is dropped from the index. Records at a revision
// that the index has are not parsed again. With many leases the time between resyncs
// grows, so that they take about a hundredth of the time. While a watch reads, changes
// reach the index late: with 100,000 leases, by a second.
//
// # Records that can't be read
//
// A record that is damaged, or that a newer version of the broker wrote, is logged
// once. It counts as a lease, and is never due until it is written again.
//
// # Rates
//
// The watch also reports when leases begin, on whichever replica. From that the
// scheduler counts how many leases each identity began for each secret in the last
// minute; [Scheduler.Admit] limits them.
package scheduler
