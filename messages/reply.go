package messages

import (
	"encoding/json"
	"time"
)

// Kinds of [Reply].
const (
	KindCredentials = "credentials"
	KindRenewed     = "renewed"
	KindRevoked     = "revoked"
	KindLease       = "lease"
	KindLeases      = "leases"
	KindSecret      = "secret"
	KindSecrets     = "secrets"
	KindDeletion    = "deletion"
	KindCheck       = "check"
	KindSweep       = "sweep"
	KindRestore     = "restore"
	KindAccepted    = "ordered"
	KindKey         = "key"
	KindError       = "error"
)

// Reply is the broker's reply to every request and command. Its kind says which of the
// fields are set.
//
//	{"kind":"credentials","lease":{…},"credentials":{…},"ready":true}
//	{"kind":"error","error":{"code":"ttl_exceeds_max","message":"…","retryable":false}}
type Reply struct {
	Kind        string       `json:"kind"`
	Lease       *Lease       `json:"lease,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"` // unless sealed
	Sealed      *Sealed      `json:"sealed,omitempty"`      // if the request had an xkey
	Ready       *bool        `json:"ready,omitempty"`       // AWS accepted the key; if the request had ready_within
	Leases      []Lease      `json:"leases,omitzero"`       // an empty page is [], not absent
	Next        string       `json:"next,omitempty"`        // "after" of the next page; "" at the end
	Error       *Error       `json:"error,omitempty"`

	// Replies of the admin service.
	Secret   *SecretInfo     `json:"secret,omitempty"`
	Secrets  []SecretInfo    `json:"secrets,omitzero"`
	Deletion *SecretDeletion `json:"deletion,omitempty"`
	Check    *SecretCheck    `json:"check,omitempty"`
	Sweeps   []Sweep         `json:"sweeps,omitzero"`
	Accepted *Accepted       `json:"ordered,omitempty"`
	Restore  *Restore        `json:"restore,omitempty"`
	// Unreadable is set on the first page of an operator's list of leases.
	Unreadable []UnreadableRecord `json:"unreadable,omitempty"`
	Key        string             `json:"key,omitempty"` // the curve public key to seal a put for
}

// Lease is a lease as replies and events show it, without its credentials.
type Lease struct {
	Name         string    `json:"name"`
	Identity     string    `json:"identity"`
	Secret       string    `json:"secret"`
	ID           string    `json:"id"`
	State        State     `json:"state"`
	Username     string    `json:"username,omitempty"`
	AccessKeyID  string    `json:"access_key_id,omitempty"`
	IssuedAt     time.Time `json:"issued_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	MaxExpiresAt time.Time `json:"max_expires_at,omitzero"`
	EndedAt      time.Time `json:"ended_at,omitzero"`
	// ValidUntil is when the credentials of an ended lease stop working, because AWS
	// can't revoke a session of a role. It is zero if they do not work any more.
	ValidUntil time.Time         `json:"valid_until,omitzero"`
	Renewals   int               `json:"renewals"`
	Labels     map[string]string `json:"labels,omitempty"`
	Reason     Reason            `json:"reason,omitempty"` // why it ended or is ending
	Error      *Error            `json:"error,omitempty"`  // why it failed, or why its last teardown failed
}

// Credentials are an access key, its user and its region.
type Credentials struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey Sensitive `json:"secret_access_key"`
	SessionToken    Sensitive `json:"session_token"` // empty for an IAM user's key
	Username        string    `json:"username"`
	Region          string    `json:"region"`
}

// wireCredentials is the form of credentials that shows the secrets. It exists only
// while a delivery is encoded.
type wireCredentials struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
	Username        string `json:"username"`
	Region          string `json:"region"`
}

func (c Credentials) wire() *wireCredentials {
	return &wireCredentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey.Reveal(),
		SessionToken:    c.SessionToken.Reveal(),
		Username:        c.Username,
		Region:          c.Region,
	}
}

// Encode returns the reply as it is sent. It is the only encoding that shows the
// secrets of credentials.
func (r Reply) Encode() ([]byte, error) {
	type plain Reply
	if r.Credentials == nil {
		return json.Marshal(plain(r))
	}
	return json.Marshal(struct {
		plain
		Credentials *wireCredentials `json:"credentials"`
	}{plain(r), r.Credentials.wire()})
}

// DecodeReply reads a broker's reply. The error is an [Error].
func DecodeReply(data []byte) (Reply, error) {
	var r Reply
	if err := json.Unmarshal(data, &r); err != nil {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not a lessor reply").Because(err)
	}
	if r.Kind == "" {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not a lessor reply: it has no kind")
	}
	if r.Kind == KindError && r.Error == nil {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not a lessor reply: its kind is error, and it has none")
	}
	return r, nil
}

// ErrorReply returns a reply with an error and the lease that it is about, or nil.
func ErrorReply(err *Error, lease *Lease) Reply {
	return Reply{Kind: KindError, Error: err, Lease: lease}
}
