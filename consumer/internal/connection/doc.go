// Package connection keeps the connections to AWS accounts, and rotates their access
// keys.
//
// A connection is one AWS account, reached as one principal: a region and a way to
// authenticate. A definition asks for it ([provider.ConnectionOf]), and the record of
// each lease has its name. [Registry] stores it in the state bucket, an access key
// sealed, before the first lease names it. So a lease can be ended whatever becomes of
// its definition, and a key can be replaced while leases are alive.
//
// # Life of a connection
//
// [Registry.Ensure] stores the connection of a definition that is put.
// [Registry.Reach] connects to the account: it asks AWS once for the broker's own
// principal, and refuses an account other than the one that existing leases are in.
// [Registry.AddPath] notes the IAM paths of users, for the sweep. [Registry.Rotate]
// replaces the access key in steps that any replica can continue
// ([Registry.ContinueRotations]). [Registry.Drop] deletes a connection that neither a
// definition nor a lease has named for some time.
//
// All connections of one principal have the same access key: one that is rotated, or
// found to work, is passed to the others.
//
// [Registry.Watch] follows the bucket, so that a connection changed by another replica
// is connected anew. A connection that can't be read ([ErrUnreadable]), because it is
// damaged or a newer broker's, is left as it is and affects no other.
package connection
