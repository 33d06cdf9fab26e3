// Package awsiam issues AWS IAM users with access keys, and sessions of roles.
//
// # The life of a user, call by call
//
// Create takes two round trips and lists nothing. CreateUser brings path,
// permissions boundary and tags in one call. Everything else goes out at once:
//
//	CreateUser ─┬─ PutUserPolicy      the configured statements and the expiry's Deny
//	            ├─ AttachUserPolicy   each managed policy
//	            ├─ AddUserToGroup     each group
//	            └─ CreateAccessKey
//
// The key may exist before the Deny does: its secret is in this process alone
// until every call has succeeded, and is lost with the process otherwise. The
// boundary is there from the first moment on.
//
// Extend is one PutUserPolicy with a later date. Probe is STS GetCallerIdentity
// with the user's own key: it needs no permission and works in spite of a Deny,
// so it says whether the key is known, and nothing of the policies.
//
// Delete takes two round trips as well:
//
//	DeleteAccessKey ─┬─ DetachUserPolicy …
//	 (on the wire    ├─ RemoveUserFromGroup …  ── DeleteUser
//	  before the     └─ DeleteUserPolicy
//	  others start)
//
// If AWS does not acknowledge the key's deletion, the Deny may be gone and the
// key alive; then a Deny without a date is put back before the error is returned.
// Where that matters (KeyFirst: the Deny is in force already, or a try has failed; and
// while calls wait) nothing else is touched before AWS has acknowledged that the key is
// deleted. That takes a third round trip.
//
// A session of a role is one AssumeRole, which AWS ends by itself. Cut is a
// PutRolePolicy on the role, with a statement that denies everything to sessions of
// that name; Delete then is DeleteRolePolicy. Nothing else of a session is at AWS.
//
// # What goes wrong on the way
//
// CreateAccessKey has no idempotency token, so the SDK makes one attempt of it
// only. When it is not known what became of the attempt, the user's keys are
// listed and deleted before the next one. All other calls may be repeated, and
// the SDK does that: a CreateUser whose answer was lost finds its own user the
// second time, and takes it over if the tags say whose it is.
//
// IAM is eventually consistent: a new user may be NoSuchEntity to other calls
// for a while. Create waits for it; Delete takes "not found" for "deleted" only
// when the user is old enough. Calls that change one user at the same time may
// meet ConcurrentModification: they are tried again a little later, and at last
// one after the other.
//
// DeleteUser refuses (DeleteConflict) while the user holds anything. Then, and
// only then, all nine kinds of things that a user can hold are listed and
// removed: people add login profiles, and AWS itself attaches quarantine
// policies.
//
// # What an account takes
//
// AWS throttles the calls to an account at a rate that it does not publish, and
// that all connections to it share. Nothing is held back until it first does so;
// then calls wait in one queue an account, and go at the rate that it has been found
// to take, in this order:
//
//	keys       DeleteAccessKey, Cut, and what has to be asked before
//	the rest   of the end of a lease, DeleteUser at last
//	renewals
//	creations  that have begun
//	the others and everything else
//
// A key waits for keys only. Of what is left, each of the others gets one slot in
// eight where it has calls waiting. So that the keys of a mass of leases all go before
// the first user is tidied up, whoever ends them is Brief: Delete then does not wait
// with what is left of a user whose key is gone. A call whose turn would not come before
// its context's deadline is not made, and no creation is begun that could not be
// finished by then.
//
// # Whose a user is
//
// The tags lessor:installation and lessor:lease say it, lessor:attempt which
// attempt at the lease made the user or took it over. Before anything happens to
// a user that is not known to be the lease's they are read, and a user without
// the right ones is left alone.
//
// # Who the broker is
//
// A definition chooses how the broker authenticates, and gets that or an error:
// no method falls back on another's credentials. Sessions are refreshed before
// they expire, once for all who need them, while calls go on with the present
// one; a refresh that fails is no call's failure as long as that is valid. The
// calls that bring credentials have a retryer and a limiter of their own, and
// what AWS says of them is never read as its word on the call that needs them.
package awsiam
