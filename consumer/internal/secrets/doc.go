// Package secrets keeps the dynamic secrets: the definitions by which leases are
// issued.
//
// A [Registry] stores definitions in the secret bucket. Operators put them by the admin
// API; the broker's --secrets folder puts them with [SourceFile]. The secret access key
// of a definition is not in that bucket: it is stored, sealed, with the connection.
//
// # Reading
//
// [Registry.Watch] keeps a copy in memory. [Registry.Get] returns a definition from
// that copy, which may be a moment old. [Registry.Fresh] reads the bucket's leader. A
// request uses the copy to write its lease's record, and then compares it with a fresh
// definition before it calls AWS.
//
// A definition that can't be used (damaged) may be put again and deleted. One that a
// newer broker has put ([ErrNewerVersion]) is neither used nor changed.
//
// # Deletion
//
// [Registry.Delete] stores that the definition is being deleted, so that it issues no
// more leases, and then lists the leases. Because a request writes its record before it
// reads the definition for the last time, either the request finds the deletion and
// issues nothing, or the list has its record. The leases are revoked by commands. The
// definition is removed when no lease is left; [Registry.ContinueDeletions] looks for
// that at every replica.
package secrets
