package definition

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

const (
	someRole = "arn:aws:iam::123456789012:role/lessor"
	someKey  = "AKIAIOSFODNN7EXAMPLE"
)

func TestCheckAcceptsEachMethod(t *testing.T) {
	secret := messages.NewSensitive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	for name, auth := range map[string]messages.Auth{
		"nothing":                  {},
		"default":                  {Method: messages.AuthDefault},
		"assume_role":              {Method: messages.AuthAssumeRole, RoleARN: someRole},
		"assume_role, external id": {Method: messages.AuthAssumeRole, RoleARN: someRole, ExternalID: "my_project+=,.@:/-1"},
		"a role with a path":       {Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/a/b!/c"},
		"irsa":                     {Method: messages.AuthIRSA},
		"irsa, role":               {Method: messages.AuthIRSA, RoleARN: someRole},
		"irsa, second role":        {Method: messages.AuthIRSA, RoleARN: someRole, AssumeRoleARN: someRole, ExternalID: "id"},
		"pod_identity":             {Method: messages.AuthPodIdentity},
		"pod_identity, other role": {Method: messages.AuthPodIdentity, AssumeRoleARN: someRole, ExternalID: "id"},
		"access_key":               {Method: messages.AuthAccessKey, AccessKeyID: someKey, SecretAccessKey: secret},
		"a stored secret":          {Method: messages.AuthAccessKey, AccessKeyID: someKey},
	} {
		s := awstest.Definition()
		s.AWS.Auth = auth
		if err := Check(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := messages.DynamicSecret{Name: "ci"}
	s.AWS.Region = "cn-north-1"
	s.AWS.Auth = messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws-cn:iam::123456789012:role/lessor"}
	if err := Check(s); err != nil {
		t.Errorf("China: %v", err)
	}
}

func TestCheckRefusesInvalidAuth(t *testing.T) {
	const hush = "hush hush"
	secret := messages.NewSensitive(hush)
	for _, c := range []struct {
		field, says string
		auth        messages.Auth
	}{
		{"method", "must be one of default, assume_role, irsa, pod_identity, access_key", messages.Auth{Method: "magic"}},
		{"method", "", messages.Auth{Method: "Default"}},
		{"role_arn", "is missing; the method assume_role needs it", messages.Auth{Method: messages.AuthAssumeRole}},
		{"access_key_id", "is missing; the method access_key needs it", messages.Auth{Method: messages.AuthAccessKey}},
		{"role_arn", "is not for the method default", messages.Auth{RoleARN: someRole}},
		{"role_arn", "pod_identity", messages.Auth{Method: messages.AuthPodIdentity, RoleARN: someRole}},
		{"role_arn", "access_key", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: someKey, RoleARN: someRole}},
		{"assume_role_arn", "default", messages.Auth{AssumeRoleARN: someRole}},
		{"assume_role_arn", "assume_role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: someRole, AssumeRoleARN: someRole}},
		{"assume_role_arn", "access_key", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: someKey, AssumeRoleARN: someRole}},
		{"external_id", "is for the method assume_role, or for assume_role_arn", messages.Auth{ExternalID: "id"}},
		{"external_id", "assume_role_arn", messages.Auth{Method: messages.AuthIRSA, RoleARN: someRole, ExternalID: "id"}},
		{"external_id", "assume_role_arn", messages.Auth{Method: messages.AuthPodIdentity, ExternalID: "id"}},
		{"external_id", "", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: someKey, ExternalID: "id"}},
		{"access_key_id", "irsa", messages.Auth{Method: messages.AuthIRSA, AccessKeyID: someKey}},
		{"access_key_id", "", messages.Auth{AccessKeyID: someKey}},
		{"secret_access_key", "assume_role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: someRole, SecretAccessKey: secret}},
		{"secret_access_key", "printable ASCII characters", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: someKey, SecretAccessKey: secret}},
		{"access_key_id", "capital letters", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: strings.ToLower(someKey)}},
		{"access_key_id", "temporary", messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: "ASIAIOSFODNN7EXAMPLE"}},
		{"external_id", "letters", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: someRole, ExternalID: "my project"}},
		{"external_id", "letters", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: someRole, ExternalID: "prö"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "lessor"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::123456789012:user/x"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::12345678901:role/x"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::aws:role/x"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/a/"}},
		{"role_arn", "not the ARN of a role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: "arn:aws:sts::123456789012:assumed-role/x/y"}},
		{"role_arn", "its name", messages.Auth{Method: messages.AuthIRSA, RoleARN: "arn:aws:iam::123456789012:role/a b"}},
		{"role_arn", "partition", messages.Auth{Method: messages.AuthIRSA, RoleARN: "arn:aws-cn:iam::123456789012:role/x"}},
		{"assume_role_arn", "partition", messages.Auth{Method: messages.AuthIRSA, AssumeRoleARN: "arn:aws-us-gov:iam::123456789012:role/x"}},
	} {
		s := awstest.Definition()
		s.AWS.Auth = c.auth
		err := Check(s)
		if err == nil || !strings.HasPrefix(messages.AsError(err).Message, "aws.auth."+c.field+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want one about %s that says %q", c.auth, err, c.field, c.says)
		}
		if err != nil && strings.Contains(err.Error(), hush) {
			t.Error("the error contains the secret")
		}
	}
}

