package awsiam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

// maxUsers is how many users an account may have. It can't be raised.
const maxUsers = 5000

// Notes say what [Provider.Check] does not refuse and may yet be a mistake, each
// with the field's path.
func (p *Provider) Notes(s messages.DynamicSecret) []string {
	var notes []string
	note := func(field, format string, args ...any) {
		notes = append(notes, field+": "+fmt.Sprintf(format, args...))
	}
	if s.MaxLeases > 0 && s.MaxLeasesPerIdentity > s.MaxLeases {
		note("max_leases_per_identity", "%d is above max_leases, and never reached", s.MaxLeasesPerIdentity)
	}
	if oldVariables(s.AWS.InlinePolicy) {
		note(inlineField+".Version", "variables (${…}) stand for nothing but themselves before 2012-10-17")
	}
	if s.AWS.CredentialType == messages.CredentialAssumeRole {
		return notes
	}
	if s.MaxLeases > maxUsers {
		note("max_leases", "%d is above the %d users that an AWS account may have", s.MaxLeases, maxUsers)
	}
	if s.AllowFixedUsername {
		note("allow_fixed_username", "two leases that get the same name can't be alive at once, and a name that has just ended may take AWS some seconds to free")
	}
	if s.HardExpiry == messages.HardExpiryNone {
		note("hard_expiry", "AWS does not end the access by itself: while lessor or NATS is down, keys live on")
	}
	if n := len(s.AWS.ManagedPolicies); n > usualManaged {
		note("aws.managed_policies", "there are %d; AWS takes more than %d only in accounts where that quota was raised", n, usualManaged)
	}
	if len(s.AWS.Groups)+len(s.AWS.ManagedPolicies)+len(s.AWS.InlinePolicy) == 0 {
		note("aws", "no groups, managed_policies or inline_policy: the users may do nothing")
	}
	if what := managesUsers(s.AWS); what != "" && s.AWS.PermissionsBoundary == "" {
		note("aws.permissions_boundary", "is missing, and %s lets the users change users and policies, their own expiry included", what)
	}
	return notes
}

// oldVariables says whether a policy has variables, and a version that has none.
func oldVariables(policy messages.Policy) bool {
	var p struct{ Version string }
	return json.Unmarshal(policy, &p) == nil && p.Version == "2008-10-17" && strings.Contains(string(policy), "${")
}

// managesUsers says which of a definition's policies allows IAM's actions, as far
// as their names tell; "" is none.
func managesUsers(a messages.AWS) string {
	for i, arn := range a.ManagedPolicies {
		if strings.HasSuffix(arn, ":iam::aws:policy/AdministratorAccess") || strings.HasSuffix(arn, ":iam::aws:policy/IAMFullAccess") {
			return index("aws.managed_policies", i)
		}
	}
	for i, statement := range statementsOf(a.InlinePolicy) {
		if stringOf(statement["Effect"]) != "Allow" {
			continue
		}
		all := func(action string) bool { return action == "*" || action == "*:*" }
		if slices.ContainsFunc(stringsOf(statement["Action"]), func(action string) bool {
			return all(action) || changesIAM(action)
		}) {
			return index(inlineField+".Statement", i)
		}
		if not := stringsOf(statement["NotAction"]); len(not) > 0 && !slices.ContainsFunc(not, func(action string) bool {
			return all(action) || strings.EqualFold(action, "iam:*")
		}) {
			return index(inlineField+".Statement", i)
		}
	}
	return ""
}

// changesIAM says whether an action with a wildcard is IAM's, and not of those
// that only read.
func changesIAM(action string) bool {
	name, ok := strings.CutPrefix(strings.ToLower(action), "iam:")
	return ok && strings.Contains(name, "*") && !strings.HasPrefix(name, "get") && !strings.HasPrefix(name, "list")
}
