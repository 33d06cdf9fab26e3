package definition

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

// maxUsers is the number of users that an account may have. It cannot be raised.
const maxUsers = 5000

// Notes returns warnings about a definition that [Check] accepts and that may still
// be a mistake. Each begins with the field.
func Notes(s messages.DynamicSecret) []string {
	var notes []string
	note := func(field, format string, args ...any) {
		notes = append(notes, field+": "+fmt.Sprintf(format, args...))
	}
	if s.MaxLeases > 0 && s.MaxLeasesPerIdentity > s.MaxLeases {
		note("max_leases_per_identity", "%d is above max_leases, and never reached", s.MaxLeasesPerIdentity)
	}
	if oldVariables(s.AWS.InlinePolicy) {
		note(inlineField+".Version", "variables (${…}) are not replaced before version 2012-10-17")
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
		note("hard_expiry", "AWS does not end the access by itself: keys work on while lessor or NATS is down")
	}
	if n := len(s.AWS.ManagedPolicies); n > defaultManaged {
		note("aws.managed_policies", "has %d entries; AWS accepts more than %d only in accounts whose quota was raised", n, defaultManaged)
	}
	if len(s.AWS.Groups)+len(s.AWS.ManagedPolicies)+len(s.AWS.InlinePolicy) == 0 {
		note("aws", "no groups, managed_policies or inline_policy: the users may do nothing")
	}
	if what := managesUsers(s.AWS); what != "" && s.AWS.PermissionsBoundary == "" {
		note("aws.permissions_boundary", "is missing, and %s lets the users change users and policies, their own expiry included", what)
	}
	return notes
}

// oldVariables reports whether a policy uses variables and has a version without
// them.
func oldVariables(policy messages.Policy) bool {
	var p struct{ Version string }
	return json.Unmarshal(policy, &p) == nil && p.Version == "2008-10-17" && strings.Contains(string(policy), "${")
}

// managesUsers returns the field of the first policy that allows actions of IAM, as
// far as the definition tells; "" if there is none.
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

// changesIAM reports whether an action with a wildcard includes actions of IAM that
// change something.
func changesIAM(action string) bool {
	name, ok := strings.CutPrefix(strings.ToLower(action), "iam:")
	return ok && strings.Contains(name, "*") && !strings.HasPrefix(name, "get") && !strings.HasPrefix(name, "list")
}