// Each limit is tested one below, at, and one above it.
func TestLimitsOfAuth(t *testing.T) {
	arn := func(path, name int) string {
		p := "/"
		if path > 1 {
			p = "/" + strings.Repeat("p", path-2) + "/"
		}
		return "arn:aws:iam::123456789012:role" + p + strings.Repeat("n", name)
	}
	for _, c := range []struct {
		field string
		limit int
		least bool // limit is the minimum, not the maximum
		auth  func(n int) messages.Auth
	}{
		{"external_id", 1224, false, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthAssumeRole, RoleARN: someRole, ExternalID: strings.Repeat("x", n)}
		}},
		{"external_id", 2, true, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthIRSA, AssumeRoleARN: someRole, ExternalID: strings.Repeat("x", n)}
		}},
		{"access_key_id", 128, false, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: strings.Repeat("X", n)}
		}},
		{"access_key_id", 16, true, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: strings.Repeat("X", n)}
		}},
		{"secret_access_key", 128, false, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: someKey, SecretAccessKey: messages.NewSensitive(strings.Repeat("~", n))}
		}},
		{"role_arn", 64, false, func(n int) messages.Auth { return messages.Auth{Method: messages.AuthAssumeRole, RoleARN: arn(1, n)} }},
		{"role_arn", 512, false, func(n int) messages.Auth { return messages.Auth{Method: messages.AuthIRSA, RoleARN: arn(n, 3)} }},
		{"assume_role_arn", 64, false, func(n int) messages.Auth {
			return messages.Auth{Method: messages.AuthPodIdentity, AssumeRoleARN: arn(1, n)}
		}},
	} {
		for n := c.limit - 1; n <= c.limit+1; n++ {
			s := awstest.Definition()
			s.AWS.Auth = c.auth(n)
			err := Check(s)
			good := n <= c.limit
			if c.least {
				good = n >= c.limit
			}
			if good && err != nil {
				t.Errorf("%s of %d: %v", c.field, n, err)
			}
			if !good && (err == nil || !strings.HasPrefix(messages.AsError(err).Message, "aws.auth."+c.field+": ")) {
				t.Errorf("%s of %d: %v, want it refused", c.field, n, err)
			}
		}
	}
	// Name and path within their limits cannot exceed the limit of an ARN.
	if err := checkRoleARN("f", arn(3000, 3), "aws"); err == nil || !strings.Contains(err.Error(), "limit is 2048") {
		t.Errorf("%v", err)
	}
}
