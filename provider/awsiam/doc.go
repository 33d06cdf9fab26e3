// Package awsiam issues AWS IAM users with access keys, and sessions of roles.
//
// [New] returns a [Provider]. Its Connect method returns an account, whose methods make
// the calls. The subpackages validate definitions (definition), get the broker's own
// credentials (awsauth) and limit the rate of calls (throttle).
//
// # The life of a user
//
// Create takes two round trips. CreateUser sets path, permissions boundary and tags;
// everything else is sent at once:
//
//	CreateUser ─┬─ PutUserPolicy      the configured statements, and the Deny of a hard expiry
//	            ├─ AttachUserPolicy   each managed policy
//	            ├─ AddUserToGroup     each group
//	            └─ CreateAccessKey
//
// The key may exist before the Deny does, but its secret is not returned until every call
// has succeeded. The boundary applies from the beginning.
//
// Extend is one PutUserPolicy with a later date. Probe is STS GetCallerIdentity with the
// user's key.
//
// Delete takes two round trips as well:
//
//	DeleteAccessKey ─┬─ DetachUserPolicy …
//	 (on the wire    ├─ RemoveUserFromGroup …  ── DeleteUser
//	  before the     └─ DeleteUserPolicy
//	  others)
//
// If AWS does not acknowledge the key's deletion, the Deny may be removed and the key
// alive: then a Deny without a date is put before the error is returned. In the mode
// TeardownKeyFirst, and while calls are throttled, the others are sent only after AWS has
// acknowledged the key's deletion, which takes a third round trip.
//
// A session of a role is one AssumeRole. DenySession is a PutRolePolicy on the role with a
// statement that denies everything to sessions of that name; Delete is DeleteRolePolicy.
//
// # Failures
//
// CreateAccessKey has no idempotency token, so the SDK makes one attempt at it. If the
// result of that attempt is not known, the user's keys are listed and deleted before the
// next one. All other calls may be repeated, and the SDK does so. A CreateUser whose answer
// was lost finds its own user the second time, and adopts it if the tags state its owner.
//
// IAM is eventually consistent. The steps of Create are repeated until AWS
// finds the new user. Delete takes "not
// found" for "deleted" only if the user is old enough. Calls that change one user
// concurrently may fail with ConcurrentModification: they are repeated after a while, and
// finally one after the other.
//
// While anything is attached to a user, DeleteUser fails with DeleteConflict. Then, and
// only then, all nine kinds of attachments are listed and removed: operators add login
// profiles, and AWS itself attaches quarantine policies.
//
// # Rate and owner
//
// AWS throttles the calls to an account. The call budget of an account gives priority to
// calls that end access, then to the rest of a teardown, to renewals, to creations that
// have begun, and to everything else; see package throttle. No user is created if the
// calls that must follow would not be made in time.
//
// The tags lessor:installation and lessor:lease state the owner of a user, and
// lessor:attempt the attempt that made it or took it over. A user that is not known to
// belong to the lease is not changed before its tags have been read.
package awsiam
