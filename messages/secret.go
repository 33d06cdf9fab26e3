package messages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Defaults and bounds of a dynamic secret's times.
const (
	DefaultTTL    = Duration(time.Hour)
	DefaultMaxTTL = Duration(24 * time.Hour)
	MinSecretTTL  = Duration(time.Second) // the broker's own minimum comes on top
)

// DefaultUsernameTemplate names IAM users where the secret does not.
const DefaultUsernameTemplate = "lessor-{{truncate identity.name 24}}-{{random 16}}"

// DefaultPath is the IAM path of users where the secret does not name one.
const DefaultPath = "/lessor/"

// HardExpiry is which end AWS itself enforces, by an explicit Deny.
type HardExpiry string

// The kinds of hard expiry.
const (
	HardExpiryLease  HardExpiry = "lease"   // the lease's end; a renewal moves it
	HardExpiryMaxTTL HardExpiry = "max_ttl" // the last end that renewals may reach
	HardExpiryNone   HardExpiry = "none"
)

// UnmarshalJSON reads lease, max_ttl, none, off, or false.
func (h *HardExpiry) UnmarshalJSON(data []byte) error {
	if string(data) == "false" {
		*h = HardExpiryNone
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("must be lease, max_ttl or none")
	}
	switch v := HardExpiry(s); v {
	case HardExpiryLease, HardExpiryMaxTTL, HardExpiryNone:
		*h = v
	case "off":
		*h = HardExpiryNone
	default:
		return fmt.Errorf("must be lease, max_ttl or none")
	}
	return nil
}

// List is a list of strings that may also be written as one string with commas.
// Blanks around the entries are dropped.
type List []string

// UnmarshalJSON reads an array of strings or a comma-separated string.
func (l *List) UnmarshalJSON(data []byte) error {
	var entries []string
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		if strings.TrimSpace(s) != "" {
			entries = strings.Split(s, ",")
		}
	} else if err := json.Unmarshal(data, &entries); err != nil {
		return fmt.Errorf("must be a list of strings, or one string with commas")
	}
	*l = nil
	for _, e := range entries {
		if e = strings.TrimSpace(e); e == "" {
			return fmt.Errorf("has an empty entry")
		}
		*l = append(*l, e)
	}
	return nil
}

// Policy is a JSON policy document; it may also be written as a string that
// holds one.
type Policy json.RawMessage

// UnmarshalJSON reads an object, or a string that holds one.
func (p *Policy) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(`"`)) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		data = []byte(s)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		*p = nil
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil || b.Bytes()[0] != '{' {
		return fmt.Errorf("must be a policy document: a JSON object, or a string that holds one")
	}
	*p = b.Bytes()
	return nil
}

// MarshalJSON writes the document as an object.
func (p Policy) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("null"), nil
	}
	return p, nil
}

// DynamicSecret is a recipe for IAM users: where, with which rights, for how
// long. deploy/secrets/ci.yaml has one with every field.
type DynamicSecret struct {
	Name string `json:"name"`
	// DefaultTTL is what a request without a ttl gets; 0 is 1h, or MaxTTL if
	// that is less.
	DefaultTTL Duration `json:"default_ttl,omitzero"`
	// MaxTTL is how long a lease may live with all its renewals; 0 is 24h, or
	// DefaultTTL if that is more.
	MaxTTL Duration `json:"max_ttl,omitzero"`
	// UsernameTemplate makes the user names; "" is [DefaultUsernameTemplate].
	UsernameTemplate string `json:"username_template,omitempty"`
	// Tags are put on the users beside lessor's own.
	Tags map[string]string `json:"tags,omitempty"`
	// MaxLeases and MaxLeasesPerIdentity limit the leases that are alive at
	// once; 0 is no limit.
	MaxLeases            int `json:"max_leases,omitempty"`
	MaxLeasesPerIdentity int `json:"max_leases_per_identity,omitempty"`
	// HardExpiry is which end AWS enforces; "" is [HardExpiryLease].
	HardExpiry HardExpiry `json:"hard_expiry,omitempty"`
	// RequireSealed refuses requests without an xkey.
	RequireSealed bool `json:"require_sealed,omitempty"`
	// RequireConfirm refuses requests without confirm.
	RequireConfirm bool `json:"require_confirm,omitempty"`
	AWS            AWS  `json:"aws"`
}

// AWS is the part of a dynamic secret that is about AWS.
type AWS struct {
	// CredentialType is iam_user; "" is that.
	CredentialType string `json:"credential_type,omitempty"`
	// Region is told to the requester, and says which partition's IAM is meant;
	// "" is us-east-1.
	Region string `json:"region,omitempty"`
	// Path is the users' IAM path; "" is [DefaultPath].
	Path string `json:"path,omitempty"`
	// PermissionsBoundary is the ARN of the users' boundary; "" is none.
	PermissionsBoundary string `json:"permissions_boundary,omitempty"`
	// Groups are the names of the groups that the users join.
	Groups List `json:"groups,omitempty"`
	// ManagedPolicies are the ARNs of the policies attached to the users.
	ManagedPolicies List `json:"managed_policies,omitempty"`
	// InlinePolicy is the users' own policy.
	InlinePolicy Policy `json:"inline_policy,omitempty"`
	Auth         Auth   `json:"auth,omitzero"`
}

