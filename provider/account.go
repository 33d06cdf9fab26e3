package provider

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Account is one account, reached as one principal. Its methods may be called
// concurrently, also for the same user.
type Account interface {
	Identifier
	Users
	Sessions
	DryRunner
	Lister
	KeyRotator

	// Backlog reports whether calls to the account wait at this moment because the
	// system does not accept more of them. It is a hint.
	Backlog() bool
}

// Identifier returns the broker's own principal.
type Identifier interface {
	// Identify returns the principal that the connection authenticates as. The call
	// needs no permission.
	Identify(context.Context) (Principal, error)
}

// Users manages the users of leases.
type Users interface {
	// Create makes the user and its access key, or begins the session. The error's
	// Left states what may be left behind.
	Create(context.Context, Creation) (messages.Credentials, error)
	// Extend sets the date from which the system refuses the user. It must not be
	// called for a session, or with a zero date.
	Extend(ctx context.Context, user record.User, denyAfter time.Time) error
	// Delete removes what the deletion's mode states. It returns nil if there is
	// nothing left to remove, or if the user belongs to another lease. For a session
	// it removes the policy that [Sessions.DenySession] has put on the role.
	Delete(context.Context, Deletion) error
	// Probe returns nil if the system accepts the credentials now, and an [Error] of
	// kind NotVisible if it does not know them.
	Probe(context.Context, messages.Credentials) error
}

// Sessions ends the access of sessions.
type Sessions interface {
	// DenySession denies everything to a session until [Users.Delete] is called for
	// it. It may be repeated.
	DenySession(ctx context.Context, session record.User) error
}

// DryRunner tests the broker's permissions.
type DryRunner interface {
	// DryRun makes a user, or begins a session, makes each call that a lease may
	// need, and removes the user again. It goes on after a call has failed.
	DryRun(context.Context, Creation) DryRun
}

// Lister finds users.
type Lister interface {
	// ListUsers returns one page of the users below a path, and the marker of the
	// next page. "" is the marker of the first page, and follows the last.
	ListUsers(ctx context.Context, path, marker string) (page []ListedUser, next string, err error)
	// OwnerOf returns the lease that a user belongs to. It returns false if the user
	// does not exist, or does not carry an installation's mark.
	OwnerOf(ctx context.Context, username string) (Owner, bool, error)
}

// KeyRotator replaces the access key of the broker's own user.
type KeyRotator interface {
	// OwnKeys returns the ids of the access keys of the broker's own user.
	OwnKeys(context.Context) ([]string, error)
	// CreateOwnKey makes another access key. It makes one attempt: after an error
	// there may be a key whose secret was lost.
	CreateOwnKey(context.Context) (messages.Credentials, error)
	// DeleteOwnKey deletes an access key. It returns nil if there is no such key.
	DeleteOwnKey(ctx context.Context, accessKeyID string) error
}

// Principal is the broker's identity in an account.
type Principal struct {
	Account string `json:"account"` // the account's number: for AWS, 12 digits
	ARN     string `json:"arn"`
}

// ListedUser is a user found by [Lister.ListUsers].
type ListedUser struct {
	Name, Path string
	CreatedAt  time.Time // by the system's clock
}

// Owner is the lease, and the attempt at issuing it, that a user belongs to. It is
// written on the user when the user is made, and compared before a user is changed
// that may belong to another lease.
type Owner struct {
	Installation string
	Lease        string // the lease's name
	Attempt      int
}

// Creation describes a user to make or to complete. A user that an earlier attempt
// at Owner's lease has begun is taken over, and its access keys are deleted, because
// their secrets are lost.
type Creation struct {
	User  record.User
	Owner Owner
	// DenyAfter is the date from which the system must refuse the user; zero sets
	// none.
	DenyAfter time.Time
	// For is the length of a session. Users ignore it.
	For time.Duration
	// StillCurrent returns nil if the lease's record still belongs to this attempt.
	// It is called after the keys of an existing user have been listed and before
	// they are deleted: a later attempt writes the record before it makes its key,
	// so none of the listed keys is that attempt's. If it is nil, the attempt is
	// taken to be current.
	StillCurrent func(context.Context) error
}

// DryRun is the result of [DryRunner.DryRun].
type DryRun struct {
	Calls []DryRunCall // in the order in which they are shown
	// Left states what the dry run may have left behind, for [Users.Delete].
	Left Left
}

// DryRunCall is one call of a dry run.
type DryRunCall struct {
	Op  string // such as AttachUserPolicy
	On  string // the group or policy that the call is about; "" if there is one call only
	Err *Error // nil if the call succeeded
}
