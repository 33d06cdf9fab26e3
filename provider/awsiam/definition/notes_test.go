package definition

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestNotesWarnAboutLikelyMistakes(t *testing.T) {
	const boundaryField = "aws.permissions_boundary"
	noBoundary := func(policy messages.Policy) func(*messages.DynamicSecret) {
		return func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary, s.AWS.InlinePolicy = "", policy }
	}
	managed := func(arns ...string) func(*messages.DynamicSecret) {
		return func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary, s.AWS.ManagedPolicies = "", arns }
	}
	for _, c := range []struct {
		what   string
		change func(*messages.DynamicSecret)
		want   []string // the beginnings of the notes
	}{
		{"everything", func(*messages.DynamicSecret) {}, nil},
		{"no limit of leases", func(s *messages.DynamicSecret) { s.MaxLeases, s.MaxLeasesPerIdentity = 0, 5 }, nil},
		{"as many leases as users", func(s *messages.DynamicSecret) { s.MaxLeases, s.MaxLeasesPerIdentity = 5000, 5000 }, nil},
		{"more leases than users", func(s *messages.DynamicSecret) { s.MaxLeases = 5001 }, []string{"max_leases: 5001"}},
		{"more leases of an identity than of the secret", func(s *messages.DynamicSecret) { s.MaxLeases, s.MaxLeasesPerIdentity = 5, 6 }, []string{"max_leases_per_identity: 6"}},
		{"10 managed policies", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = awstest.Many(10, "arn:aws:iam::123456789012:policy/p%d")
		}, nil},
		{"11 managed policies", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = awstest.Many(11, "arn:aws:iam::123456789012:policy/p%d")
		},
			[]string{"aws.managed_policies: has 11 entries"}},
		{"no hard expiry", func(s *messages.DynamicSecret) { s.HardExpiry = messages.HardExpiryNone }, []string{"hard_expiry: "}},
		{"hard expiry at max_ttl", func(s *messages.DynamicSecret) { s.HardExpiry = messages.HardExpiryMaxTTL }, nil},
		{"a fixed name", func(s *messages.DynamicSecret) { s.AllowFixedUsername = true }, []string{"allow_fixed_username: "}},
		{"no permissions", func(s *messages.DynamicSecret) {
			s.AWS.Groups, s.AWS.ManagedPolicies, s.AWS.InlinePolicy = nil, nil, nil
		}, []string{"aws: no groups"}},
		{"only groups", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies, s.AWS.InlinePolicy = nil, nil }, nil},

		{"harmless without a boundary", noBoundary(awstest.Allow(`["s3:*","iam:Get*","iam:List*","iam:PassRole"]`)), nil},
		{"iam:*", noBoundary(awstest.Allow(`"iam:*"`)), []string{boundaryField + ": is missing, and aws.inline_policy.Statement[0]"}},
		{"IAM:Put*", noBoundary(awstest.Allow(`["s3:*","IAM:Put*"]`)), []string{boundaryField}},
		{"*", noBoundary(awstest.Allow(`"*"`)), []string{boundaryField}},
		{"*:*", noBoundary(awstest.Allow(`["*:*"]`)), []string{boundaryField}},
		{"all but some", noBoundary(messages.Policy(strings.Replace(string(awstest.Allow(`"s3:*"`)), "Action", "NotAction", 1))), []string{boundaryField}},
		{"all but iam:*", noBoundary(messages.Policy(strings.Replace(string(awstest.Allow(`["iam:*","sts:*"]`)), "Action", "NotAction", 1))), nil},
		{"a Deny", noBoundary(messages.Policy(strings.Replace(string(awstest.Allow(`"*"`)), "Allow", "Deny", 1))), nil},
		{"* with a boundary", func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = awstest.Allow(`"*"`) }, nil},
		{"administrators", managed(awstest.ManagedPolicy, "arn:aws:iam::aws:policy/AdministratorAccess"), []string{boundaryField + ": is missing, and aws.managed_policies[1]"}},
		{"administrators of IAM", managed("arn:aws-cn:iam::aws:policy/IAMFullAccess"), []string{boundaryField}},
		{"power users", managed("arn:aws:iam::aws:policy/PowerUserAccess"), nil},
		{"a customer policy of the same name", managed("arn:aws:iam::123456789012:policy/AdministratorAccess"), nil},

		{"variables", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(strings.Replace(string(awstest.Allow(`"s3:*"`)), `"*"`, `"arn:aws:s3:::${aws:username}"`, 1))
		}, nil},
		{"variables in a version without them", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(strings.NewReplacer(`"*"`, `"arn:aws:s3:::${aws:username}"`, "2012", "2008").Replace(string(awstest.Allow(`"s3:*"`))))
		}, []string{"aws.inline_policy.Version: "}},
		{"a session", func(s *messages.DynamicSecret) {
			*s = messages.DynamicSecret{Name: "ci", AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole}}
		}, nil},
		{"a damaged policy", noBoundary(messages.Policy(`{"Statement":["x",{"Action":7}]}`)), nil},
		{"several", func(s *messages.DynamicSecret) {
			*s = messages.DynamicSecret{Name: "ci", HardExpiry: messages.HardExpiryNone, AllowFixedUsername: true}
		}, []string{"allow_fixed_username", "hard_expiry", "aws: no groups"}},
	} {
		s := awstest.Definition()
		c.change(&s)
		got := Notes(s)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: %q, want %q", c.what, got[i], want)
			}
		}
	}
}
