package provider

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Kind states what an error means for the caller.
type Kind string

// The kinds of errors.
const (
	Unavailable Kind = "unavailable" // unreachable, throttled or failing: retry later
	Denied      Kind = "denied"      // the broker lacks a permission
	Rejected    Kind = "rejected"    // the system refuses the request: a retry does not help
	NameTaken   Kind = "name taken"  // the user name is in use by another owner
	NotVisible  Kind = "not visible" // a user is not found, or a key not accepted, and may be too new
)

// Left states what a failed [Users.Create] may have left behind.
type Left string

// What a failed creation may leave.
const (
	LeftUnknown Left = ""        // unknown: assume a user, and check its owner
	LeftNothing Left = "nothing" // no user was made
	LeftUser    Left = "user"    // a user of the lease, complete or not
)

// Error is a failed call.
type Error struct {
	Kind Kind
	Op   string // the call that failed, such as CreateUser
	Code string // the system's own code, such as AccessDenied; "" without an answer
	Left Left   // set by Create
	Err  error  // the cause, for logs
	// KeyDeleted is set by Delete: the key is deleted, and the rest may not be.
	KeyDeleted bool
	// Throttled states that the system accepts no more calls for now: it has said
	// so, or the call was not sent because it would have waited for too long.
	Throttled bool
	// After is the least time that the call would have waited; 0 means unknown.
	After time.Duration
	// Unsigned states that the broker had no credentials to sign the call with. Op
	// and Code are then those of the call that should have returned credentials, if
	// there was one.
	Unsigned bool
	// Why explains an error without a Code: what an unsigned call lacks, or why a
	// call was not sent. It is safe to show to requesters.
	Why string
	// Unauthenticated states that the system does not accept the broker's own
	// credentials, or the token that it exchanges for them.
	Unauthenticated bool
	// Words is the system's own message, for operators; "" if there is none. It may
	// contain ARNs.
	Words string
	// Action and Resource are what the broker was denied, where the system states
	// it: "iam:CreateUser" and an ARN.
	Action, Resource string
}

// Error returns kind, operation, code and cause. It is for logs.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.Kind, strings.TrimSpace(e.Op+" "+e.Code), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Safe describes the error without the system's own message, for requesters and
// records.
func (e *Error) Safe() string {
	switch {
	case e.Unsigned && e.Code != "":
		return fmt.Sprintf("the broker could not authenticate to AWS: %s was answered with %s; its operator has to fix that", e.Op, e.Code)
	case e.Unsigned && e.Why != "":
		return fmt.Sprintf("the broker has no credentials for AWS: %s; its operator has to fix that", e.Why)
	case e.Unsigned:
		return "the broker has no credentials for AWS; its operator has to fix that"
	}
	switch {
	case e.Code == "" && e.Why != "":
		return fmt.Sprintf("%s is not possible: %s", e.Op, e.Why)
	case e.Code == "":
		return fmt.Sprintf("%s failed before AWS answered", e.Op)
	}
	return fmt.Sprintf("AWS answered %s with %s", e.Op, e.Code)
}

// Public returns the error for requesters.
func (e *Error) Public() *messages.Error { return e.public(e.Safe()) }

// ForOperators returns the error with the system's own message, which may contain
// ARNs.
func (e *Error) ForOperators() *messages.Error {
	if e.Words == "" {
		return e.Public()
	}
	return e.public(e.Safe() + ": " + e.Words)
}

func (e *Error) public(message string) *messages.Error {
	code := messages.CodeProviderUnavailable
	switch e.Kind {
	case Denied:
		code = messages.CodeProviderDenied
	case Rejected:
		code = messages.CodeProviderRejected
	case NameTaken:
		code = messages.CodeUsernameTaken
	}
	return messages.Errorf(code, "%s", message).Because(e)
}

// AsError returns the [Error] in err's chain. If there is none, it returns one of
// kind Unavailable that wraps err.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Unavailable, Op: "the call", Err: err}
}
