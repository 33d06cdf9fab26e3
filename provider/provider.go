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
// A lease may also be a session of a role: temporary credentials, which end by
// themselves and can't be taken back. [Account.Cut] denies a session everything
// all the same, by a policy on the role, which Delete removes when the session has
// expired.
//
// What went wrong is an [Error]: whether it is worth trying again, and what may
// be left behind.
package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Provider issues credentials.
type Provider interface {
	// Check says what is wrong with a definition, as far as that can be told
	// without a call. The error is a [messages.Error] that names the field.
	Check(messages.DynamicSecret) error
	// Notes says what is not wrong with a definition and may yet be a mistake.
	Notes(messages.DynamicSecret) []string
	// Connect reaches an account. It makes no call; a connection that does not
	// work shows with the first one. Accounts are shared and never closed.
	Connect(context.Context, Connection) (Account, error)
}

// Connection is how to reach one account as one principal: what a definition's
// region and authentication boil down to. Leases name it, and it is kept as
// long as one does.
type Connection struct {
	// Name tells connections apart. It stays the same when the secret of an
	// access key, or the key, is changed.
	Name   string
	Region string
	// Auth is complete: with the secret key, and with the external id that is
	// sent. Never store or print it.
	Auth messages.Auth
	// Session names the broker's own sessions, where Auth assumes a role, so that
	// the account's log tells installations apart; "" is lessor.
	Session string
}

// ConnectionOf returns the connection that a definition asks for. Where it names
// no external id, the broker's own is sent; "" is none.
func ConnectionOf(s messages.DynamicSecret, externalID string) Connection {
	auth := s.AWS.Auth
	if auth.ExternalID == "" && (auth.Method == messages.AuthAssumeRole || auth.AssumeRoleARN != "") {
		auth.ExternalID = externalID
	}
	c := Connection{Name: string(auth.Method) + "-" + s.AWS.Region, Region: s.AWS.Region, Auth: auth}
	if rest := []string{auth.RoleARN, auth.AssumeRoleARN, auth.ExternalID, auth.AccessKeyID}; strings.Join(rest, "") != "" {
		sum := sha256.Sum256([]byte(strings.Join(rest, "\n")))
		c.Name += "-" + hex.EncodeToString(sum[:8])
	}
	return c
}

// Principal is who the broker is in an account.
type Principal struct {
	Account string `json:"account"` // its number: for AWS, 12 digits
	ARN     string `json:"arn"`
}

// Account is one account, as one principal. Its methods may be called at the
// same time, also for the same user.
type Account interface {
	// Identify says who the broker is. It needs no permission.
	Identify(context.Context) (Principal, error)
	// Create makes the user and its key, or begins the session.
	Create(context.Context, Creation) (messages.Credentials, error)
	// Extend sets the date after which the system refuses the user. It is not
	// called for users without hard expiry, and not for sessions.
	Extend(ctx context.Context, user record.User, denyAfter time.Time) error
	// Delete removes what the deletion says: the user, or the Deny that Cut has
	// put. That there is nothing left to remove is no error.
	Delete(context.Context, Deletion) error
	// Cut denies everything to a session until it is deleted.
	Cut(ctx context.Context, session record.User) error
	// Backlog says that calls to the account wait now, because the system does not
	// take more of them. Deletions of keys go before them; whoever ends leases is Brief
	// then, and comes back for the user, so that in a mass expiry no user is tidied up
	// while another has its key. It is a hint: the next moment it may be different.
	Backlog() bool
	// Probe returns nil if the system accepts the key now.
	Probe(context.Context, messages.Credentials) error
	// Try makes a user, or begins a session, makes each call that a lease may need
	// and removes it again, to see what the broker is allowed to do.
	Try(context.Context, Creation) Trial

	// Users returns a page of the users below a path, and the marker of the next page;
	// "" is the first, and behind the last.
	Users(ctx context.Context, path, marker string) (page []FoundUser, next string, err error)
	// OwnerOf reads whose a user is. It returns false where the user does not say
	// so, or is gone.
	OwnerOf(ctx context.Context, username string) (Owner, bool, error)

	// OwnKeys returns the ids of the access keys of the broker's own user.
	OwnKeys(context.Context) ([]string, error)
	// CreateOwnKey makes another one. After an error there may be one that nobody
	// knows the secret of.
	CreateOwnKey(context.Context) (messages.Credentials, error)
	// DeleteOwnKey deletes one. That it is gone is no error.
	DeleteOwnKey(ctx context.Context, accessKeyID string) error
}

