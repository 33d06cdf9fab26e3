package awsiam

import (
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

func TestWhatIsDenied(t *testing.T) {
	const user = "User: arn:aws:sts::123456789012:assumed-role/lessor/lessor is not authorized to perform: "
	for _, c := range []struct{ message, action, resource string }{
		{
			user + "iam:CreateUser on resource: arn:aws:iam::123456789012:user/lessor/x because no identity-based policy allows the iam:CreateUser action",
			"iam:CreateUser", "arn:aws:iam::123456789012:user/lessor/x",
		},
		{
			user + "iam:ListUsers on resource: arn:aws:iam::123456789012:user/ with an explicit deny in a permissions boundary",
			"iam:ListUsers", "arn:aws:iam::123456789012:user/",
		},
		{user + "sts:AssumeRole on resource: arn:aws-cn:iam::123456789012:role/deploy", "sts:AssumeRole", "arn:aws-cn:iam::123456789012:role/deploy"},
		{user + "iam:ListUsers on resource: *", "iam:ListUsers", "*"},
		{user + "iam:GetUser on resource: user lessor-x because no identity-based policy allows the iam:GetUser action", "iam:GetUser", ""},
		{user + "iam:ListUsers because no identity-based policy allows the iam:ListUsers action", "iam:ListUsers", ""},
		{"Not authorized to perform sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithWebIdentity", ""},
		{user + "iam:CreateUser\x1b[31m on resource: *", "", ""},
		{user + "<b>", "", ""},
		{user + "iam:Create_User on resource: *", "", ""},
		{user + "iam:GetUser on resource: arn:aws:iam", "iam:GetUser", ""},
		{user + "iam:GetUser on resource: arn:aws:iam::1:user/\u202e", "iam:GetUser", ""},
		{"Welcome. " + user + "iam:GetUser on resource: *", "", ""},
		{"Access Denied", "", ""},
		{"", "", ""},
	} {
		action, resource := whatIsDenied(&smithy.GenericAPIError{Code: "AccessDenied", Message: c.message})
		if action != c.action || resource != c.resource {
			t.Errorf("%q: %q on %q", c.message, action, resource)
		}
	}
}

// The operator learns what is missing, the requester does not.
func TestADeniedCallSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newLimited(t, definition(), permissions(t, definitions()["minimal"], options()))
	_, err := w.account.Create(t.Context(), w.creation(1))
	expectError(t, err, provider.Denied, provider.LeftNothing)
	e := provider.AsError(err)
	if e.Action != "iam:TagUser" || e.Resource != "arn:aws:iam::123456789012:user/lessor/ci/"+userName {
		t.Errorf("the error is about %s on %s", e.Action, e.Resource)
	}
	for _, safe := range []string{e.Safe(), e.Public().Message} {
		if strings.Contains(safe, "arn:") || strings.Contains(safe, "iam:") {
			t.Error(safe)
		}
	}
}

func TestAnErrorThatIsNotADenialNamesNothing(t *testing.T) {
	e := failure("GetUser", &smithy.GenericAPIError{
		Code: "Throttling", Message: "User: x is not authorized to perform: iam:GetUser on resource: *",
	})
	if e.Action != "" || e.Resource != "" {
		t.Errorf("%+v", e)
	}
}
