// Package provider says what lessor needs of the system that issues
// credentials, and nothing of how: package awsiam does it with AWS IAM.
//
// A lease's user lives through four calls. [Account.Create] makes user and key;
// [Account.Extend] moves the date at which the system itself refuses the key;
// [Account.Probe] asks whether the key works yet; [Account.Delete] ends it. Each
// may be called again after a crash, by somebody else, with what the lease's
// record says and no more, so each must do with that: a user that is half made
// is finished, one that is half removed is removed.
//
// What went wrong is an [Error]: whether it is worth trying again, and what may
// be left behind.
package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Provider issues credentials.
type Provider interface {
	// Check says what is wrong with a definition, as far as that can be told
	// without a call. The error is a [messages.Error] that names the field.
	Check(messages.DynamicSecret) error
	// Connect reaches an account. It makes no call; a connection that does not
	// work shows with the first one. Accounts are shared and never closed.
	Connect(context.Context, Connection) (Account, error)
}

// Connection is how to reach one account as one principal: what a definition's
// region and authentication boil down to. Leases name it, and it is kept as
// long as one does.
//
//	{"name":"default-eu-central-1","region":"eu-central-1","auth":{"method":"default"}}
type Connection struct {
	Name   string        `json:"name"`
	Region string        `json:"region"`
	Auth   messages.Auth `json:"auth"`
}

// ConnectionOf returns the connection that a definition asks for.
func ConnectionOf(s messages.DynamicSecret) Connection {
	return Connection{
		Name:   s.AWS.Auth.Method + "-" + s.AWS.Region,
		Region: s.AWS.Region,
		Auth:   s.AWS.Auth,
	}
}

// Account is one account, as one principal. Its methods may be called at the
// same time, also for the same user.
type Account interface {
	// Create makes the user and its key.
	Create(context.Context, Creation) (messages.Credentials, error)
	// Extend sets the date after which the system refuses the user. It is not
	// called for users without hard expiry.
	Extend(ctx context.Context, user messages.User, denyAfter time.Time) error
	// Delete removes what the deletion says. That there is nothing left to
	// remove is no error.
	Delete(context.Context, Deletion) error
	// Probe returns nil if the system accepts the key now.
	Probe(context.Context, messages.Credentials) error
}

// Owner is whose a user is. It is written on the user when it is made, and read
// before a user is touched that may be somebody else's.
type Owner struct {
	Installation string
	Lease        string // the lease's name
	Attempt      int
}

// Creation is a user to be made, or to be finished: one that an earlier attempt at
// Owner's lease has begun is taken over, and keys that it has are deleted, because
// nobody knows their secret.
type Creation struct {
	User  messages.User
	Owner Owner
	// DenyAfter is when the system must refuse the user; zero: never.
	DenyAfter time.Time
	// Held returns nil if the lease's record is still this attempt's. It is asked
	// before keys are deleted whose secret nobody knows: a key that was there
	// before the answer is no later attempt's, because that takes the record
	// first. nil stands for a function that returns nil.
	Held func(context.Context) error
}

// Deletion is a user to be removed.
type Deletion struct {
	User  messages.User
	Owner Owner
	// AccessKeyID is the user's key; "" where it isn't known: then the system
	// is asked.
	AccessKeyID string
	// KeyOnly deletes that one key and leaves the user.
	KeyOnly bool
	// Ours says that the user is known to be Owner's. Where it is not, that is
	// made sure first; the user of somebody else, or of a later attempt, is left
	// alone, and that is no error.
	Ours bool
	// Young says that the user may have been made so recently that the system
	// does not show it everywhere yet: that it can't be found proves nothing,
	// and is the error [NotVisible].
	Young bool
}

// Kind is what an error means for whoever called.
type Kind string

// The kinds of errors.
const (
	Unavailable Kind = "unavailable" // unreachable, throttled, failing: try again later
	Denied      Kind = "denied"      // the broker may not do that
	Rejected    Kind = "rejected"    // the system refuses: trying again is no use
	NameTaken   Kind = "name taken"  // the user name is somebody else's
	NotVisible  Kind = "not visible" // not found, or a key not accepted, but it may be too new to be
)

// Left is what a failed [Account.Create] may have left behind.
type Left string

// What may be left.
const (
	LeftUnknown Left = ""        // nobody knows: assume a user, make sure whose
	LeftNothing Left = "nothing" // no user was made
	LeftUser    Left = "user"    // a user of ours, in whatever state
)

// Error is what went wrong with a call.
type Error struct {
	Kind Kind
	Op   string // the call that failed, such as CreateUser
	Code string // the system's own code, such as AccessDenied; "" without an answer
	Left Left   // of Create
	Err  error  // the cause, for logs
	// Unsigned says that the broker had no credentials to make the call with.
	Unsigned bool
}

// Error tells operation, code and cause. It is for logs.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.Kind, strings.TrimSpace(e.Op+" "+e.Code), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Safe says what happened without the system's own words, for requesters and
// records.
func (e *Error) Safe() string {
	if e.Unsigned {
		return "the broker has no credentials for AWS; its operator must see to that"
	}
	if e.Code == "" {
		return fmt.Sprintf("%s failed before AWS answered", e.Op)
	}
	return fmt.Sprintf("AWS answered %s with %s", e.Op, e.Code)
}

// Public is the error as the requester may see it.
func (e *Error) Public() *messages.Error {
	code := messages.CodeProviderUnavailable
	switch e.Kind {
	case Denied:
		code = messages.CodeProviderDenied
	case Rejected:
		code = messages.CodeProviderRejected
	case NameTaken:
		code = messages.CodeUsernameTaken
	}
	return messages.Errorf(code, "%s", e.Safe()).Because(e)
}

// AsError returns the [Error] in err's chain, or err as one of kind
// Unavailable.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Unavailable, Op: "the call", Err: err}
}
