package messages

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nkeys"
)

// SecretPut stores a definition.
//
//	{"definition":{"name":"ci",…},"revision":7,"no_check":false}
type SecretPut struct {
	Definition DynamicSecret `json:"definition"`
	// Revision is the revision that the stored definition must have; 0 means that
	// there must be none. nil replaces any revision.
	Revision *uint64 `json:"revision,omitempty"`
	// NoCheck stores the definition without a dry run at AWS.
	NoCheck bool `json:"no_check,omitempty"`
	// Sealed has the definition's secret key, sealed for the broker by [SecretPut.Seal].
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Seal moves the secret key from the definition to Sealed, sealed for the broker's
// public key. It returns p unchanged if the definition has no secret key, and an
// [Error] if brokerKey is not a curve public key.
func (p SecretPut) Seal(brokerKey string) (SecretPut, error) {
	secret := p.Definition.AWS.Auth.SecretAccessKey
	if secret.IsZero() {
		return p, nil
	}
	if err := CheckXKey(brokerKey); err != nil {
		return SecretPut{}, err
	}
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		return SecretPut{}, err
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return SecretPut{}, err
	}
	if p.Sealed, err = sealValue(pair, public, brokerKey, p.purpose(), secret); err != nil {
		return SecretPut{}, err
	}
	p.Definition.AWS.Auth.SecretAccessKey = Sensitive{}
	return p, nil
}

// Unseal moves a sealed secret key back to the definition. It returns p unchanged if
// Sealed is nil, and an [Error] if the box is for another key, another definition or
// another access key.
func (r *Keyring) Unseal(p SecretPut) (SecretPut, error) {
	if p.Sealed == nil {
		return p, nil
	}
	if err := CheckXKey(p.Sealed.From); err != nil {
		return SecretPut{}, Errorf(CodeInvalidRequest, "sealed: %s", AsError(err).Message)
	}
	for _, k := range r.keys {
		if secret, err := openValue(k.pair, p.Sealed, p.purpose()); err == nil {
			p.Definition.AWS.Auth.SecretAccessKey, p.Sealed = secret, nil
			return p, nil
		}
	}
	return SecretPut{}, Errorf(CodeInvalidRequest, "sealed: this does not open with the broker's key, or is of another definition or access key")
}

// purpose binds a sealed secret key to the definition and the access key.
func (p SecretPut) purpose() string {
	return "put " + p.Definition.Name + " " + p.Definition.AWS.Auth.AccessKeyID
}

// DecodeSecretPut reads a put and checks its definition as [DecodeDynamicSecret]
// does. The error is an [Error].
func DecodeSecretPut(data []byte) (SecretPut, error) {
	var p SecretPut
	var raw json.RawMessage
	const limit = MaxSecretBody + 1024 // the definition and the other fields
	if len(data) > limit {
		return SecretPut{}, Errorf(CodeTooLarge, "the body has %d bytes, the limit is %d", len(data), limit)
	}
	if err := decodeFields(CodeInvalidRequest, data,
		field{"definition", &raw}, field{"revision", &p.Revision}, field{"no_check", &p.NoCheck}, field{"sealed", &p.Sealed},
	); err != nil {
		return SecretPut{}, err
	}
	if len(raw) == 0 {
		return SecretPut{}, Errorf(CodeInvalidRequest, "definition is missing")
	}
	var err error
	if p.Definition, err = DecodeDynamicSecret(raw); err != nil {
		return SecretPut{}, err
	}
	if p.Sealed != nil && !p.Definition.AWS.Auth.SecretAccessKey.IsZero() {
		return SecretPut{}, Errorf(CodeInvalidRequest, "sealed and definition.aws.auth.secret_access_key exclude each other")
	}
	return p, nil
}

// Encode returns the put as it is sent. It is the only encoding that has the secret
// key of a definition in clear, if it is not sealed.
func (p SecretPut) Encode() ([]byte, error) {
	type plain SecretPut
	definition, err := revealed(p.Definition)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		plain
		Definition json.RawMessage `json:"definition"`
	}{plain(p), definition})
}

