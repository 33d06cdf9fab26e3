// Package scheduler reminds the workers of what is due.
//
// Every live lease's record says when somebody must look at it next: its end,
// the last moment for a confirmation, the next try of a revocation that failed.
// The scheduler keeps an [index] of these times in memory, fed by a watch on the
// lease bucket. A tick takes what is due from the front of it and publishes a
// reminder for each on the lease's revoke subject; it costs what is due, not
// what exists. The worker that gets the reminder decides by the record at hand
// whether anything is to be done.
//
// The stream holds one pending message a lease, so any number of schedulers may
// remind, and do not know of one another: there is no leader. A reminder is
// repeated, at growing intervals, until the record changes.
//
// A start reads the whole bucket, and ticks meanwhile: what is known is served. With
// many leases that takes seconds, and what is due may be read last. So schedulers that
// know many write down, a few seconds after they change, when leases are due: the
// calendar. A start reads it first, and then the records that are newer than it; what
// it says is a hint, which the bucket corrects.
//
// A patrol reads the bucket beside the watch, at a pace that does not depend on how many
// leases there are, and compares it with the index. Where they differ and go on to, or
// where the bucket is another than it was, all is read anew: what the index has missed,
// it learns then, and what it should have forgotten, it forgets.
//
// A record that can't be read (it is damaged, or a newer broker's) is set aside: it
// is reported once, still counts as a lease, and is never due until it is written
// again.
package scheduler
