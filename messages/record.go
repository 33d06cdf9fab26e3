package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// RecordVersion is the format of the records that this code writes. It reads
// that one and none newer.
const RecordVersion = 1

// State is where a lease stands in its life; the package comment has the map.
type State string

// The states of a lease.
const (
	StateProvisioning State = "provisioning" // being made
	StateActive       State = "active"       // the key works
	StateRevoking     State = "revoking"     // being undone, for whatever reason
	StateRevoked      State = "revoked"      // gone; a tombstone
	StateFailed       State = "failed"       // never came to be, nothing left; a tombstone
)

func (s State) known() bool {
	switch s {
	case StateProvisioning, StateActive, StateRevoking, StateRevoked, StateFailed:
		return true
	}
	return false
}

// Ended says whether a lease in this state is over, with nothing left in AWS.
func (s State) Ended() bool { return s == StateRevoked || s == StateFailed }

// Reason is why a lease ends.
type Reason string

// The reasons for which leases end.
const (
	ReasonExpired       Reason = "expired"
	ReasonRequested     Reason = "requested"
	ReasonOperator      Reason = "operator"
	ReasonUndelivered   Reason = "undelivered"
	ReasonSecretDeleted Reason = "secret_deleted"
	ReasonChecked       Reason = "checked" // it was there to try its definition out
	ReasonFailed        Reason = "failed"
)

// Origin is the message that asked for a lease. Two messages with one
// idempotency key have different origins.
type Origin struct {
	Sequence    uint64    `json:"seq"`    // in the request stream
	Stored      time.Time `json:"stored"` // when it was stored there
	Fingerprint string    `json:"fp"`     // [LeaseRequest.Fingerprint]
}

// User is everything needed to make a lease's IAM user, change it and remove
// it, or, where Role is set, a session of that role. A lease keeps its own, so that
// a changed definition never strands one.
type User struct {
	Name            string            `json:"name"` // or the session's
	Path            string            `json:"path,omitempty"`
	Boundary        string            `json:"boundary,omitempty"` // ARN of the permissions boundary
	Groups          []string          `json:"groups,omitempty"`
	ManagedPolicies []string          `json:"managed,omitempty"` // ARNs
	InlinePolicy    json.RawMessage   `json:"inline,omitempty"`  // as configured, without the expiry's Deny
	Tags            map[string]string `json:"tags,omitempty"`    // as configured, without lessor's own
	HardExpiry      HardExpiry        `json:"hard_expiry,omitempty"`

	Role         string `json:"role,omitempty"`           // ARN of the role of which this is a session
	ExternalID   string `json:"external_id,omitempty"`    // what the role asks for
	DenyOnRevoke bool   `json:"deny_on_revoke,omitempty"` // put a Deny on the role to end the session
}

// IsSession says whether it is a session of a role, and not an IAM user.
func (u User) IsSession() bool { return u.Role != "" }