// revealed encodes a definition with its secret key.
func revealed(d DynamicSecret) (json.RawMessage, error) {
	type auth Auth
	type aws AWS
	type plain DynamicSecret
	return json.Marshal(struct {
		plain
		AWS any `json:"aws"`
	}{plain(d), struct {
		aws
		Auth any `json:"auth"`
	}{aws(d.AWS), struct {
		auth
		SecretAccessKey string `json:"secret_access_key,omitempty"`
	}{auth(d.AWS.Auth), d.AWS.Auth.SecretAccessKey.Reveal()}}})
}

// SecretRequest names the dynamic secret of get, delete, check and rotate-key.
//
//	{"name":"ci","force":true}
type SecretRequest struct {
	Name string `json:"name"`
	// Force, of delete, removes the definition without waiting for the revocation of
	// its leases. They are revoked nevertheless.
	Force bool `json:"force,omitempty"`
}

// DecodeSecretRequest reads a request. Only delete has force. The error is an [Error].
func DecodeSecretRequest(v AdminVerb, data []byte) (SecretRequest, error) {
	var r SecretRequest
	fields := []field{{"name", &r.Name}}
	if v == AdminDelete {
		fields = append(fields, field{"force", &r.Force})
	}
	if err := decodeObject(data, fields...); err != nil {
		return SecretRequest{}, err
	}
	if err := CheckToken("name", r.Name); err != nil {
		return SecretRequest{}, err
	}
	return r, nil
}

// SecretState is the state of a dynamic secret.
type SecretState string

// The states of a dynamic secret.
const (
	SecretActive   SecretState = "active"
	SecretDeleting SecretState = "deleting" // issues no leases; removed after its last lease
)

// SecretInfo is a dynamic secret as operators see it, without its secret key.
type SecretInfo struct {
	Name       string        `json:"name"`
	Revision   uint64        `json:"revision"`
	State      SecretState   `json:"state"`
	Source     string        `json:"source,omitempty"` // "file" if only its file can change it
	Definition DynamicSecret `json:"definition"`
	Connection Connection    `json:"connection"`
	// Installation is the broker's installation id, which its IAM users have as a tag.
	Installation string `json:"installation"`
	// Changed, in the reply to put, means that the definition is new or different.
	Changed bool `json:"changed,omitempty"`
	// Notes are warnings about the definition.
	Notes []string `json:"notes,omitempty"`
}

// Connection is how a dynamic secret reaches AWS, as operators see it.
type Connection struct {
	Name    string `json:"name"`
	Account string `json:"account,omitempty"` // account id, after the first answer of AWS
	ARN     string `json:"arn,omitempty"`     // of the broker's principal, after the first answer of AWS
	// ExternalID is the external id of AssumeRole: the definition's, or the broker's.
	ExternalID string `json:"external_id,omitempty"`
	// AccessKeyID is the key in use, for the method access_key. After a rotation it
	// differs from the definition's.
	AccessKeyID string    `json:"access_key_id,omitempty"`
	RotatedAt   time.Time `json:"rotated_at,omitzero"`
}

// SecretDeletion is the progress of the deletion of a dynamic secret.
type SecretDeletion struct {
	Name string `json:"name"`
	Done bool   `json:"done"` // the definition is removed
	// Leases is the number of leases that are being revoked.
	Leases int `json:"leases"`
	// Failing is the number of leases whose last teardown failed, and Error is the
	// error of one of them.
	Failing int    `json:"failing,omitempty"`
	Error   string `json:"error,omitempty"`
}

// SecretCheck is the result of the dry run of a definition at AWS.
type SecretCheck struct {
	Name       string     `json:"name"`
	OK         bool       `json:"ok"`
	Connection Connection `json:"connection"`
	// Calls are the calls that a lease needs, in the order of the dry run.
	Calls []CheckedCall `json:"calls"`
	// Error is why no call was made, or what remains to be cleaned up.
	Error string `json:"error,omitempty"`
	// Notes are warnings about the definition.
	Notes []string `json:"notes,omitempty"`
}

// CheckedCall is one call of a dry run.
type CheckedCall struct {
	Call     string `json:"call"`         // such as AttachUserPolicy
	On       string `json:"on,omitempty"` // the policy or the group
	OK       bool   `json:"ok"`
	Error    string `json:"error,omitempty"`
	Action   string `json:"action,omitempty"`   // the action that AWS denied, such as iam:AttachUserPolicy
	Resource string `json:"resource,omitempty"` // the resource that AWS denied it on
}
