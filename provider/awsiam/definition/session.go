package definition

import (
	"cmp"
	"regexp"
	"unicode/utf8"

	"github.com/lessorhq/lessor/messages"
)

// STS's limits for session policies.
const (
	maxSessionPolicy  = 2048 // characters of the inline policy, as it is sent
	maxSessionManaged = 10
)

// sessionNameGrammar is STS's grammar for the names of role sessions.
var sessionNameGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)

// checkType checks the fields that only sessions have, and refuses the fields that
// the credential type does not use.
func checkType(s messages.DynamicSecret, partition string) error {
	if s.AWS.CredentialType != messages.CredentialAssumeRole {
		return checkUnused(messages.CredentialAssumeRole, []usage{
			{"aws.role_arn", s.AWS.RoleARN != ""},
			{"aws.external_id", s.AWS.ExternalID != ""},
			{"aws.deny_on_revoke", s.AWS.DenyOnRevoke},
		})
	}
	if err := checkUnused(messages.CredentialIAMUser, []usage{
		{"aws.path", s.AWS.Path != ""},
		{"aws.permissions_boundary", s.AWS.PermissionsBoundary != ""},
		{"aws.groups", len(s.AWS.Groups) > 0},
		{"hard_expiry", s.HardExpiry != "" && s.HardExpiry != messages.HardExpiryNone},
	}); err != nil {
		return err
	}
	if s.AWS.RoleARN == "" {
		return wrong("aws.role_arn", "is missing: it names the role of which sessions are leased")
	}
	if err := checkRoleARN("aws.role_arn", s.AWS.RoleARN, partition); err != nil {
		return err
	}
	if s.AWS.ExternalID != "" {
		if err := checkExternalID("aws.external_id", s.AWS.ExternalID); err != nil {
			return err
		}
	}
	if s.AWS.DenyOnRevoke && s.AllowFixedUsername {
		return wrong("aws.deny_on_revoke", "can't be used with allow_fixed_username: the next session of the "+
			"same name would be denied everything as well, until the first has expired")
	}
	if account := authAccount(s.AWS.Auth); s.AWS.DenyOnRevoke && account != "" && account != RoleAccount(s.AWS.RoleARN) {
		return wrong("aws.deny_on_revoke", "is for roles of the account that the broker authenticates to, which is %s by aws.auth; the role is in %s",
			account, RoleAccount(s.AWS.RoleARN))
	}
	return checkSessionPolicies(s.AWS)
}

// IsSessionName reports whether a name is a valid name of a role session.
func IsSessionName(name string) bool { return sessionNameGrammar.MatchString(name) }

// authAccount returns the account that the broker authenticates to, or "" if the
// definition does not state it.
func authAccount(a messages.Auth) string { return RoleAccount(cmp.Or(a.AssumeRoleARN, a.RoleARN)) }

// RoleAccount returns the account of a role, or "" if arn is not the ARN of a role.
func RoleAccount(arn string) string {
	if m := roleARN.FindStringSubmatch(arn); m != nil {
		return m[2]
	}
	return ""
}

// usage states whether a definition has a field.
type usage struct {
	field string
	used  bool
}

// checkUnused refuses the fields that are for another credential type.
func checkUnused(of messages.CredentialType, fields []usage) error {
	for _, f := range fields {
		if f.used {
			return wrong(f.field, "is for aws.credential_type %s only", of)
		}
	}
	return nil
}

// checkSessionPolicies checks number and account of the managed policies. STS packs
// policies and tags, and limits the packed size as well, which cannot be computed.
func checkSessionPolicies(s messages.AWS) error {
	if n := len(s.ManagedPolicies); n > maxSessionManaged {
		return wrong("aws.managed_policies", "has %d entries, the limit for a session is %d", n, maxSessionManaged)
	}
	account := RoleAccount(s.RoleARN)
	for i, arn := range s.ManagedPolicies {
		if m := policyARN.FindStringSubmatch(arn); m != nil && m[2] != "aws" && m[2] != account {
			return wrong(index("aws.managed_policies", i), "is in the account %s, but must be in the role's, %s, or be one of AWS's own", m[2], account)
		}
	}
	return nil
}

// checkSessionPolicy checks the size of the inline policy of a session.
func checkSessionPolicy(document messages.Policy) error {
	policy, err := Compact(document)
	if err != nil {
		return wrong(inlineField, "is not a policy document")
	}
	if n := utf8.RuneCountInString(policy); n > maxSessionPolicy {
		return wrong(inlineField, "has %d characters, the limit for a session is %d", n, maxSessionPolicy)
	}
	return nil
}
