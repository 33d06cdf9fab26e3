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
	defaultTTL    = Duration(time.Hour)
	defaultMaxTTL = Duration(24 * time.Hour)
	MinSecretTTL  = Duration(time.Second) // the broker's own minimum comes on top
)

// MaxRate is the highest limit of requests in a minute.
const MaxRate = 1_000_000

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
	if json.Unmarshal(data, &s) != nil {
		return errType
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

// UnmarshalJSON reads a list of strings or a comma-separated string.
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
	} else {
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil {
			return errType
		}
		for i, raw := range list {
			var e string
			if json.Unmarshal(raw, &e) != nil {
				return &fault{fmt.Sprintf("[%d]", i), wrongType(raw, &e)}
			}
			entries = append(entries, e)
		}
	}
	*l = nil
	for i, e := range entries {
		if e = strings.TrimSpace(e); e == "" {
			return &fault{fmt.Sprintf("[%d]", i), " is empty"}
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
	if json.Compact(&b, data) != nil {
		return fmt.Errorf("it is not JSON, and must be a policy document")
	}
	if b.Bytes()[0] != '{' {
		return errType
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

// DynamicSecret is a recipe for credentials: where, with which rights, for how
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
	// MaxRequestsPerMinute limits the requests of one identity that may begin a lease
	// in any minute; those that are refused do not count. 0 is the broker's default.
	MaxRequestsPerMinute int `json:"max_requests_per_minute,omitempty"`
	// AllowFixedUsername takes a template without randomness. Then no two leases
	// that it gives one name can be alive at once.
	AllowFixedUsername bool `json:"allow_fixed_username,omitempty"`
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
	// CredentialType is what is leased; "" is [CredentialIAMUser].
	CredentialType CredentialType `json:"credential_type,omitempty"`
	// Region is told to the requester, and says which partition's IAM is meant;
	// "" is us-east-1.
	Region string `json:"region,omitempty"`

	// Path is the users' IAM path; "" is [DefaultPath].
	Path string `json:"path,omitempty"`
	// PermissionsBoundary is the ARN of the users' boundary; "" is none.
	PermissionsBoundary string `json:"permissions_boundary,omitempty"`
	// Groups are the names of the groups that the users join.
	Groups List `json:"groups,omitempty"`
	// ManagedPolicies are the ARNs of the policies attached to the users, or those
	// that limit a session.
	ManagedPolicies List `json:"managed_policies,omitempty"`
	// InlinePolicy is the users' own policy, or the one that limits a session.
	InlinePolicy Policy `json:"inline_policy,omitempty"`

	// RoleARN is the role of which sessions are leased, for
	// [CredentialAssumeRole].
	RoleARN string `json:"role_arn,omitempty"`
	// ExternalID is what that role's trust policy asks for; "" is none.
	ExternalID string `json:"external_id,omitempty"`
	// DenyOnRevoke has a revocation put a policy on that role which denies the
	// session everything. Without it a revoked session works until it expires:
	// STS can't take back what it gave.
	DenyOnRevoke bool `json:"deny_on_revoke,omitempty"`

	Auth Auth `json:"auth,omitzero"`
}

// CredentialType is what a dynamic secret leases.
type CredentialType string

// The credential types.
const (
	CredentialIAMUser    CredentialType = "iam_user"    // an IAM user with an access key
	CredentialAssumeRole CredentialType = "assume_role" // a session of a role: temporary credentials
)

// Bounds of a session of a role
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
const (
	MinSession        = Duration(15 * time.Minute)
	maxSession        = Duration(12 * time.Hour)
	maxChainedSession = Duration(time.Hour) // where the one who assumes it is a session itself
)

// AuthMethod is a way to authenticate to AWS.
type AuthMethod string

// The methods. Each uses its own credentials and never those of another.
const (
	// AuthDefault is the SDK's own chain: environment, shared files, container,
	// IMDS.
	AuthDefault AuthMethod = "default"
	// AuthAssumeRole assumes RoleARN with the broker's base credentials.
	AuthAssumeRole AuthMethod = "assume_role"
	// AuthIRSA is the role of a pod's service account on EKS, by its web identity
	// token.
	AuthIRSA AuthMethod = "irsa"
	// AuthPodIdentity is EKS Pod Identity.
	AuthPodIdentity AuthMethod = "pod_identity"
	// AuthAccessKey is an IAM user's access key.
	AuthAccessKey AuthMethod = "access_key"
)

// Auth says how the broker authenticates to AWS.
type Auth struct {
	// Method is the way; "" is [AuthDefault].
	Method AuthMethod `json:"method,omitempty"`
	// RoleARN is the role of assume_role, or the one that irsa takes instead of
	// AWS_ROLE_ARN.
	RoleARN string `json:"role_arn,omitempty"`
	// AssumeRoleARN is a second role, which irsa and pod_identity assume with what
	// they have; "" is none.
	AssumeRoleARN string `json:"assume_role_arn,omitempty"`
	// ExternalID goes with the role of assume_role, or with AssumeRoleARN; "" is
	// the broker's own, if it has one.
	ExternalID string `json:"external_id,omitempty"`
	// AccessKeyID and SecretAccessKey are the key of access_key. The secret is in
	// a definition only on its way in: it is kept sealed, with the connection.
	AccessKeyID     string    `json:"access_key_id,omitempty"`
	SecretAccessKey Sensitive `json:"secret_access_key,omitzero"`
}

// chained says whether the method authenticates as a session of a role, whose
// sessions of another role last an hour at most. For [AuthDefault] it can't be
// told beforehand, and is false.
func (a Auth) chained() bool {
	return a.Method == AuthAssumeRole || a.Method == AuthIRSA || a.Method == AuthPodIdentity
}

// UnmarshalJSON reads the definition strictly.
func (s *DynamicSecret) UnmarshalJSON(data []byte) error {
	if err := decodeFields(CodeInvalidSecret, data,
		field{"name", &s.Name}, field{"default_ttl", &s.DefaultTTL}, field{"max_ttl", &s.MaxTTL},
		field{"username_template", &s.UsernameTemplate}, field{"tags", &s.Tags},
		field{"max_leases", &s.MaxLeases}, field{"max_leases_per_identity", &s.MaxLeasesPerIdentity},
		field{"max_requests_per_minute", &s.MaxRequestsPerMinute},
		field{"allow_fixed_username", &s.AllowFixedUsername},
		field{"hard_expiry", &s.HardExpiry}, field{"require_sealed", &s.RequireSealed},
		field{"require_confirm", &s.RequireConfirm}, field{"aws", &s.AWS},
	); err != nil {
		return err
	}
	return nil
}

// UnmarshalJSON reads the AWS part strictly.
func (a *AWS) UnmarshalJSON(data []byte) error {
	return readInner(data, []field{
		{"credential_type", &a.CredentialType}, {"region", &a.Region}, {"path", &a.Path},
		{"permissions_boundary", &a.PermissionsBoundary}, {"groups", &a.Groups},
		{"managed_policies", &a.ManagedPolicies}, {"inline_policy", &a.InlinePolicy},
		{"role_arn", &a.RoleARN}, {"external_id", &a.ExternalID}, {"deny_on_revoke", &a.DenyOnRevoke},
		{"auth", &a.Auth},
	})
}

// UnmarshalJSON reads the authentication strictly.
func (a *Auth) UnmarshalJSON(data []byte) error {
	return readInner(data, []field{
		{"method", &a.Method}, {"role_arn", &a.RoleARN}, {"assume_role_arn", &a.AssumeRoleARN},
		{"external_id", &a.ExternalID}, {"access_key_id", &a.AccessKeyID}, {"secret_access_key", &a.SecretAccessKey},
	})
}

// MaxSecretBody is the largest definition, in bytes.
const MaxSecretBody = 64 << 10

// DecodeDynamicSecret reads a definition, fills in the defaults and checks what
// does not depend on AWS. The error is an [Error] that names the field.
func DecodeDynamicSecret(data []byte) (DynamicSecret, error) {
	if len(data) > MaxSecretBody {
		return DynamicSecret{}, Errorf(CodeInvalidSecret, "the definition has %d bytes, the limit is %d", len(data), MaxSecretBody)
	}
	return DecodeStoredSecret(data)
}

// DecodeStoredSecret is [DecodeDynamicSecret] for what has been stored: with its
// defaults filled in it may be longer than what was put.
func DecodeStoredSecret(data []byte) (DynamicSecret, error) {
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
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&s.UsernameTemplate, DefaultUsernameTemplate)
	set((*string)(&s.AWS.CredentialType), string(CredentialIAMUser))
	set(&s.AWS.Region, "us-east-1")
	set((*string)(&s.AWS.Auth.Method), string(AuthDefault))
	if s.AWS.CredentialType == CredentialIAMUser {
		set((*string)(&s.HardExpiry), string(HardExpiryLease))
		set(&s.AWS.Path, DefaultPath)
	}
	most := defaultMaxTTL
	if s.AWS.CredentialType == CredentialAssumeRole {
		most = s.longestSession()
	}
	switch {
	case s.DefaultTTL == 0 && s.MaxTTL == 0:
		s.DefaultTTL, s.MaxTTL = defaultTTL, most
	case s.DefaultTTL == 0:
		s.DefaultTTL = min(defaultTTL, s.MaxTTL)
	case s.MaxTTL == 0:
		s.MaxTTL = max(most, s.DefaultTTL)
	}
	return s
}

// longestSession returns the longest session that AWS gives, whatever the role allows.
func (s DynamicSecret) longestSession() Duration {
	if s.AWS.Auth.chained() {
		return maxChainedSession
	}
	return maxSession
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
	case s.MaxRequestsPerMinute < 0 || s.MaxRequestsPerMinute > MaxRate:
		return Errorf(CodeInvalidSecret, "max_requests_per_minute is %d, it may be 0 to %d", s.MaxRequestsPerMinute, MaxRate)
	}
	if s.AWS.CredentialType != CredentialAssumeRole {
		return nil
	}
	switch {
	case s.DefaultTTL < MinSession:
		return Errorf(CodeInvalidSecret, "default_ttl is %s; AWS gives no session of less than %s", s.DefaultTTL, MinSession)
	case s.MaxTTL > maxSession:
		return Errorf(CodeInvalidSecret, "max_ttl is %s; AWS gives no session of more than %s", s.MaxTTL, maxSession)
	case s.MaxTTL > s.longestSession():
		return Errorf(CodeInvalidSecret, "max_ttl is %s; with aws.auth.method %s the broker is itself a session of a role, and then AWS gives no session of more than %s",
			s.MaxTTL, s.AWS.Auth.Method, maxChainedSession)
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
	if s.AWS.CredentialType == CredentialAssumeRole {
		minTTL = max(minTTL, MinSession)
	}
	if ttl < minTTL {
		return 0, Errorf(CodeTTLBelowMin, "ttl %s is below the minimum of %s", ttl, minTTL)
	}
	return ttl, nil
}
