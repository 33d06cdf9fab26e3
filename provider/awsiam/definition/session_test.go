package definition

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

const leasedARN = "arn:aws:iam::123456789012:role/lessor/ci"

// sessionDefinition returns a definition of sessions in which every field is set.
func sessionDefinition() messages.DynamicSecret {
	return messages.DynamicSecret{
		Name: "ci", HardExpiry: messages.HardExpiryNone,
		Tags: map[string]string{"team": "platform"},
		AWS: messages.AWS{
			CredentialType: messages.CredentialAssumeRole, Region: "eu-central-1",
			RoleARN: leasedARN, ExternalID: "lessor:7", DenyOnRevoke: true,
			ManagedPolicies: messages.List{awstest.ManagedPolicy, "arn:aws:iam::123456789012:policy/own"},
			InlinePolicy:    awstest.Allow(`"s3:*"`),
		},
	}
}

func TestCheckAcceptsSessions(t *testing.T) {
	for name, change := range map[string]func(*messages.DynamicSecret){
		"everything":     func(*messages.DynamicSecret) {},
		"no hard expiry": func(s *messages.DynamicSecret) { s.HardExpiry = "" },
		"the role alone": func(s *messages.DynamicSecret) {
			s.AWS = messages.AWS{CredentialType: s.AWS.CredentialType, RoleARN: leasedARN}
		},
		"the defaults":    func(s *messages.DynamicSecret) { *s = s.WithDefaults() },
		"a path of paths": func(s *messages.DynamicSecret) { s.AWS.RoleARN = "arn:aws:iam::123456789012:role/a/b/c/d" },
		"no path":         func(s *messages.DynamicSecret) { s.AWS.RoleARN = "arn:aws:iam::123456789012:role/d" },
		"China": func(s *messages.DynamicSecret) {
			s.AWS.Region, s.AWS.ManagedPolicies, s.AWS.RoleARN = "cn-north-1", nil, "arn:aws-cn:iam::123456789012:role/d"
		},
		"GovCloud": func(s *messages.DynamicSecret) {
			s.AWS.Region, s.AWS.ManagedPolicies, s.AWS.RoleARN = "us-gov-west-1", nil, "arn:aws-us-gov:iam::123456789012:role/d"
		},
		"a fixed name": func(s *messages.DynamicSecret) { s.AWS.DenyOnRevoke, s.AllowFixedUsername = false, true },
		"two characters of name": func(s *messages.DynamicSecret) {
			s.AWS.DenyOnRevoke, s.AllowFixedUsername, s.UsernameTemplate = false, true, "{{random 2}}"
		},
	} {
		s := sessionDefinition()
		change(&s)
		if err := Check(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRefusesFieldsOfTheOtherCredentialType(t *testing.T) {
	for _, c := range []struct {
		s      messages.DynamicSecret
		field  string
		change func(*messages.DynamicSecret)
	}{
		{sessionDefinition(), "aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/lessor/" }},
		{sessionDefinition(), "aws.permissions_boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = awstest.Boundary }},
		{sessionDefinition(), "aws.groups", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"deployers"} }},
		{sessionDefinition(), "hard_expiry", func(s *messages.DynamicSecret) { s.HardExpiry = messages.HardExpiryLease }},
		{sessionDefinition(), "hard_expiry", func(s *messages.DynamicSecret) { s.HardExpiry = messages.HardExpiryMaxTTL }},
		{awstest.Definition(), "aws.role_arn", func(s *messages.DynamicSecret) { s.AWS.RoleARN = leasedARN }},
		{awstest.Definition(), "aws.external_id", func(s *messages.DynamicSecret) { s.AWS.ExternalID = "lessor:7" }},
		{awstest.Definition(), "aws.deny_on_revoke", func(s *messages.DynamicSecret) { s.AWS.DenyOnRevoke = true }},
	} {
		c.change(&c.s)
		expectWrong(t, c.s, c.field)
	}
}

// expectWrong expects that Check refuses a field.
func expectWrong(t *testing.T, s messages.DynamicSecret, field string) {
	t.Helper()
	err := Check(s)
	if !messages.IsCode(err, messages.CodeInvalidSecret) || !strings.HasPrefix(messages.AsError(err).Message, field+": ") {
		t.Errorf("%v, want one about %s", err, field)
	}
}

func TestCheckRefusesInvalidSessions(t *testing.T) {
	role := func(arn string) func(*messages.DynamicSecret) {
		return func(s *messages.DynamicSecret) { s.AWS.RoleARN = arn }
	}
	external := func(id string) func(*messages.DynamicSecret) {
		return func(s *messages.DynamicSecret) { s.AWS.ExternalID = id }
	}
	for _, c := range []struct {
		field  string
		change func(*messages.DynamicSecret)
	}{
		{"aws.role_arn", role("")},
		{"aws.role_arn", role("ci")},
		{"aws.role_arn", role("arn:aws:iam::123456789012:user/ci")},
		{"aws.role_arn", role("arn:aws:iam::123456789012:role")},
		{"aws.role_arn", role("arn:aws:iam::123456789012:role/")},
		{"aws.role_arn", role("arn:aws:iam::123456789012:role/a b/ci")},
		{"aws.role_arn", role("arn:aws:iam::123456789012:role/c*")},
		{"aws.role_arn", role("arn:aws:iam::12345678901:role/ci")},
		{"aws.role_arn", role("arn:aws:iam::aws:role/ci")},
		{"aws.role_arn", role("arn:aws:sts::123456789012:assumed-role/ci/me")},
		{"aws.role_arn", role("arn:aws-cn:iam::123456789012:role/ci")},
		{"aws.role_arn", func(s *messages.DynamicSecret) { s.AWS.Region = "cn-north-1" }},
		{"aws.external_id", external("les sor")},
		{"aws.external_id", external("lessör")},
		{"aws.external_id", external("lessor*")},
		{"aws.deny_on_revoke", func(s *messages.DynamicSecret) { s.AllowFixedUsername = true }},
		{"aws.managed_policies[1]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies[1] = "arn:aws:iam::210987654321:policy/other"
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies[0] = "ReadOnlyAccess" }},
		{"aws.inline_policy", func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`[]`) }},
		{"aws.inline_policy.Statement[0]", statement(`{"Effect":"Allow","Action":"*"}`)},
		{"tags.Lessor:identity", func(s *messages.DynamicSecret) { s.Tags["Lessor:identity"] = "x" }},
		{"tags.team", func(s *messages.DynamicSecret) { s.Tags["Team"] = "x" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "{{random 1}}" }},
	} {
		s := sessionDefinition()
		c.change(&s)
		expectWrong(t, s, c.field)
	}
}

