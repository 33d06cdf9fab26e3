package awsiam

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

// PermissionOptions are what a definition does not say about the account that
// the broker works in.
type PermissionOptions struct {
	// Account is the account's number: 12 digits.
	Account string
	// Principal is the ARN of the broker's own user, for the method access_key,
	// which replaces its own key; "" is whichever user has the policy.
	Principal string
	// Installation is the id of the broker's installation, which is on every user
	// that it makes; "" is any.
	Installation string
}

// maxManagedPolicy is how much a managed policy may hold, white space not
// counted. A role's inline policies may hold more, a user's less.
const maxManagedPolicy = 6144

var (
	accountNumber = regexp.MustCompile(`^[0-9]{12}$`)
	anyRoleARN    = regexp.MustCompile(`^arn:([a-z0-9-]+):iam::([0-9]{12}):role/(?:[!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64}$`)
	anyExternalID = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)
)

// Permissions is the policy that the broker needs for a definition: every call
// that it may ever make for it, and no more than IAM lets a policy tell apart.
// It is a JSON document, the same one for the same definition. Leases that were
// made before a definition was changed keep what they have, and need the policy of
// the old one until they have ended.
//
// Three rights reach further than the definition, because IAM knows no condition
// for them: to list all users, to delete virtual MFA devices that nobody uses, and
// to change who is in the definition's groups, whoever it is.
//
// The error is a [messages.Error] that names the field or the option, or says
// that the policy would be larger than a managed policy may be. It is not split:
// only paths, tags and lists far beyond the usual make it that long, and two
// policies would have to be kept in step by hand.
func Permissions(s messages.DynamicSecret, o PermissionOptions) (json.RawMessage, error) {
	s = s.WithDefaults()
	p := permits{
		aws: s.AWS, tags: s.Tags, options: o,
		iam: "arn:" + partitionOf(s.AWS.Region) + ":iam::" + o.Account + ":",
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	d := policyDocument{Version: "2012-10-17"}
	if s.AWS.CredentialType == messages.CredentialAssumeRole {
		d.Statement = p.sessions()
	} else {
		d.Statement = p.users()
	}
	if s.AWS.Auth.Method == messages.AuthAccessKey {
		d.Statement = append(d.Statement, p.ownKeys())
	}
	switch n, err := d.size(); {
	case err != nil:
		return nil, err
	case n > maxManagedPolicy:
		return nil, messages.Errorf(messages.CodeInvalidSecret,
			"the policy would have %d characters, a managed policy may have %d: use a shorter path or fewer tags, groups or policies", n, maxManagedPolicy)
	}
	return d.print()
}

// permits makes the statements for one definition.
type permits struct {
	aws     messages.AWS
	tags    map[string]string
	options PermissionOptions
	iam     string // the beginning of the ARNs of the account's own things
}

// users are the rights for IAM users. Those on users end at the path: whoever is
// below it belongs to the broker.
func (p permits) users() []policyStatement {
	list := []policyStatement{p.createUsers(), p.tagUsers(), p.inlinePolicies()}
	if len(p.aws.ManagedPolicies) > 0 {
		list = append(list, p.onPolicies("AttachPolicies", p.aws.ManagedPolicies, "iam:AttachUserPolicy", "iam:DetachUserPolicy"))
	}
	list = append(list,
		// AWS attaches it by itself to users whose keys it finds in public. Who has
		// attached anything else has to detach it: it may be there to deny.
		p.onPolicies("DetachQuarantine", []string{"arn:" + partitionOf(p.aws.Region) + ":iam::aws:policy/AWSCompromisedKeyQuarantine*"}, "iam:DetachUserPolicy"),
		p.keysAndHoldings(),
		// A device is not of a user's path, and not named after it. One that somebody
		// uses can't be deleted.
		allowOn("DeleteMFADevices", oneOrMore{p.iam + "mfa/*"}, "iam:DeleteVirtualMFADevice"),
	)
	if len(p.aws.Groups) > 0 {
		list = append(list, p.groups())
	}
	return append(list, allowOn("ListUsers", oneOrMore{"*"}, "iam:ListUsers"))
}

func (p permits) onUsers() oneOrMore { return oneOrMore{p.iam + "user" + p.aws.Path + "*"} }

// withBoundary ties a right to users that have the definition's boundary. Without
// one, the right is to make administrators.
func (p permits) withBoundary() conditions {
	c := conditions{}
	if p.aws.PermissionsBoundary != "" {
		c.set("StringEquals", "iam:PermissionsBoundary", p.aws.PermissionsBoundary)
	}
	return c
}

func (p permits) createUsers() policyStatement {
	const tag = "aws:RequestTag/" + tagInstallation
	c := p.withBoundary()
	if p.options.Installation != "" {
		c.set("StringEquals", tag, p.options.Installation)
	} else {
		c.set("Null", tag, "false")
	}
	return when(c, allowOn("CreateUsers", p.onUsers(), "iam:CreateUser"))
}

// tagUsers is asked for when a user is made with tags, and when it is taken over.
// It knows nothing of boundaries. The installation's tag is absent from a take-over.
func (p permits) tagUsers() policyStatement {
	c := p.withTags(tagAttempt, tagInstallation, tagLease)
	if p.options.Installation != "" {
		c.set("StringEqualsIfExists", "aws:RequestTag/"+tagInstallation, p.options.Installation)
	}
	return when(c, allowOn("TagUsers", p.onUsers(), "iam:TagUser"))
}

// withTags limits the tags to lessor's own and the definition's: other policies
// may give rights by tags.
func (p permits) withTags(own ...string) conditions {
	c := conditions{}
	c.set("ForAllValues:StringEquals", "aws:TagKeys", append(own, slices.Sorted(maps.Keys(p.tags))...)...)
	return c
}

// inlinePolicies are needed by every definition: a user whose key could not be
// deleted is denied everything by one.
func (p permits) inlinePolicies() policyStatement {
	return when(p.withBoundary(), allowOn("InlinePolicies", p.onUsers(), "iam:PutUserPolicy", "iam:DeleteUserPolicy"))
}

func (p permits) onPolicies(sid string, arns []string, actions ...string) policyStatement {
	c := p.withBoundary()
	c.set("ArnEquals", "iam:PolicyARN", arns...)
	return when(c, allowOn(sid, p.onUsers(), actions...))
}

// keysAndHoldings are the actions that know no condition of use, but for the
// user's tags, which IAM may see later than the user.
func (p permits) keysAndHoldings() policyStatement {
	return allowOn("KeysAndHoldings", p.onUsers(),
		"iam:GetUser", "iam:ListUserTags", "iam:DeleteUser",
		"iam:CreateAccessKey", "iam:ListAccessKeys", "iam:DeleteAccessKey",
		"iam:ListUserPolicies", "iam:ListAttachedUserPolicies", "iam:ListGroupsForUser",
		"iam:DeleteLoginProfile",
		"iam:ListSigningCertificates", "iam:DeleteSigningCertificate",
		"iam:ListSSHPublicKeys", "iam:DeleteSSHPublicKey",
		"iam:ListServiceSpecificCredentials", "iam:DeleteServiceSpecificCredential",
		"iam:ListMFADevices", "iam:DeactivateMFADevice",
	)
}

// groups are the definition's own. IAM asks about the group alone, not about the
// user: the right to remove users from other groups, too, would be one to take
// anybody out of a group that denies. Who has put a lease's user into another
// group has to take it out.
//
// A definition has a group's name, its ARN also has its path. Names are unique
// in an account whatever the path, so that each pair of ARNs is one group.
func (p permits) groups() policyStatement {
	var arns oneOrMore
	for _, g := range p.aws.Groups {
		arns = append(arns, p.iam+"group/"+g, p.iam+"group/*/"+g)
	}
	return allowOn("Groups", arns, "iam:AddUserToGroup", "iam:RemoveUserFromGroup")
}

// ownKeys lets the broker replace its own key. Where it is not known which user
// it is, the variable stands for its name: user/NAME alone would miss users with
// a path, and names are unique in an account whatever the path.
func (p permits) ownKeys() policyStatement {
	own := oneOrMore{p.options.Principal}
	if p.options.Principal == "" {
		own = oneOrMore{p.iam + "user/${aws:username}", p.iam + "user/*/${aws:username}"}
	}
	return allowOn("OwnKeys", own, "iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey")
}

// podTagKeys are those of the tags with which EKS Pod Identity begins its sessions.
// They go along with every session that is begun by such a session
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html).
var podTagKeys = []string{
	"eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-pod-name", "kubernetes-pod-uid", "kubernetes-service-account",
}

