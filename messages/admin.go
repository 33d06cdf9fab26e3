package messages

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
)

// AdminVerb is what an operator asks of the admin service: the tokens behind
// "lessor.admin.secret.".
type AdminVerb string

// The admin service's verbs for dynamic secrets. All but list take a name.
const (
	AdminPut       AdminVerb = "put"
	AdminGet       AdminVerb = "get"
	AdminList      AdminVerb = "list"
	AdminDelete    AdminVerb = "delete"
	AdminCheck     AdminVerb = "check"
	AdminRotateKey AdminVerb = "rotate-key"
)

// AdminSecret is the admin service's subject for a verb: lessor.admin.secret.put.
func (n Namespace) AdminSecret(v AdminVerb) string { return n.join("admin", "secret", string(v)) }

// AdminService names the NATS micro service of operators.
func (n Namespace) AdminService() string { return n.Prefix() + "_admin" }

// AdminSweep is the admin service's subject for a sweep.
func (n Namespace) AdminSweep() string { return n.join("admin", "sweep") }

// AdminKey is the admin service's subject for the key that a put is sealed for.
func (n Namespace) AdminKey() string { return n.join("admin", "key") }

// AdminAs is a subject of the admin service for an operator with a name, one token:
// lessor.admin.as.kim.secret.put. Give an operator the right to lessor.admin.as.kim.>
// and no other, and the events of commands tell who it was.
func (n Namespace) AdminAs(operator, subject string) string {
	return n.join("admin", "as", operator, strings.TrimPrefix(subject, n.Prefix()+".admin."))
}

// SweepCommand asks for a sweep now.
//
//	{"apply":true}
type SweepCommand struct {
	// Apply removes also masses of users that no lease knows. Without it they are
	// reported only: a restored backup would look like that.
	Apply bool `json:"apply,omitempty"`
}

// DecodeSweepCommand reads an order.
func DecodeSweepCommand(data []byte) (SweepCommand, error) {
	var o SweepCommand
	if err := decodeObject(data, field{"apply", &o.Apply}); err != nil {
		return SweepCommand{}, err
	}
	return o, nil
}

// AdminRestore is the admin service's subject for a restored lease bucket.
func (n Namespace) AdminRestore() string { return n.join("admin", "restore") }

// RestoreCommand asks what a lease bucket that was restored from a backup would end, or
// has that done.
//
//	{"apply":true}
type RestoreCommand struct {
	// Apply lifts the hold: leases end as their records say, or at the later end that
	// an event tells of, and users that no lease knows are removed, however many.
	Apply bool `json:"apply,omitempty"`
}

// DecodeRestoreCommand reads an order.
func DecodeRestoreCommand(data []byte) (RestoreCommand, error) {
	var o RestoreCommand
	if err := decodeObject(data, field{"apply", &o.Apply}); err != nil {
		return RestoreCommand{}, err
	}
	return o, nil
}

// Restore is how a restored lease bucket stands.
type Restore struct {
	// Guarded says that nothing ends by the records from the backup, and that no user is
	// swept.
	Guarded bool      `json:"held"`
	Applied bool      `json:"applied,omitempty"` // the hold was lifted with this
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why,omitempty"`
	// Due is how many leases are over by their records from the backup, and Leases are
	// the first 500 of them.
	Due    int             `json:"due,omitempty"`
	Leases []RestoredLease `json:"leases,omitempty"`
	// Orphans is how many users no lease knows; Sweeps name the first 500 of them.
	Orphans int     `json:"orphans,omitempty"`
	Sweeps  []Sweep `json:"sweeps,omitempty"`
}

// RestoredLease is a lease that is over by its record from the backup.
type RestoredLease struct {
	Name      string    `json:"name"`
	Username  string    `json:"username"`
	State     State     `json:"state"`
	ExpiresAt time.Time `json:"expires_at"`
	// RenewedUntil is a later end that an event tells of; zero: none is known.
	RenewedUntil time.Time `json:"renewed_until,omitzero"`
}

// Sweep is what came of comparing one account with the leases.
type Sweep struct {
	Connection string `json:"connection"`
	Account    string `json:"account,omitempty"`
	Users      int    `json:"users"` // below the paths of the leases
	// Orphans are users of this installation that no lease knows.
	Orphans []Orphan `json:"orphans,omitempty"`
	// AwaitsConsent says that there are so many that a person must decide.
	AwaitsConsent bool   `json:"held,omitempty"`
	Error         string `json:"error,omitempty"` // why it is not complete
}

// Orphan is an IAM user of this installation that no lease knows.
type Orphan struct {
	Username  string    `json:"username"`
	Lease     string    `json:"lease,omitempty"` // whose it was, as its tag says
	CreatedAt time.Time `json:"created_at"`
	Removed   bool      `json:"removed"`
	Error     string    `json:"error,omitempty"` // why it could not be removed
}

// SecretPut asks to store a definition.
//
//	{"definition":{"name":"ci",…},"revision":7,"no_check":false}
type SecretPut struct {
	Definition DynamicSecret `json:"definition"`
	// Revision is the one that the definition must have now; 0: there must be
	// none. nil: whatever there is.
	Revision *uint64 `json:"revision,omitempty"`
	// NoCheck stores it without trying it out at AWS.
	NoCheck bool `json:"no_check,omitempty"`
	// Sealed has the definition's secret key, for the broker alone ([SecretPut.Seal]).
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Seal takes the secret key out of the definition and seals it for the broker's key.
// A definition without one stays as it is.
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
	if p.Sealed, err = keep(pair, public, brokerKey, p.purpose(), secret); err != nil {
		return SecretPut{}, err
	}
	p.Definition.AWS.Auth.SecretAccessKey = Sensitive{}
	return p, nil
}

