package provider

import "github.com/lessorhq/lessor/messages/record"

// Deletion describes a user to remove.
type Deletion struct {
	User  record.User
	Owner Owner
	// AccessKeyID is the user's access key; "" means unknown: then the user's keys
	// are listed, and all are deleted.
	AccessKeyID string
	// Mode states what is deleted, and in which order.
	Mode DeletionMode
	// OwnerKnown states that the user is known to belong to Owner. Otherwise the
	// user is read first, and left alone if it belongs to another lease or to a
	// later attempt.
	OwnerKnown bool
	// Young states that the user may have been made so recently that the system does
	// not show it everywhere yet. If it cannot be found then, Delete returns an
	// [Error] of kind NotVisible instead of nil.
	Young bool
}

// DeletionMode states what a deletion removes, in which order, and what it does
// where the system accepts no more calls for now (a backlog). "The rest" is the user
// and everything attached to it.
//
//	mode               deletes        order                      the rest, in a backlog
//	DeleteUser         key, the rest  concurrently               waits
//	Teardown           key, the rest  concurrently               is left: KeyDeleted, Throttled
//	TeardownKeyFirst   key, the rest  the rest after the key     is left: KeyDeleted, Throttled
//	Cleanup            the rest                                  waits
//	DeleteKey          key
//
// The key's deletion waits for its turn in every mode, and goes before all other
// calls to the account. In a backlog the key is deleted first in every mode.
type DeletionMode int

const (
	// DeleteUser deletes the key and the rest concurrently, for a user that no
	// requester has the key of: an orphan, or the user of an attempt that has lost
	// the lease's record.
	DeleteUser DeletionMode = iota
	// Teardown deletes the key and the rest concurrently, in two round trips. In a
	// backlog it deletes the key alone and returns an [Error] with KeyDeleted and
	// Throttled, so that in a mass expiry every key is deleted before the first
	// user is.
	Teardown
	// TeardownKeyFirst is Teardown, except that the rest is deleted only after the
	// system has acknowledged that the key is. It takes one more round trip. It is for
	// a user whose policy may be the only thing that denies the key: the date of a hard
	// expiry has passed, or an earlier teardown has failed.
	TeardownKeyFirst
	// Cleanup deletes the rest of a user whose key is known to be deleted.
	Cleanup
	// DeleteKey deletes one key and leaves the user.
	DeleteKey
)
