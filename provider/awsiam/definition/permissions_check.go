package definition

import (
	"regexp"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

var (
	accountNumber = regexp.MustCompile(`^[0-9]{12}$`)
	anyRoleARN    = regexp.MustCompile(`^arn:([a-z0-9-]+):iam::([0-9]{12}):role/(?:[!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64}$`)
)

// check returns an error if the policy would not mean what the definition says.
func (p permits) check() error {
	partition := PartitionOf(p.aws.Region)
	user := p.aws.CredentialType != messages.CredentialAssumeRole
	for _, check := range []func() error{
		func() error { return checkAccount(p.options.Account) },
		func() error { return checkRegion(p.aws.Region) },
		func() error { return checkTags(p.tags) },
		p.checkPrincipal,
		p.checkInstallation,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if !user {
		return p.checkLeasedRole(partition)
	}
	for _, check := range []func() error{
		func() error { return checkPath(p.aws.Path) },
		func() error { return checkLiteral("aws.path", p.aws.Path) },
		func() error { return checkBoundary(p.aws.PermissionsBoundary, partition) },
		func() error { return checkGroups(p.aws.Groups) },
		func() error { return checkManaged(p.aws.ManagedPolicies, partition) },
		func() error { return p.checkPolicy("aws.permissions_boundary", p.aws.PermissionsBoundary) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	for i, arn := range p.aws.ManagedPolicies {
		if err := p.checkPolicy(index("aws.managed_policies", i), arn); err != nil {
			return err
		}
	}
	return nil
}

func (p permits) checkPrincipal() error {
	if p.aws.Auth.Method != messages.AuthAccessKey || p.options.Principal == "" {
		return nil
	}
	if !strings.HasPrefix(p.options.Principal, p.iam+"user/") || checkLiteral("", p.options.Principal) != nil {
		return wrongOption("principal", "%.80q is not the ARN of a user of the account, such as %suser/lessor", p.options.Principal, p.iam)
	}
	return nil
}

func (p permits) checkInstallation() error {
	if i := p.options.Installation; len(i) > maxTagValue || !tagGrammar.MatchString(i) {
		return wrongOption("installation", "%.40q is not the id of an installation", i)
	}
	return nil
}

func (p permits) checkLeasedRole(partition string) error {
	const field = "aws.role_arn"
	if m := anyRoleARN.FindStringSubmatch(p.aws.RoleARN); m == nil || m[1] != partition {
		return wrong(field, "%.80q is not the ARN of a role, such as arn:%s:iam::123456789012:role/name", p.aws.RoleARN, partition)
	}
	if p.aws.ExternalID != "" && !isExternalID(p.aws.ExternalID) {
		return wrong("aws.external_id", "must have 2 to 1224 letters, digits and _+=,.@:/-")
	}
	return checkLiteral(field, p.aws.RoleARN)
}

// checkPolicy checks that a policy belongs to AWS or to the account.
func (p permits) checkPolicy(field, arn string) error {
	if arn == "" {
		return nil
	}
	if owner := strings.Split(arn, ":")[4]; owner != "aws" && owner != p.options.Account {
		return wrong(field, "is in the account %s, not in %s", owner, p.options.Account)
	}
	return checkLiteral(field, arn)
}

// checkLiteral refuses characters that IAM allows in a path and that are wildcards, or
// begin a variable, in a policy.
func checkLiteral(field, s string) error {
	if strings.ContainsAny(s, "*?$") {
		return wrong(field, "has one of the characters * ? $, which have a special meaning in a policy")
	}
	return nil
}

func isExternalID(id string) bool {
	return len(id) >= minExternalID && len(id) <= maxExternalID && externalIDGrammar.MatchString(id)
}

func checkAccount(account string) error {
	if !accountNumber.MatchString(account) {
		return wrongOption("account", "%.40q is not the number of an account: 12 digits", account)
	}
	return nil
}