// sessions are the rights for sessions of a role. Who may put policies on the role
// can give it any right: IAM does not tell a Deny from an Allow.
func (p permits) sessions() []policyStatement {
	role := oneOrMore{p.aws.RoleARN}
	c := conditions{}
	if p.aws.ExternalID != "" {
		c.set("StringEquals", "sts:ExternalId", p.aws.ExternalID)
	}
	own := []string{ownTagPrefix + "identity", tagInstallation, tagLease}
	if p.aws.Auth.Method == messages.AuthPodIdentity {
		own = append(own, podTagKeys...)
	}
	tags := p.withTags(own...)
	if p.options.Installation != "" {
		tags.set("StringEquals", "aws:RequestTag/"+tagInstallation, p.options.Installation)
	}
	list := []policyStatement{
		when(c, allowOn("AssumeRole", role, "sts:AssumeRole")),
		when(tags, allowOn("TagSession", role, "sts:TagSession")), // which knows no external id
	}
	if p.aws.DenyOnRevoke {
		list = append(list, allowOn("DenyOnRevoke", role, "iam:PutRolePolicy", "iam:DeleteRolePolicy"))
	}
	return list
}

func allowOn(sid string, resources oneOrMore, actions ...string) policyStatement {
	return policyStatement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources}
}

func when(c conditions, s policyStatement) policyStatement {
	s.Condition = c
	return s
}

// check makes sure that what the policy will say means what the definition says.
func (p permits) check() error {
	partition := partitionOf(p.aws.Region)
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

// checkPolicy checks that a policy is AWS's own or of the account.
func (p permits) checkPolicy(field, arn string) error {
	if arn == "" {
		return nil
	}
	if owner := strings.Split(arn, ":")[4]; owner != "aws" && owner != p.options.Account {
		return wrong(field, "is in the account %s, not in %s", owner, p.options.Account)
	}
	return checkLiteral(field, arn)
}

// checkLiteral refuses what IAM allows in a path, and a policy takes for a
// wildcard or a variable.
func checkLiteral(field, s string) error {
	if strings.ContainsAny(s, "*?$") {
		return wrong(field, "has one of the characters * ? $, which mean something else in a policy")
	}
	return nil
}

func isExternalID(id string) bool {
	return len(id) >= 2 && len(id) <= 1224 && anyExternalID.MatchString(id)
}

func checkAccount(account string) error {
	if !accountNumber.MatchString(account) {
		return wrongOption("account", "%.40q is not the number of an account: 12 digits", account)
	}
	return nil
}

// wrongOption is a fault of an option.
func wrongOption(name, format string, args ...any) error {
	e := messages.Errorf(messages.CodeInvalidRequest, format, args...)
	e.Message = name + ": " + e.Message
	return e
}
