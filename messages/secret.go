package messages

import (
	"time"
)

// Defaults and bounds of the TTLs of a dynamic secret.
const (
	defaultTTL    = Duration(time.Hour)
	defaultMaxTTL = Duration(24 * time.Hour)
	MinSecretTTL  = Duration(time.Second) // the broker's own minimum also applies
)

// MaxRate is the largest limit of requests a minute.
const MaxRate = 1_000_000

// DefaultUsernameTemplate is the default of [DynamicSecret.UsernameTemplate].
const DefaultUsernameTemplate = "lessor-{{truncate identity.name 24}}-{{random 16}}"

// DefaultPath is the default of [AWS.Path].
const DefaultPath = "/lessor/"

// HardExpiry is the time after which AWS itself refuses the key, by an explicit Deny.
type HardExpiry string

// The kinds of hard expiry.
const (
	HardExpiryLease  HardExpiry = "lease"   // the end of the lease; a renewal moves it
	HardExpiryMaxTTL HardExpiry = "max_ttl" // the latest end that a renewal can reach
	HardExpiryNone   HardExpiry = "none"    // never
)

// DynamicSecret is the definition of the credentials that are leased: the AWS account,
// the rights and the TTLs. deploy/secrets/ci.yaml has every field.
type DynamicSecret struct {
	Name string `json:"name"`
	// DefaultTTL is the ttl of requests that have none; 0 is 1h, or MaxTTL if that is
	// less.
	DefaultTTL Duration `json:"default_ttl,omitzero"`
	// MaxTTL is the longest life of a lease including its renewals; 0 is 24h, or
	// DefaultTTL if that is more.
	MaxTTL Duration `json:"max_ttl,omitzero"`
	// UsernameTemplate is the template of the user names; "" is
	// [DefaultUsernameTemplate].
	UsernameTemplate string `json:"username_template,omitempty"`
	// Tags are added to the users' tags.
	Tags map[string]string `json:"tags,omitempty"`
	// MaxLeases and MaxLeasesPerIdentity limit the number of live leases; 0 is no
	// limit.
	MaxLeases            int `json:"max_leases,omitempty"`
	MaxLeasesPerIdentity int `json:"max_leases_per_identity,omitempty"`
	// MaxRequestsPerMinute limits how many leases one identity may begin in a minute.
	// Refused requests do not count. 0 is the broker's default.
	MaxRequestsPerMinute int `json:"max_requests_per_minute,omitempty"`
	// AllowFixedUsername allows a template without a random part. Leases with the same
	// user name can't be live at the same time.
	AllowFixedUsername bool `json:"allow_fixed_username,omitempty"`
	// HardExpiry is when AWS itself refuses the key; "" is [HardExpiryLease].
	HardExpiry HardExpiry `json:"hard_expiry,omitempty"`
	// RequireSealed refuses requests without an xkey.
	RequireSealed bool `json:"require_sealed,omitempty"`
	// RequireConfirm refuses requests without confirm.
	RequireConfirm bool `json:"require_confirm,omitempty"`
	AWS            AWS  `json:"aws"`
}

// AWS is the AWS part of a dynamic secret.
type AWS struct {
	// CredentialType is what is leased; "" is [CredentialIAMUser].
	CredentialType CredentialType `json:"credential_type,omitempty"`
	// Region is delivered with the credentials and determines the partition of IAM;
	// "" is us-east-1.
	Region string `json:"region,omitempty"`

	// Path is the users' IAM path; "" is [DefaultPath].
	Path string `json:"path,omitempty"`
	// PermissionsBoundary is the ARN of the users' permissions boundary; "" is none.
	PermissionsBoundary string `json:"permissions_boundary,omitempty"`
	// Groups are the names of the users' groups.
	Groups List `json:"groups,omitempty"`
	// ManagedPolicies are the ARNs of the policies that are attached to the users, or
	// of the session policies.
	ManagedPolicies List `json:"managed_policies,omitempty"`
	// InlinePolicy is the users' inline policy, or the session policy.
	InlinePolicy Policy `json:"inline_policy,omitempty"`

	// RoleARN is the role whose sessions are leased, for [CredentialAssumeRole].
	RoleARN string `json:"role_arn,omitempty"`
	// ExternalID is the external id that the role's trust policy requires; "" is none.
	ExternalID string `json:"external_id,omitempty"`
	// DenyOnRevoke makes a revocation add a policy to the role that denies the session
	// everything. Without it a revoked session works until it expires, because STS
	// can't revoke sessions.
	DenyOnRevoke bool `json:"deny_on_revoke,omitempty"`

	Auth Auth `json:"auth,omitzero"`
}

// CredentialType is what a dynamic secret leases.
type CredentialType string

// The credential types.
const (
	CredentialIAMUser    CredentialType = "iam_user"    // an IAM user with an access key
	CredentialAssumeRole CredentialType = "assume_role" // a role session with temporary credentials
)

// Bounds of a session of a role
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
const (
	MinSession        = Duration(15 * time.Minute)
	maxSession        = Duration(12 * time.Hour)
	maxChainedSession = Duration(time.Hour) // role chaining: the caller is a role session itself
)

// AuthMethod is a way to authenticate to AWS.
type AuthMethod string

// The methods. Each uses its own source of credentials and no other.
const (
	// AuthDefault is the default chain of the AWS SDK: environment, shared files,
	// container, IMDS.
	AuthDefault AuthMethod = "default"
	// AuthAssumeRole assumes RoleARN with the broker's base credentials.
	AuthAssumeRole AuthMethod = "assume_role"
	// AuthIRSA assumes the role of a pod's service account on EKS with its web
	// identity token.
	AuthIRSA AuthMethod = "irsa"
	// AuthPodIdentity is EKS Pod Identity.
	AuthPodIdentity AuthMethod = "pod_identity"
	// AuthAccessKey is an IAM user's access key.
	AuthAccessKey AuthMethod = "access_key"
)

// Auth is how the broker authenticates to AWS.
type Auth struct {
	// Method is the method; "" is [AuthDefault].
	Method AuthMethod `json:"method,omitempty"`
	// RoleARN is the role of assume_role, or the role of irsa instead of AWS_ROLE_ARN.
	RoleARN string `json:"role_arn,omitempty"`
	// AssumeRoleARN is a second role that irsa and pod_identity assume with their
	// credentials; "" is none.
	AssumeRoleARN string `json:"assume_role_arn,omitempty"`
	// ExternalID is the external id for the role of assume_role, or for AssumeRoleARN;
	// "" is the broker's own, if it has one.
	ExternalID string `json:"external_id,omitempty"`
	// AccessKeyID and SecretAccessKey are the key of access_key. The secret key is set
	// only in a put. The broker stores it sealed, with the connection.
	AccessKeyID     string    `json:"access_key_id,omitempty"`
	SecretAccessKey Sensitive `json:"secret_access_key,omitzero"`
}

// chained reports whether the method authenticates as a role session, whose sessions
// of another role last at most an hour. It is false for [AuthDefault], whose principal
// is not known from the definition.
func (a Auth) chained() bool {
	return a.Method == AuthAssumeRole || a.Method == AuthIRSA || a.Method == AuthPodIdentity
}
