package definition

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/lessorhq/lessor/messages"
)

// PermissionOptions states what [Permissions] needs to know and the definition does
// not contain.
type PermissionOptions struct {
	// Account is the account's number: 12 digits.
	Account string
	// Principal is the ARN of the broker's own user. It is used for the method
	// access_key, whose key the broker rotates; "" means the user that has the policy.
	Principal string
	// Installation is the id of the broker's installation, with which it tags every
	// user; "" means any.
	Installation string
}

// maxManagedPolicy is the size of a managed policy, without white space. A role's
// inline policies may be larger, a user's must be smaller.
const maxManagedPolicy = 6144

// Permissions returns the policy that the broker's principal needs for a definition:
// it allows every call that the broker may make for it, and as little else as IAM's
// conditions permit. The result is a JSON document, and the same for the same
// definition. Leases issued before a definition was changed still need the policy of
// the earlier definition until they have ended.
//
// Three permissions go beyond the definition, because IAM has no condition for them:
// to list all users, to delete virtual MFA devices that are not in use, and to change
// the members of the definition's groups.
//
// It returns a [messages.Error] that names the field or the option, or that states
// that the policy is larger than a managed policy may be. Such a policy is not split:
// only extremely long paths, tags or lists make it that large, and an operator would
// have to keep two policies in step.
func Permissions(s messages.DynamicSecret, o PermissionOptions) (json.RawMessage, error) {
	s = s.WithDefaults()
	p := permits{
		aws: s.AWS, tags: s.Tags, options: o,
		iam: "arn:" + PartitionOf(s.AWS.Region) + ":iam::" + o.Account + ":",
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

// permits builds the statements for one definition.
type permits struct {
	aws     messages.AWS
	tags    map[string]string
	options PermissionOptions
	iam     string // the prefix of the ARNs of the account's own entities
}

// users returns the permissions for IAM users. They are limited to the definition's
// path, below which every user belongs to the broker.
func (p permits) users() []policyStatement {
	list := []policyStatement{p.createUsers(), p.tagUsers(), p.inlinePolicies()}
	if len(p.aws.ManagedPolicies) > 0 {
		list = append(list, p.onPolicies("AttachPolicies", p.aws.ManagedPolicies, "iam:AttachUserPolicy", "iam:DetachUserPolicy"))
	}
	list = append(list,
		// AWS attaches this policy to users whose keys it finds in public. Any other policy
		// that was attached by hand must be detached by hand: it may be there to deny.
		p.onPolicies("DetachQuarantine", []string{"arn:" + PartitionOf(p.aws.Region) + ":iam::aws:policy/AWSCompromisedKeyQuarantine*"}, "iam:DetachUserPolicy"),
		p.keysAndHoldings(),
		// The ARN of a device contains neither path nor name of its user. A device in use
		// cannot be deleted.
		allowOn("DeleteMFADevices", oneOrMore{p.iam + "mfa/*"}, "iam:DeleteVirtualMFADevice"),
	)
	if len(p.aws.Groups) > 0 {
		list = append(list, p.groups())
	}
	return append(list, allowOn("ListUsers", oneOrMore{"*"}, "iam:ListUsers"))
}

func (p permits) onUsers() oneOrMore { return oneOrMore{p.iam + "user" + p.aws.Path + "*"} }

// withBoundary restricts a permission to users that have the definition's boundary.
// Without a boundary, the permission is enough to make administrators.
func (p permits) withBoundary() conditions {
	c := conditions{}
	if p.aws.PermissionsBoundary != "" {
		c.set("StringEquals", "iam:PermissionsBoundary", p.aws.PermissionsBoundary)
	}
	return c
}

func (p permits) createUsers() policyStatement {
	const tag = "aws:RequestTag/" + TagInstallation
	c := p.withBoundary()
	if p.options.Installation != "" {
		c.set("StringEquals", tag, p.options.Installation)
	} else {
		c.set("Null", tag, "false")
	}
	return when(c, allowOn("CreateUsers", p.onUsers(), "iam:CreateUser"))
}

// tagUsers allows a user to be created with tags, and to be taken over by a later
// attempt, which sets the attempt's tag alone. IAM knows no boundary condition for it.
func (p permits) tagUsers() policyStatement {
	c := p.withTags(TagAttempt, TagInstallation, TagLease)
	if p.options.Installation != "" {
		c.set("StringEqualsIfExists", "aws:RequestTag/"+TagInstallation, p.options.Installation)
	}
	return when(c, allowOn("TagUsers", p.onUsers(), "iam:TagUser"))
}

// withTags limits the tag keys to lessor's own and the definition's, because other
// policies may grant permissions by tags.
func (p permits) withTags(own ...string) conditions {
	c := conditions{}
	c.set("ForAllValues:StringEquals", "aws:TagKeys", append(own, slices.Sorted(maps.Keys(p.tags))...)...)
	return c
}

// inlinePolicies is needed for every definition: if a key cannot be deleted, an inline
// policy denies its user everything.
func (p permits) inlinePolicies() policyStatement {
	return when(p.withBoundary(), allowOn("InlinePolicies", p.onUsers(), "iam:PutUserPolicy", "iam:DeleteUserPolicy"))
}

func (p permits) onPolicies(sid string, arns []string, actions ...string) policyStatement {
	c := p.withBoundary()
	c.set("ArnEquals", "iam:PolicyARN", arns...)
	return when(c, allowOn(sid, p.onUsers(), actions...))
}

// keysAndHoldings returns the actions without a useful condition. The user's tags
// would be one, but IAM may see them later than the user.
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

// groups allows changes to the definition's groups only. IAM checks the group, not the
// user: a permission for all groups would allow any user to be removed from a group
// that denies. A lease's user that was added to another group by hand must be removed
// from it by hand.
//
// A definition names a group without its path, which is part of its ARN. Group names
// are unique in an account, so that each pair of ARNs is one group.
func (p permits) groups() policyStatement {
	var arns oneOrMore
	for _, g := range p.aws.Groups {
		arns = append(arns, p.iam+"group/"+g, p.iam+"group/*/"+g)
	}
	return allowOn("Groups", arns, "iam:AddUserToGroup", "iam:RemoveUserFromGroup")
}

// ownKeys allows the broker to rotate its own key. If the broker's user is not known,
// a variable stands for its name. User names are unique in an account, so that the
// pair of ARNs, without and with a path, is one user.
func (p permits) ownKeys() policyStatement {
	own := oneOrMore{p.options.Principal}
	if p.options.Principal == "" {
		own = oneOrMore{p.iam + "user/${aws:username}", p.iam + "user/*/${aws:username}"}
	}
	return allowOn("OwnKeys", own, "iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey")
}

// podTagKeys are the tag keys of EKS Pod Identity's sessions. These tags are
// transitive: they are set on every session that such a session begins
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html).
var podTagKeys = []string{
	"eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-pod-name", "kubernetes-pod-uid", "kubernetes-service-account",
}

// sessions returns the permissions for sessions of a role. The permission to put
// policies on the role is enough to grant it anything, because IAM cannot tell a Deny
// from an Allow.
func (p permits) sessions() []policyStatement {
	role := oneOrMore{p.aws.RoleARN}
	c := conditions{}
	if p.aws.ExternalID != "" {
		c.set("StringEquals", "sts:ExternalId", p.aws.ExternalID)
	}
	own := []string{TagPrefix + "identity", TagInstallation, TagLease}
	if p.aws.Auth.Method == messages.AuthPodIdentity {
		own = append(own, podTagKeys...)
	}
	tags := p.withTags(own...)
	if p.options.Installation != "" {
		tags.set("StringEquals", "aws:RequestTag/"+TagInstallation, p.options.Installation)
	}
	list := []policyStatement{
		when(c, allowOn("AssumeRole", role, "sts:AssumeRole")),
		when(tags, allowOn("TagSession", role, "sts:TagSession")), // IAM knows no external id for it
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
