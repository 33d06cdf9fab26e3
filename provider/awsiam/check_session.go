package awsiam

import (
	"regexp"
	"unicode/utf8"

	"github.com/lessorhq/lessor/messages"
)

// STS's limits for sessions.
const (
	maxRoleName      = 64
	maxSessionPolicy = 2048 // of the inline policy, as it is sent
	minExternalID    = 2
	maxExternalID    = 1224
)

var (
	// leasedRole is arn:<partition>:iam::<account>:role/<path/><name>.
	leasedRole         = regexp.MustCompile(`^arn:([a-z0-9-]+):iam::([0-9]{12}):role(/(?:[!-~]+/)?)([^/]+)$`)
	leasedExternalID   = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)
	sessionNameGrammar = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)
)

// checkType checks that a definition has no field that its credential type has no
// use for, and what only sessions have.
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
	if err := checkLeasedRole(s.AWS.RoleARN, partition); err != nil {
		return err
	}
	if err := checkLeasedExternalID(s.AWS.ExternalID); err != nil {
		return err
	}
	if s.AWS.DenyOnRevoke && s.AllowFixedUsername {
		return wrong("aws.deny_on_revoke", "can't be used with allow_fixed_username: what is denied to a session "+
			"would be denied to the next of that name, until the first has expired")
	}
	return checkSessionPolicies(s.AWS)
}

// usage is whether a definition has a field.
type usage struct {
	field string
	used  bool
}

func checkUnused(of messages.CredentialType, fields []usage) error {
	for _, f := range fields {
		if f.used {
			return wrong(f.field, "is for aws.credential_type %s only", of)
		}
	}
	return nil
}

func checkLeasedRole(arn, partition string) error {
	const field = "aws.role_arn"
	if arn == "" {
		return wrong(field, "is missing: it names the role of which sessions are leased")
	}
	if len(arn) > maxARN {
		return wrong(field, "has %d characters, the limit is %d", len(arn), maxARN)
	}
	m := leasedRole.FindStringSubmatch(arn)
	if m == nil {
		return wrong(field, "%.80q is not the ARN of a role, such as arn:%s:iam::123456789012:role/name", arn, partition)
	}
	if m[1] != partition {
		return wrong(field, "is in the partition %.20q, but the region is in %s", m[1], partition)
	}
	if len(m[3]) > maxPath {
		return wrong(field, "its path has %d characters, the limit is %d", len(m[3]), maxPath)
	}
	if n := utf8.RuneCountInString(m[4]); n > maxRoleName {
		return wrong(field, "its name has %d characters, the limit is %d", n, maxRoleName)
	}
	if !nameGrammar.MatchString(m[4]) {
		return wrong(field, "its name: %.40q is not a name: letters, digits and _+=,.@- only", m[4])
	}
	return nil
}

func checkLeasedExternalID(id string) error {
	const field = "aws.external_id"
	switch n := utf8.RuneCountInString(id); {
	case n == 0:
		return nil
	case n < minExternalID || n > maxExternalID:
		return wrong(field, "has %d characters, it must have %d to %d", n, minExternalID, maxExternalID)
	case !leasedExternalID.MatchString(id):
		return wrong(field, "may have only letters, digits and _+=,.@:/-")
	}
	return nil
}

// checkSessionPolicies checks what STS asks of policies beside their form. How
// much room policies and tags take once they are packed can't be told.
func checkSessionPolicies(s messages.AWS) error {
	account := leasedRole.FindStringSubmatch(s.RoleARN)[2]
	for i, arn := range s.ManagedPolicies {
		if m := policyARN.FindStringSubmatch(arn); m != nil && m[2] != "aws" && m[2] != account {
			return wrong(index("aws.managed_policies", i), "is in the account %s, but must be in the role's, %s, or be one of AWS's own", m[2], account)
		}
	}
	return nil
}

// checkSessionPolicy checks the size of the policy that limits a session.
func checkSessionPolicy(document messages.Policy) error {
	policy, err := plain(document)
	if err != nil {
		return wrong(inlineField, "is not a policy document")
	}
	if n := utf8.RuneCountInString(policy); n > maxSessionPolicy {
		return wrong(inlineField, "has %d characters, the limit for a session is %d", n, maxSessionPolicy)
	}
	return nil
}
