package awserr

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

func TestKind(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		want   provider.Kind
	}{
		{"", 0, provider.Unavailable},
		{"", 502, provider.Unavailable},
		{"Throttling", 400, provider.Unavailable},
		{"ThrottlingException", 400, provider.Unavailable},
		{"RequestLimitExceeded", 503, provider.Unavailable},
		{"ServiceFailure", 500, provider.Unavailable},
		{"Whatever", 500, provider.Unavailable},
		{"ConcurrentModification", 409, provider.Unavailable},
		{"EntityTemporarilyUnmodifiable", 409, provider.Unavailable},
		{"DeleteConflict", 409, provider.Unavailable},
		{"InvalidClientTokenId", 403, provider.Unavailable},
		{"ExpiredToken", 403, provider.Unavailable},
		{"SignatureDoesNotMatch", 403, provider.Unavailable},
		{"AccessDenied", 403, provider.Denied},
		{"AccessDeniedException", 400, provider.Denied},
		{"NoSuchEntity", 404, provider.Rejected},
		{"MalformedPolicyDocument", 400, provider.Rejected},
		{"LimitExceeded", 409, provider.Rejected},
		{"ValidationError", 400, provider.Rejected},
		{"InvalidInput", 400, provider.Rejected},
		{"PolicyNotAttachable", 400, provider.Rejected},
	} {
		if got := Kind(c.code, c.status); got != c.want {
			t.Errorf("%s (%d) is %s, want %s", c.code, c.status, got, c.want)
		}
	}
}

func TestUnreadableAnswerHasNoCode(t *testing.T) {
	for _, code := range []string{"UnknownError", "<b>", "a b", strings.Repeat("x", 129)} {
		if got := Code(&smithy.GenericAPIError{Code: code}); got != "" {
			t.Errorf("%.40q has the code %.40q", code, got)
		}
	}
}

func TestDeniedReadsActionAndResource(t *testing.T) {
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
		action, resource := Denied(&smithy.GenericAPIError{Code: "AccessDenied", Message: c.message})
		if action != c.action || resource != c.resource {
			t.Errorf("%q: %q on %q", c.message, action, resource)
		}
	}
}

// FuzzDenied checks what is shown of any code and message.
func FuzzDenied(f *testing.F) {
	for _, s := range []string{
		"", "Not authorized to perform sts:AssumeRole", "User: arn:aws:iam::1:user/x is not authorized to perform: iam:GetUser on resource: arn:aws:iam::1:user/y because",
		"User: x is not authorized to perform: iam:GetUser on resource: *", "a\n\x1b[31m\u202eb", strings.Repeat("é", 200), "The user with name x cannot be found.",
	} {
		f.Add("AccessDenied", s)
		f.Add("NoSuchEntity", s)
	}
	f.Fuzz(func(t *testing.T, code, message string) {
		err := &smithy.GenericAPIError{Code: code, Message: message}
		action, resource := Denied(err)
		if action != "" && !strings.Contains(message, action) || strings.ContainsAny(action+resource, " \t\r\n\x1b") || resource != "" && resource != "*" && !strings.HasPrefix(resource, "arn:") {
			t.Errorf("%q: %q on %q", message, action, resource)
		}
		if m := Message(err); len(m) > maxMessage+len("…") || !utf8.ValidString(m) || strings.ContainsFunc(m, unicode.IsControl) {
			t.Errorf("the message is %q", m)
		}
		if c := Code(err); c != "" && c != code || len(c) > 128 {
			t.Errorf("the code is %q", c)
		}
	})
}
