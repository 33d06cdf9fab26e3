package messages

import (
	"encoding/json"
	"fmt"
)

// UnmarshalJSON decodes the definition strictly. The error is an [Error].
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

// UnmarshalJSON decodes the AWS part strictly.
func (a *AWS) UnmarshalJSON(data []byte) error {
	return readInner(data, []field{
		{"credential_type", &a.CredentialType}, {"region", &a.Region}, {"path", &a.Path},
		{"permissions_boundary", &a.PermissionsBoundary}, {"groups", &a.Groups},
		{"managed_policies", &a.ManagedPolicies}, {"inline_policy", &a.InlinePolicy},
		{"role_arn", &a.RoleARN}, {"external_id", &a.ExternalID}, {"deny_on_revoke", &a.DenyOnRevoke},
		{"auth", &a.Auth},
	})
}

// UnmarshalJSON decodes the authentication strictly.
func (a *Auth) UnmarshalJSON(data []byte) error {
	return readInner(data, []field{
		{"method", &a.Method}, {"role_arn", &a.RoleARN}, {"assume_role_arn", &a.AssumeRoleARN},
		{"external_id", &a.ExternalID}, {"access_key_id", &a.AccessKeyID}, {"secret_access_key", &a.SecretAccessKey},
	})
}

// MaxSecretBody is the largest definition, in bytes.
const MaxSecretBody = 64 << 10

// DecodeDynamicSecret reads a definition of at most [MaxSecretBody] bytes, sets the
// defaults and checks everything that does not depend on AWS. The error is an [Error]
// that names the field.
func DecodeDynamicSecret(data []byte) (DynamicSecret, error) {
	if len(data) > MaxSecretBody {
		return DynamicSecret{}, Errorf(CodeInvalidSecret, "the definition has %d bytes, the limit is %d", len(data), MaxSecretBody)
	}
	return DecodeStoredSecret(data)
}

// DecodeStoredSecret is [DecodeDynamicSecret] for a stored definition. It has no limit
// of length, because the stored definition has its defaults set.
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

// WithDefaults returns the definition with the defaults in place of zero values.
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

// longestSession returns the longest session that AWS allows for any role.
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

// ResolveTTL returns the TTL of a lease for the requested ttl; 0 is the
// default. It returns an [Error] with [CodeTTLExceedsMax] or [CodeTTLBelowMin] if the
// ttl is out of bounds.
func (s DynamicSecret) ResolveTTL(requested, minTTL Duration) (Duration, error) {
	ttl := requested
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

// UnmarshalJSON decodes lease, max_ttl, none, off, or false.
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