// Record is the truth about a lease and its write-ahead log, as it stands in the
// lease bucket. Only its transitions change it.
//
//	{"v":1,"due":"2026-11-22T22:15:00Z","state":"active","identity":"alice",
//	 "secret":"ci","id":"06ct…","origin":{"seq":17,"stored":"…","fp":"…"},
//	 "attempt":1,"connection":"default-us-east-1","user":{"name":"lessor-alice-…"},…}
type Record struct {
	Version int `json:"v"`
	// Due is when somebody must look at the lease next. Zero: never, it has
	// ended.
	Due   time.Time `json:"due,omitzero"`
	State State     `json:"state"`

	Identity string `json:"identity"`
	Secret   string `json:"secret"`
	ID       string `json:"id"`

	Origin      Origin            `json:"origin"`
	Attempt     int               `json:"attempt"`              // how often somebody began or took over the making of it
	Connection  string            `json:"connection,omitempty"` // which AWS account, as whom
	Region      string            `json:"region,omitempty"`
	User        User              `json:"user"`
	TTL         Duration          `json:"ttl,omitzero"`
	DefaultTTL  Duration          `json:"default_ttl,omitzero"` // the secret's, for renewals
	MaxTTL      Duration          `json:"max_ttl,omitzero"`
	XKey        string            `json:"xkey,omitempty"`
	Confirm     bool              `json:"confirm,omitempty"`
	ReadyWithin Duration          `json:"ready_within,omitzero"`
	Labels      map[string]string `json:"labels,omitempty"`

	StartedAt    time.Time `json:"started_at"` // of the present attempt
	IssuedAt     time.Time `json:"issued_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at"`
	MaxExpiresAt time.Time `json:"max_expires_at"`
	AccessKeyID  string    `json:"access_key_id,omitempty"`
	// Untouched says that the attempt has ended, to be repeated, and that neither
	// it nor one before it has made anything.
	Untouched bool `json:"untouched,omitempty"`

	Sealed      *Sealed   `json:"sealed,omitempty"`        // until the delivery is settled
	DeliverBy   time.Time `json:"deliver_by,omitzero"`     // until it is
	DeliveredAt time.Time `json:"delivered_at,omitzero"`   // when it was handed to NATS
	ConfirmBy   time.Time `json:"confirm_by,omitzero"`     // where the requester promised to confirm
	Notified    bool      `json:"notified,omitempty"`      // the expiring event is out, for the present expiry
	Renewals    int       `json:"renewals,omitempty"`      //
	RenewedBy   uint64    `json:"renewed_by_seq,omitzero"` // the last renewal that counted: its place in its stream,
	RenewedAt   time.Time `json:"renewed_at,omitzero"`     // and when it was stored there

	// CutAt is when a Deny on the role ended what a session could do. The Deny is
	// removed when the session has expired.
	CutAt time.Time `json:"cut_at,omitzero"`
	// KeyGoneAt is when AWS had acknowledged that the access key is deleted, where the
	// rest was not: the key can do nothing any more, and the user can wait.
	KeyGoneAt time.Time `json:"key_gone_at,omitzero"`
	// ValidUntil is when the credentials of a lease that has ended stop working,
	// where they could not be ended with it.
	ValidUntil time.Time `json:"valid_until,omitzero"`

	Reason    Reason    `json:"reason,omitempty"`     // why it ends
	Note      string    `json:"note,omitempty"`       // what the person who ended it said
	EndedAt   time.Time `json:"ended_at,omitzero"`    //
	Failure   *Error    `json:"failure,omitempty"`    // why it could not be made
	UndoError string    `json:"undo_error,omitempty"` // why it can't be undone yet; safe to show
	UndoTries int       `json:"undo_tries,omitempty"` // failed tries to undo it
}

// Name returns the lease's name.
func (r Record) Name() LeaseName {
	return LeaseName{Identity: r.Identity, Secret: r.Secret, ID: r.ID}
}

// Settled says whether the delivery is: the record holds no credentials.
func (r Record) Settled() bool { return r.Sealed == nil }

// Cut says whether a session is being undone and can do nothing any more: all that
// is left is to tidy up when it has expired.
func (r Record) Cut() bool { return r.State == StateRevoking && !r.CutAt.IsZero() }

// Harmless says whether a user is being undone with which nobody can do anything: its
// key is deleted, or nobody was ever given it. All that is left is to tidy up.
func (r Record) Harmless() bool {
	return r.State == StateRevoking && !r.User.IsSession() && (!r.KeyGoneAt.IsZero() || r.IssuedAt.IsZero())
}

// Failing says that the lease could not be revoked when it was last tried.
func (r Record) Failing() bool { return r.State == StateRevoking && r.UndoError != "" }

// Lease is the record as everybody may see it.
func (r Record) Lease() *Lease {
	l := &Lease{
		Name: r.Name().String(), Identity: r.Identity, Secret: r.Secret, ID: r.ID,
		State: r.State, Username: r.User.Name, AccessKeyID: r.AccessKeyID,
		IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, MaxExpiresAt: r.MaxExpiresAt,
		EndedAt: r.EndedAt, ValidUntil: r.ValidUntil, Renewals: r.Renewals, Labels: r.Labels, Reason: r.Reason, Error: r.Failure,
	}
	if r.Cut() {
		l.State, l.EndedAt = StateRevoked, r.CutAt // what is left is no business of the lease's holder
	}
	if r.UndoError != "" {
		l.Error = Errorf(CodeProviderUnavailable, "%s", r.UndoError)
	}
	return l
}