// Each limit is tested one below, at, and one above it.
func TestLimitsOfSessions(t *testing.T) {
	const roles = "arn:aws:iam::123456789012:role"
	on := func(resource string) messages.Policy {
		return messages.Policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::` + resource + `"}]}`)
	}
	bare := len(on(""))
	for _, c := range []struct {
		field string
		limit int
		set   func(s *messages.DynamicSecret, n int)
	}{
		{"aws.role_arn", 64, func(s *messages.DynamicSecret, n int) { s.AWS.RoleARN = roles + "/" + strings.Repeat("r", n) }},
		{"aws.role_arn", 512, func(s *messages.DynamicSecret, n int) { s.AWS.RoleARN = roles + "/" + strings.Repeat("p", n-2) + "/r" }},
		{"aws.external_id", 1224, func(s *messages.DynamicSecret, n int) { s.AWS.ExternalID = strings.Repeat("x", n) }},
		{"aws.managed_policies", 10, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = awstest.Many(n, "arn:aws:iam::123456789012:policy/p%d")
		}},
		{"aws.inline_policy", 2048 - bare, func(s *messages.DynamicSecret, n int) {
			s.AWS.InlinePolicy = on(strings.Repeat("é", n))
		}},
		{"aws.inline_policy", 2048 - bare, func(s *messages.DynamicSecret, n int) {
			s.AWS.InlinePolicy = on(strings.Repeat(`\u003C`, n))
		}},
		{"tags", 47, func(s *messages.DynamicSecret, n int) {
			s.Tags = map[string]string{}
			for i := range n {
				s.Tags[fmt.Sprint("k", i)] = "v"
			}
		}},
		{"tags.k", 256, func(s *messages.DynamicSecret, n int) { s.Tags = map[string]string{"k": strings.Repeat("ü", n)} }},
		{"username_template", 64, func(s *messages.DynamicSecret, n int) { s.UsernameTemplate = fmt.Sprintf("{{random %d}}", n) }},
	} {
		for n := c.limit - 1; n <= c.limit+1; n++ {
			s := sessionDefinition()
			c.set(&s, n)
			if n > c.limit {
				expectWrong(t, s, c.field)
			} else if err := Check(s); err != nil {
				t.Errorf("%s of %d: %v", c.field, n, err)
			}
		}
	}
	for n := 1; n <= 3; n++ {
		s := sessionDefinition()
		s.AWS.ExternalID = strings.Repeat("x", n)
		if err := Check(s); (err == nil) != (n >= 2) {
			t.Errorf("an external id of %d: %v", n, err)
		}
	}
	s := sessionDefinition()
	s.AWS.RoleARN = roles + "/" + strings.Repeat("p", maxARN) + "/r"
	expectWrong(t, s, "aws.role_arn")
}

// The broker can put a Deny on roles of its own account only.
func TestDenyOnRevokeNeedsARoleOfTheBrokersAccount(t *testing.T) {
	const there = "arn:aws:iam::210987654321:role/x"
	for _, auth := range []messages.Auth{
		{Method: messages.AuthAssumeRole, RoleARN: there},
		{Method: messages.AuthIRSA, RoleARN: there},
		{Method: messages.AuthIRSA, RoleARN: leasedARN, AssumeRoleARN: there},
		{Method: messages.AuthPodIdentity, AssumeRoleARN: there},
	} {
		s := sessionDefinition()
		s.AWS.Auth = auth
		expectWrong(t, s, "aws.deny_on_revoke")
		s.AWS.DenyOnRevoke = false
		if err := Check(s); err != nil {
			t.Error(err)
		}
	}
	s := sessionDefinition()
	s.AWS.Auth = messages.Auth{Method: messages.AuthIRSA, RoleARN: there, AssumeRoleARN: leasedARN}
	if err := Check(s); err != nil {
		t.Error(err)
	}
}
