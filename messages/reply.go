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

// Reply is every answer of the broker.
//
//	{"kind":"credentials","lease":{…},"credentials":{…},"ready":true}
//	{"kind":"error","error":{"code":"ttl_exceeds_max","message":"…","retryable":false}}
type Reply struct {
	Kind        string       `json:"kind"`
	Lease       *Lease       `json:"lease,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"` // unless sealed
	Sealed      *Sealed      `json:"sealed,omitempty"`      // where the request had an xkey
	Ready       *bool        `json:"ready,omitempty"`       // where the request had ready_within
	Leases      []Lease      `json:"leases,omitzero"`       // an empty page is there, and empty
	Next        string       `json:"next,omitempty"`        // "after" for the next page; "" is the end
	Error       *Error       `json:"error,omitempty"`

	// The admin service's answers.
	Secret   *SecretInfo     `json:"secret,omitempty"`
	Secrets  []SecretInfo    `json:"secrets,omitzero"`
	Deletion *SecretDeletion `json:"deletion,omitempty"`
	Check    *SecretCheck    `json:"check,omitempty"`
	Sweeps   []Sweep         `json:"sweeps,omitzero"`
	Accepted *Accepted       `json:"ordered,omitempty"`
	// Unreadable comes with the first page of leases.
	Restore    *Restore           `json:"restore,omitempty"`
	Unreadable []UnreadableRecord `json:"unreadable,omitempty"`
	Key        string             `json:"key,omitempty"` // the curve public key that a put is sealed for
}

// Lease is a lease as everybody may see it.
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
	EndedAt      time.Time `json:"ended_at,omitzero"` // when nothing was left of it
	// ValidUntil is when the credentials of a lease that has ended stop working:
	// AWS can't take back a session of a role. Zero: they have stopped.
	ValidUntil time.Time         `json:"valid_until,omitzero"`
	Renewals   int               `json:"renewals"`
	Labels     map[string]string `json:"labels,omitempty"`
	Reason     Reason            `json:"reason,omitempty"` // why it ended or is ending
	Error      *Error            `json:"error,omitempty"`  // why it failed, or why it can't be revoked yet
}

// Credentials are an access key and what it is for.
type Credentials struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey Sensitive `json:"secret_access_key"`
	SessionToken    Sensitive `json:"session_token"` // empty for an IAM user's key
	Username        string    `json:"username"`
	Region          string    `json:"region"`
}

// wireCredentials is the one form of credentials that shows its secrets. It
// lives no longer than the encoding of a delivery.
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

// Encode writes the reply for the wire: the one place where credentials in a
// reply are shown.
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

// DecodeReply reads a broker's answer.
func DecodeReply(data []byte) (Reply, error) {
	var r Reply
	if err := json.Unmarshal(data, &r); err != nil {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not an answer of lessor's").Because(err)
	}
	if r.Kind == "" {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not an answer of lessor's: it has no kind")
	}
	if r.Kind == KindError && r.Error == nil {
		return Reply{}, Errorf(CodeInvalidRequest, "this is not an answer of lessor's: an error without one")
	}
	return r, nil
}

// ErrorReply makes the answer that tells err.
func ErrorReply(err *Error, lease *Lease) Reply {
	return Reply{Kind: KindError, Error: err, Lease: lease}
}