// FoundUser is a user that was listed.
type FoundUser struct {
	Name, Path string
	CreatedAt  time.Time // by the system's clock
}

// Trial is what came of trying what a lease needs.
type Trial struct {
	Calls []TriedCall
	// Left is what the trial may have left behind, for [Account.Delete].
	Left Left
}

// TriedCall is a call that was tried, and why it failed; nil where it did not.
type TriedCall struct {
	Op  string // such as AttachUserPolicy
	On  string // what it was about, where there may be several: a group, a policy
	Err *Error
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
	User  record.User
	Owner Owner
	// DenyAfter is when the system must refuse the user; zero: never.
	DenyAfter time.Time
	// For is how long a session lasts.
	For time.Duration
	// Held returns nil if the lease's record is still this attempt's. It is asked
	// before keys are deleted whose secret nobody knows: a key that was there
	// before the answer is no later attempt's, because that takes the record
	// first. nil stands for a function that returns nil.
	Held func(context.Context) error
}

// Deletion is a user to be removed.
type Deletion struct {
	User  record.User
	Owner Owner
	// AccessKeyID is the user's key; "" where it isn't known: then the system
	// is asked.
	AccessKeyID string
	// KeyOnly deletes that one key and leaves the user.
	KeyOnly bool
	// KeyGone says that AccessKeyID is known to be deleted.
	KeyGone bool
	// KeyFirst leaves everything else until the system has acknowledged that the key is
	// deleted, which takes one round trip more: where the user's own policy may be all
	// that holds the key back.
	KeyFirst bool
	// Brief deletes no more than the key where calls have to wait: then the error has
	// KeyGone and Throttled.
	Brief bool
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
	// KeyGone says, of Delete, that the key is deleted and the rest may not be.
	KeyGone bool
	// Throttled says that the system takes no more calls for now: it has said so, or
	// the call was not made because its turn would not have come in time. After is how
	// long it would have waited at least, as far as that is known; 0: it is not.
	Throttled bool
	After     time.Duration
	// Unsigned says that the broker had no credentials to make the call with. Op
	// and Code are then those of the call that should have brought them, if it
	// came to one.
	Unsigned bool
	// Why is what an unsigned call lacks, or why one was not made, where there is no
	// Code to say it. It is fit for everybody.
	Why string
	// Unauthenticated says that the system does not accept the broker's own
	// credentials, or those with which it asks for some.
	Unauthenticated bool
	// Words is what the system says about it, for operators; "" if it says nothing.
	Words string
	// Action and Resource are what the broker was denied, where the system says
	// so: "iam:CreateUser" and an ARN.
	Action, Resource string
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
	switch {
	case e.Unsigned && e.Code != "":
		return fmt.Sprintf("the broker could not authenticate to AWS: %s was answered with %s; its operator must see to that", e.Op, e.Code)
	case e.Unsigned && e.Why != "":
		return fmt.Sprintf("the broker has no credentials for AWS: %s; its operator must see to that", e.Why)
	case e.Unsigned:
		return "the broker has no credentials for AWS; its operator must see to that"
	}
	switch {
	case e.Code == "" && e.Why != "":
		return fmt.Sprintf("%s is not possible: %s", e.Op, e.Why)
	case e.Code == "":
		return fmt.Sprintf("%s failed before AWS answered", e.Op)
	}
	return fmt.Sprintf("AWS answered %s with %s", e.Op, e.Code)
}

// Public is the error as the requester may see it.
func (e *Error) Public() *messages.Error { return e.public(e.Safe()) }

// ForOperators is the error with the system's own words, which may name ARNs.
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

// AsError returns the [Error] in err's chain, or err as one of kind
// Unavailable.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Unavailable, Op: "the call", Err: err}
}