// Unseal puts the secret key back into the definition, where there is a sealed one.
func (r *Keyring) Unseal(p SecretPut) (SecretPut, error) {
	if p.Sealed == nil {
		return p, nil
	}
	if err := CheckXKey(p.Sealed.From); err != nil {
		return SecretPut{}, Errorf(CodeInvalidRequest, "sealed: %s", AsError(err).Message)
	}
	for _, k := range r.keys {
		if secret, err := openKept(k.pair, p.Sealed, p.purpose()); err == nil {
			p.Definition.AWS.Auth.SecretAccessKey, p.Sealed = secret, nil
			return p, nil
		}
	}
	return SecretPut{}, Errorf(CodeInvalidRequest, "sealed: this does not open with the broker's key, or is of another definition or access key")
}

// purpose is what a put's secret key is sealed for: it can't be put under another
// name, nor beside another key id.
func (p SecretPut) purpose() string {
	return "put " + p.Definition.Name + " " + p.Definition.AWS.Auth.AccessKeyID
}

// DecodeSecretPut reads a request to store a definition.
func DecodeSecretPut(data []byte) (SecretPut, error) {
	var p SecretPut
	var raw json.RawMessage
	const around = 1024 // bytes of what is beside the definition
	if len(data) > MaxSecretBody+around {
		return SecretPut{}, Errorf(CodeTooLarge, "the body has %d bytes, the limit is %d", len(data), MaxSecretBody+around)
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

// Encode writes the request for the wire: the one place where a definition's
// secret key is shown, unless it is sealed.
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

// revealed is a definition with its secret key.
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

// SecretRequest asks something of one dynamic secret.
//
//	{"name":"ci","force":true}
type SecretRequest struct {
	Name string `json:"name"`
	// Force, of delete, drops the definition without waiting until its leases are
	// gone. They are revoked all the same.
	Force bool `json:"force,omitempty"`
}

// DecodeSecretRequest reads an order. Only a deletion has force.
func DecodeSecretRequest(v AdminVerb, data []byte) (SecretRequest, error) {
	var o SecretRequest
	fields := []field{{"name", &o.Name}}
	if v == AdminDelete {
		fields = append(fields, field{"force", &o.Force})
	}
	if err := decodeObject(data, fields...); err != nil {
		return SecretRequest{}, err
	}
	if err := CheckToken("name", o.Name); err != nil {
		return SecretRequest{}, err
	}
	return o, nil
}

// SecretState is where a dynamic secret stands.
type SecretState string

// The states of a dynamic secret.
const (
	SecretActive   SecretState = "active"
	SecretDeleting SecretState = "deleting" // gives no leases; is gone when its last lease is
)

// SecretInfo is a dynamic secret as operators see it. There is never a secret key
// in it.
type SecretInfo struct {
	Name       string        `json:"name"`
	Revision   uint64        `json:"revision"`
	State      SecretState   `json:"state"`
	Source     string        `json:"source,omitempty"` // "file": it can be changed through its file only
	Definition DynamicSecret `json:"definition"`
	Connection Connection    `json:"connection"`
	// Installation is the broker's, which its users have as a tag.
	Installation string `json:"installation"`
	// Changed says, in the answer to put, that the definition was not there
	// before in just this form.
	Changed bool `json:"changed,omitempty"`
	// Notes are what is not wrong and may yet be a mistake.
	Notes []string `json:"notes,omitempty"`
}

// Connection is how a dynamic secret reaches AWS, as operators see it.
type Connection struct {
	Name    string `json:"name"`
	Account string `json:"account,omitempty"` // its number, once AWS has been asked
	ARN     string `json:"arn,omitempty"`     // the broker's own, likewise
	// ExternalID is what is sent when a role is assumed: the definition's, or the
	// broker's own.
	ExternalID string `json:"external_id,omitempty"`
	// AccessKeyID is the key in use, of the method access_key. It differs from the
	// definition's after a rotation. Its secret is kept and never shown.
	AccessKeyID string    `json:"access_key_id,omitempty"`
	RotatedAt   time.Time `json:"rotated_at,omitzero"`
}

// SecretDeletion is how far the deletion of a dynamic secret has come.
type SecretDeletion struct {
	Name string `json:"name"`
	// Done says that the definition is gone.
	Done bool `json:"done"`
	// Leases is how many leases were alive when this was written, and are being
	// revoked.
	Leases int `json:"leases"`
	// Failing is how many of them could not be revoked when it was last tried, and
	// Error why one of them could not.
	Failing int    `json:"failing,omitempty"`
	Error   string `json:"error,omitempty"`
}

// SecretCheck is what came of trying a definition out at AWS.
type SecretCheck struct {
	Name       string     `json:"name"`
	OK         bool       `json:"ok"`
	Connection Connection `json:"connection"`
	// Calls are the calls that a lease needs, in the order in which they were
	// tried.
	Calls []CheckedCall `json:"calls"`
	// Error is why it came to no call, or what remains to be done.
	Error string `json:"error,omitempty"`
	// Notes are what is not wrong and may yet be a mistake.
	Notes []string `json:"notes,omitempty"`
}

// CheckedCall is one call that was tried.
type CheckedCall struct {
	Call     string `json:"call"`         // such as AttachUserPolicy
	On       string `json:"on,omitempty"` // the policy, the group
	OK       bool   `json:"ok"`
	Error    string `json:"error,omitempty"`
	Action   string `json:"action,omitempty"`   // what was denied: iam:AttachUserPolicy
	Resource string `json:"resource,omitempty"` // and on what
}
