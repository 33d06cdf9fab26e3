// Package restore keeps a lease bucket that was restored from a backup from doing harm.
//
// Such a bucket has the ends that leases had when the backup was made, and no record of
// the leases that were issued since. By its records, leases that were renewed since have
// expired, and users that were created since are orphans. So while the [Guard] is active
// no lease ends because of a record from the backup (it expired, its delivery was not
// settled, its provisioning was not finished), and no sweep removes a user. Commands are
// carried out, and records that are written from then on count as ever.
//
// [Guard.Detect] finds out that the bucket was restored: brokers mark which stream the
// bucket has, by its creation time, and how far it has come. A stream that is restored is
// created anew; one whose files were put back has gone back. If the files of the whole
// store were put back neither shows, and the operator has to say so
// ([GuardConfig].Restored).
//
// [Restorer.Report] shows an operator what would end. [Restorer.Apply] gives leases the
// later ends that events state, resumes what the guard blocks, and sweeps.
package restore
