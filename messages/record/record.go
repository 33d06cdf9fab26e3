package record

import (
	"encoding/json"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Origin is the message that a lease is made for: the one that began the attempt, took it
// over, or got the last delivery. Two messages with the same
// idempotency key have different origins.
type Origin struct {
	Sequence    uint64    `json:"seq"`    // in the request stream
	Stored      time.Time `json:"stored"` // when JetStream stored it
	Fingerprint string    `json:"fp"`     // [messages.LeaseRequest.Fingerprint]
}

// User is everything that is needed to make a lease's IAM user, change it and
// delete it or, if Role is set, to make and deny a session of that role. A record
// has its own copy, so that a changed definition never strands a lease.
type User struct {
	Name            string              `json:"name"` // of the user or the session
	Path            string              `json:"path,omitempty"`
	Boundary        string              `json:"boundary,omitempty"` // ARN of the permissions boundary
	Groups          []string            `json:"groups,omitempty"`
	ManagedPolicies []string            `json:"managed,omitempty"` // ARNs
	InlinePolicy    json.RawMessage     `json:"inline,omitempty"`  // as configured, without the Deny of a hard expiry
	Tags            map[string]string   `json:"tags,omitempty"`    // as configured, without lessor's own
	HardExpiry      messages.HardExpiry `json:"hard_expiry,omitempty"`

	Role         string `json:"role,omitempty"`           // ARN of the role; "" for an IAM user
	ExternalID   string `json:"external_id,omitempty"`    // required by the role's trust policy
	DenyOnRevoke bool   `json:"deny_on_revoke,omitempty"` // a revocation denies the session by a policy on the role
}

// IsSession reports whether u is a session of a role rather than an IAM user.
func (u User) IsSession() bool { return u.Role != "" }

// Record is the source of truth about a lease and its write-ahead log. Only its
// transitions change it.
//
//	{"v":1,"due":"2026-11-22T22:15:00Z","state":"active","identity":"alice",
//	 "secret":"ci","id":"06ct…","origin":{"seq":17,"stored":"…","fp":"…"},
//	 "attempt":1,"connection":"default-us-east-1","user":{"name":"lessor-alice-…"},…}
type Record struct {
	Version int `json:"v"`
	// Due is when the broker must act on the lease next; zero in a tombstone.
	Due   time.Time      `json:"due,omitzero"`
	State messages.State `json:"state"`

	Identity string `json:"identity"`
	Secret   string `json:"secret"`
	ID       string `json:"id"`

	Origin      Origin            `json:"origin"`
	Attempt     int               `json:"attempt"`              // how often a worker began or took over the provisioning, from 1
	Connection  string            `json:"connection,omitempty"` // name of the AWS account and principal
	Region      string            `json:"region,omitempty"`
	User        User              `json:"user"`
	TTL         messages.Duration `json:"ttl,omitzero"`
	DefaultTTL  messages.Duration `json:"default_ttl,omitzero"` // the secret's, for renewals
	MaxTTL      messages.Duration `json:"max_ttl,omitzero"`
	XKey        string            `json:"xkey,omitempty"`
	Confirm     bool              `json:"confirm,omitempty"`
	ReadyWithin messages.Duration `json:"ready_within,omitzero"`
	Labels      map[string]string `json:"labels,omitempty"`

	StartedAt    time.Time `json:"started_at"` // of the present attempt
	IssuedAt     time.Time `json:"issued_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at"`
	MaxExpiresAt time.Time `json:"max_expires_at"`
	AccessKeyID  string    `json:"access_key_id,omitempty"`
	// NothingMade means that the attempt has failed, will be repeated, and that
	// neither it nor an earlier one made anything in AWS.
	NothingMade bool `json:"nothing_made,omitempty"`

	Sealed      *messages.Sealed `json:"sealed,omitempty"`        // the credentials, until the delivery is settled
	DeliverBy   time.Time        `json:"deliver_by,omitzero"`     // until the delivery is settled
	DeliveredAt time.Time        `json:"delivered_at,omitzero"`   // when NATS took the delivery
	ConfirmBy   time.Time        `json:"confirm_by,omitzero"`     // if the requester promised to confirm
	Announced   bool             `json:"announced,omitempty"`     // the event expiring is out, for the present end
	Renewals    int              `json:"renewals,omitempty"`      //
	RenewedBy   uint64           `json:"renewed_by_seq,omitzero"` // stream sequence of the last renewal that counted,
	RenewedAt   time.Time        `json:"renewed_at,omitzero"`     // and when JetStream stored it

	// DeniedAt is when a Deny on the role ended what a session may do. The Deny is
	// removed when the session has expired.
	DeniedAt time.Time `json:"denied_at,omitzero"`
	// KeyDeletedAt is when AWS had acknowledged the deletion of the access key, if
	// other parts of the user are still there.
	KeyDeletedAt time.Time `json:"key_deleted_at,omitzero"`
	// ValidUntil is when the credentials of an ended lease stop working, if they
	// could not be ended with it.
	ValidUntil time.Time `json:"valid_until,omitzero"`

	Reason        messages.Reason `json:"reason,omitempty"` // why it ends
	Note          string          `json:"note,omitempty"`   // the text that came with the revocation
	EndedAt       time.Time       `json:"ended_at,omitzero"`
	Failure       *messages.Error `json:"failure,omitempty"`        // why it could not be made
	TeardownError string          `json:"teardown_error,omitempty"` // why the last teardown failed; safe to show
	TeardownTries int             `json:"teardown_tries,omitempty"` // failed teardowns
}

// Name returns the lease's name.
func (r Record) Name() messages.LeaseName {
	return messages.LeaseName{Identity: r.Identity, Secret: r.Secret, ID: r.ID}
}

// Settled reports whether the delivery is settled: the record holds no credentials.
func (r Record) Settled() bool { return r.Sealed == nil }

// SessionDenied reports whether a session is in teardown and may do nothing any
// more. What is left is to remove the Deny when the session has expired.
func (r Record) SessionDenied() bool {
	return r.State == messages.StateRevoking && !r.DeniedAt.IsZero()
}

// AccessEnded reports whether a user is in teardown and no requester has a key of it
// that works: its key is deleted, or the lease was never issued. What is left is cleanup.
func (r Record) AccessEnded() bool {
	return r.State == messages.StateRevoking && !r.User.IsSession() && (!r.KeyDeletedAt.IsZero() || r.IssuedAt.IsZero())
}

// Failing reports whether the last teardown failed.
func (r Record) Failing() bool { return r.State == messages.StateRevoking && r.TeardownError != "" }

// IsFor reports whether the record's [Origin] is the message at that sequence, stored at
// that time. The sequence alone is not enough: it starts anew with a new stream.
func (r Record) IsFor(sequence uint64, stored time.Time) bool {
	return r.Origin.Sequence == sequence && r.Origin.Stored.Equal(stored)
}

// Lease returns what requesters and events see of the record.
func (r Record) Lease() *messages.Lease {
	l := &messages.Lease{
		Name: r.Name().String(), Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		State: r.State, Username: r.User.Name, AccessKeyID: r.AccessKeyID,
		IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		EndedAt: r.EndedAt, ValidUntil: r.ValidUntil, Renewals: r.Renewals, Labels: r.Labels, Reason: r.Reason, Error: r.Failure,
	}
	if r.SessionDenied() {
		l.State, l.EndedAt = messages.StateRevoked, r.DeniedAt // removing the Deny does not concern the requester
	}
	if r.TeardownError != "" {
		l.Error = messages.Errorf(messages.CodeProviderUnavailable, "%s", r.TeardownError)
	}
	return l
}

// DenyAfter is when AWS itself must refuse the key; zero without a hard expiry.
func (r Record) DenyAfter() time.Time {
	switch r.User.HardExpiry {
	case messages.HardExpiryLease:
		return r.ExpiresAt
	case messages.HardExpiryMaxTTL:
		return r.MaxExpiresAt
	}
	return time.Time{}
}
