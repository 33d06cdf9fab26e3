package definition

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestPermissionsAreDeterministic(t *testing.T) {
	s := awstest.Definition()
	s.Tags = map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}
	first := permissions(t, s, options())
	for range 20 {
		if permissions(t, s, options()) != first {
			t.Fatal("the documents differ")
		}
	}
}

func TestPermissionsUseTheRegionsPartition(t *testing.T) {
	s := messages.DynamicSecret{Name: "ci", AWS: messages.AWS{Region: "cn-north-1"}}
	document := permissions(t, s, PermissionOptions{Account: awstest.AccountID})
	if strings.Contains(document, "arn:aws:") || !strings.Contains(document, "arn:aws-cn:iam::aws:policy/AWSCompromisedKeyQuarantine*") {
		t.Error(document)
	}
}

func TestPermissionsRefuseInvalidOptions(t *testing.T) {
	for _, c := range []struct {
		name   string // the option or the field
		change func(*messages.DynamicSecret, *PermissionOptions)
	}{
		{"account", func(_ *messages.DynamicSecret, o *PermissionOptions) { o.Account = "" }},
		{"account", func(_ *messages.DynamicSecret, o *PermissionOptions) { o.Account = "12345678901*" }},
		{"installation", func(_ *messages.DynamicSecret, o *PermissionOptions) { o.Installation = "*" }},
		{"principal", func(s *messages.DynamicSecret, o *PermissionOptions) {
			s.AWS.Auth.Method, o.Principal = messages.AuthAccessKey, "arn:aws:iam::123456789012:role/x"
		}},
		{"principal", func(s *messages.DynamicSecret, o *PermissionOptions) {
			s.AWS.Auth.Method, o.Principal = messages.AuthAccessKey, "arn:aws:iam::123456789012:user/*"
		}},
		{"aws.region", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.Region = "*" }},
		{"aws.path", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.Path = "lessor" }},
		{"aws.path", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.Path = "/a*/" }},
		{"aws.path", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.Path = "/${aws:username}/" }},
		{"aws.permissions_boundary", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.PermissionsBoundary = "*" }},
		{"aws.permissions_boundary", func(_ *messages.DynamicSecret, o *PermissionOptions) { o.Account = "210987654321" }},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret, _ *PermissionOptions) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::aws:policy/*"}
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret, _ *PermissionOptions) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::aws:policy/a?/b"}
		}},
		{"aws.groups[0]", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.AWS.Groups = messages.List{"*"} }},
		{"tags.a*", func(s *messages.DynamicSecret, _ *PermissionOptions) { s.Tags = map[string]string{"a*": ""} }},
		{"aws.role_arn", func(s *messages.DynamicSecret, _ *PermissionOptions) {
			s.AWS = messages.AWS{CredentialType: messages.CredentialAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/*"}
		}},
		{"aws.role_arn", func(s *messages.DynamicSecret, _ *PermissionOptions) {
			s.AWS = messages.AWS{CredentialType: messages.CredentialAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/*/x"}
		}},
		{"aws.external_id", func(s *messages.DynamicSecret, _ *PermissionOptions) {
			s.AWS = messages.AWS{CredentialType: messages.CredentialAssumeRole, RoleARN: awstest.LeasedRole, ExternalID: "x"}
		}},
	} {
		s, o := awstest.Definition(), options()
		c.change(&s, &o)
		_, err := Permissions(s, o)
		if err == nil || !strings.HasPrefix(messages.AsError(err).Message, c.name+": ") {
			t.Errorf("%v, want one about %s", err, c.name)
		}
	}
}

// The largest lists with ordinary names fit into a managed policy.
func TestPermissionsFitIntoAManagedPolicy(t *testing.T) {
	s := awstest.Definition()
	s.AWS.Groups = awstest.Many(10, "a-group-of-the-platform-team-%d")
	s.AWS.ManagedPolicies = awstest.Many(10, "arn:aws:iam::123456789012:policy/platform/a-policy-of-the-platform-team-%d")
	s.Tags = map[string]string{}
	for _, key := range awstest.Many(20, "platform:tag-%d") {
		s.Tags[key] = "value"
	}
	document := permissions(t, s, options())
	if n := quotaSize(document); n > maxManagedPolicy {
		t.Errorf("there are %d characters", n)
	}
	s.AWS.Path = "/" + strings.Repeat("x", 500) + "/"
	if _, err := Permissions(s, options()); !messages.IsCode(err, messages.CodeInvalidSecret) || !strings.Contains(err.Error(), "6144") {
		t.Errorf("the error is %v", err)
	}
}