// CredentialIAMUser is the credential type that makes IAM users.
const CredentialIAMUser = "iam_user"

// Auth says how the broker authenticates to AWS.
type Auth struct {
	// Method is default, the SDK's own chain; "" is that.
	Method string `json:"method,omitempty"`
}

// AuthDefault is the SDK's own chain: environment, shared files, container, IMDS.
const AuthDefault = "default"

// UnmarshalJSON reads the definition strictly.
func (s *DynamicSecret) UnmarshalJSON(data []byte) error {
	if err := decodeFields(CodeInvalidSecret, data,
		field{"name", &s.Name}, field{"default_ttl", &s.DefaultTTL}, field{"max_ttl", &s.MaxTTL},
		field{"username_template", &s.UsernameTemplate}, field{"tags", &s.Tags},
		field{"max_leases", &s.MaxLeases}, field{"max_leases_per_identity", &s.MaxLeasesPerIdentity},
		field{"hard_expiry", &s.HardExpiry}, field{"require_sealed", &s.RequireSealed},
		field{"require_confirm", &s.RequireConfirm}, field{"aws", &s.AWS},
	); err != nil {
		return err
	}
	return nil
}

// UnmarshalJSON reads the AWS part strictly.
func (a *AWS) UnmarshalJSON(data []byte) error {
	if err := decodeFields(CodeInvalidSecret, data,
		field{"credential_type", &a.CredentialType}, field{"region", &a.Region}, field{"path", &a.Path},
		field{"permissions_boundary", &a.PermissionsBoundary}, field{"groups", &a.Groups},
		field{"managed_policies", &a.ManagedPolicies}, field{"inline_policy", &a.InlinePolicy}, field{"auth", &a.Auth},
	); err != nil {
		return err
	}
	return nil
}

// UnmarshalJSON reads the authentication strictly.
func (a *Auth) UnmarshalJSON(data []byte) error {
	if err := decodeFields(CodeInvalidSecret, data, field{"method", &a.Method}); err != nil {
		return err
	}
	return nil
}

// MaxSecretBody is the largest definition, in bytes.
const MaxSecretBody = 64 << 10

// DecodeDynamicSecret reads a definition, fills in the defaults and checks what
// does not depend on AWS. The error is an [Error] that names the field.
func DecodeDynamicSecret(data []byte) (DynamicSecret, error) {
	if len(data) > MaxSecretBody {
		return DynamicSecret{}, Errorf(CodeInvalidSecret, "the definition has %d bytes, the limit is %d", len(data), MaxSecretBody)
	}
	var s DynamicSecret
	if err := s.UnmarshalJSON(data); err != nil {
		return DynamicSecret{}, err
	}
	s = s.WithDefaults()
	if err := s.check(); err != nil {
		return DynamicSecret{}, err
	}
	return s, nil
}

// WithDefaults fills in what is left out.
func (s DynamicSecret) WithDefaults() DynamicSecret {
	switch {
	case s.DefaultTTL == 0 && s.MaxTTL == 0:
		s.DefaultTTL, s.MaxTTL = DefaultTTL, DefaultMaxTTL
	case s.DefaultTTL == 0:
		s.DefaultTTL = min(DefaultTTL, s.MaxTTL)
	case s.MaxTTL == 0:
		s.MaxTTL = max(DefaultMaxTTL, s.DefaultTTL)
	}
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&s.UsernameTemplate, DefaultUsernameTemplate)
	set((*string)(&s.HardExpiry), string(HardExpiryLease))
	set(&s.AWS.CredentialType, CredentialIAMUser)
	set(&s.AWS.Region, "us-east-1")
	set(&s.AWS.Path, DefaultPath)
	set(&s.AWS.Auth.Method, AuthDefault)
	return s
}

func (s DynamicSecret) check() error {
	if err := CheckToken("name", s.Name); err != nil {
		return Errorf(CodeInvalidSecret, "%s", AsError(err).Message)
	}
	switch {
	case s.DefaultTTL < MinSecretTTL:
		return Errorf(CodeInvalidSecret, "default_ttl is %s, it must be at least %s", s.DefaultTTL, MinSecretTTL)
	case s.DefaultTTL > s.MaxTTL:
		return Errorf(CodeInvalidSecret, "default_ttl %s is above max_ttl %s", s.DefaultTTL, s.MaxTTL)
	case s.MaxLeases < 0:
		return Errorf(CodeInvalidSecret, "max_leases is %d, it may not be negative", s.MaxLeases)
	case s.MaxLeasesPerIdentity < 0:
		return Errorf(CodeInvalidSecret, "max_leases_per_identity is %d, it may not be negative", s.MaxLeasesPerIdentity)
	}
	return nil
}

// ResolveTTL is the TTL that a request gets: its own, or the default. The error
// is an [Error] for the requester.
func (s DynamicSecret) ResolveTTL(asked, minTTL Duration) (Duration, error) {
	ttl := asked
	if ttl == 0 {
		ttl = max(s.DefaultTTL, min(minTTL, s.MaxTTL))
	}
	if ttl > s.MaxTTL {
		return 0, Errorf(CodeTTLExceedsMax, "ttl %s is above the maximum of %s", ttl, s.MaxTTL)
	}
	if ttl < minTTL {
		return 0, Errorf(CodeTTLBelowMin, "ttl %s is below the minimum of %s", ttl, minTTL)
	}
	return ttl, nil
}