// DenyAfter is when AWS itself must refuse the key; zero where the lease has no
// hard expiry.
func (r Record) DenyAfter() time.Time {
	switch r.User.HardExpiry {
	case HardExpiryLease:
		return r.ExpiresAt
	case HardExpiryMaxTTL:
		return r.MaxExpiresAt
	}
	return time.Time{}
}

// Encode writes the record for the bucket.
func (r Record) Encode() ([]byte, error) {
	r.Version = RecordVersion
	return json.Marshal(r) // #nosec G117 -- the name of a dynamic secret
}

// ErrNewerRecord is in the chain of [DecodeRecord]'s error for a record of a
// newer version: leave it to those who wrote it.
var ErrNewerRecord = fmt.Errorf("the record is of a newer version than %d", RecordVersion)

// DecodeRecord reads a record. It takes no field that it does not know: writing
// the record back would lose it.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	if err := decodeStrictly(data, &r); err != nil {
		return Record{}, notARecord(data, err)
	}
	if r.Version > RecordVersion {
		return Record{}, newer(r.Version)
	}
	if r.Version != RecordVersion || !r.State.known() || r.Attempt < 1 || r.UndoTries < 0 {
		return Record{}, fmt.Errorf("damaged lease record: version %d, state %q, attempt %d", r.Version, clip(string(r.State)), r.Attempt)
	}
	if !r.State.Ended() && r.Due.IsZero() {
		return Record{}, fmt.Errorf("damaged lease record: %s, and never due", r.State)
	}
	if _, err := NewLeaseName(r.Identity, r.Secret, r.ID); err != nil {
		return Record{}, damaged(err)
	}
	return r, nil
}

// decodeStrictly reads one JSON value, in which there is nothing that into has not.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something stands behind it")
	}
	return nil
}

// notARecord is the error for what can't be read: a newer record, or a damaged one.
func notARecord(data []byte, cause error) error {
	var v struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &v); err == nil && v.Version > RecordVersion {
		return newer(v.Version)
	}
	return damaged(cause)
}

func newer(version int) error { return fmt.Errorf("%w: %d", ErrNewerRecord, version) }

// damaged is the error for a record that is none.
func damaged(cause error) error { return &damagedError{cause} }

type damagedError struct{ cause error }

// Error is short: encoding/json may quote all of what it can't read.
func (e *damagedError) Error() string { return "damaged lease record: " + clip(e.cause.Error()) }

func (e *damagedError) Unwrap() error { return e.cause }

// DecodeRecordAt reads the record at a key of the lease bucket. A record of another
// lease is not that key's: what is written back would go elsewhere.
func DecodeRecordAt(key string, data []byte) (Record, error) {
	if _, err := ParseLeaseName(key); err != nil {
		return Record{}, errors.New("its key is not a lease's name")
	}
	r, err := DecodeRecord(data)
	if err != nil {
		return Record{}, err
	}
	if r.Name().String() != key {
		return Record{}, fmt.Errorf("damaged lease record: it is that of %s", r.Name())
	}
	return r, nil
}

// Remains is what can be told of a record that can't be read, where anything can:
// what must not count as nobody's because of that. Fields may be empty.
type Remains struct {
	Username   string
	Connection string
}

// RecordRemains reads what is left of a record that [DecodeRecord] does not take.
// A newer version has the fields where this one has them, or not at all.
func RecordRemains(data []byte) Remains {
	var r struct {
		Connection json.RawMessage `json:"connection"`
		User       struct {
			Name json.RawMessage `json:"name"`
		} `json:"user"`
	}
	_ = json.Unmarshal(data, &r) // a field that is of another type leaves the others
	var left Remains
	_ = json.Unmarshal(r.Connection, &left.Connection)
	_ = json.Unmarshal(r.User.Name, &left.Username)
	return left
}
