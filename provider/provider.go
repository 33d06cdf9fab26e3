// Package provider defines what the broker needs of the system that issues
// credentials. Package awsiam implements it with AWS IAM.
//
// A [Provider] checks definitions and connects to accounts. An [Account] is one
// account of that system, reached as one principal. It combines small interfaces;
// code that needs one of them should ask for that one:
//
//	Identifier  the broker's own principal
//	Users       create, extend, delete and probe the users of leases
//	Sessions    deny a session everything before it expires
//	DryRunner   make every call that a lease may need
//	Lister      find users, and the leases that they belong to
//	KeyRotator  replace the access key of the broker's own user
//
// # The life of a user
//
// [Users.Create] makes the user and its access key. [Users.Extend] moves the date
// from which the system itself refuses the key. [Users.Probe] reports whether the
// system accepts the key yet. [Users.Delete] removes key and user.
//
// Each call may be repeated by another worker after a crash, knowing only what the
// lease's record says. Create completes a user that an earlier attempt has begun,
// and Delete removes one that is already partly removed.
//
// # The life of a session
//
// A lease may also be a session of a role: temporary credentials that expire by
// themselves and cannot be revoked. [Sessions.DenySession] puts a policy on the
// role that denies everything to that session; Delete removes the policy once the
// session has expired.
//
// # Errors
//
// Methods return an [*Error]. It states whether a retry may help (Kind), which call
// failed and how, and what may be left behind. [Error.Public] and
// [Error.ForOperators] translate it for requesters and for operators.
package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

// Provider checks definitions and connects to accounts.
type Provider interface {
	// Check validates a definition without making a call. It returns a
	// [messages.Error] that names the field at fault.
	Check(messages.DynamicSecret) error
	// Notes returns warnings about a valid definition that may be a mistake.
	Notes(messages.DynamicSecret) []string
	// Connect returns the account that a connection reaches. It makes no call, so
	// wrong credentials show only with the first one. Accounts are shared and are
	// never closed.
	Connect(context.Context, Connection) (Account, error)
}

// Connection states how to reach one account as one principal: the region and the
// authentication of a definition. Leases refer to a connection by its name.
type Connection struct {
	// Name identifies the connection. It does not change when the access key or its
	// secret is replaced.
	Name   string
	Region string
	// Auth is complete: it has the secret access key, and the external id to send.
	// It must not be stored in clear or printed.
	Auth messages.Auth
	// Session is the name of the broker's own role sessions, so that the account's
	// audit log shows the installation; "" means "lessor".
	Session string
}

// ConnectionOf returns the connection of a definition. externalID is sent where a
// role is assumed and the definition has no external id; "" sends none.
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
