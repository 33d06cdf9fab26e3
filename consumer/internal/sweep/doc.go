// Package sweep finds and removes orphans: IAM users of this installation that no
// lease knows. An orphan is left if AWS carries out a call long after the broker has
// given it up, if a power cut loses a record that was not on disk yet, or if a bucket
// is lost.
//
// A sweep compares one connection's account with the lease bucket, below the IAM paths
// that leases have ever had there:
//
//   - It reads the leases first. A user is recorded before it is created, so a user that
//     is not known then, and is older by a grace period for clocks, is a candidate.
//   - It reads the tags of the candidates only. They say whether the user is this
//     installation's, and which lease's record to read once more.
//   - It deletes the user as the teardown of a lease does. That it is about to is written
//     down before, so that the next sweep emits the event if this one can't.
//
// Many orphans at once are suspicious: a bucket that was restored from a backup does not
// know the users that were created since. They are reported and left alone until an
// operator decides ([Sweeper.Run]). So are all orphans while the restore guard is active.
//
// [Sweeper.RunDue] is for the maintenance loop of every replica: it sweeps each
// connection whose last sweep is old enough, after it has claimed it in the state bucket.
package sweep
