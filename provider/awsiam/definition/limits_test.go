package definition

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// pad replaces %s so that the result has n characters.
func pad(n int, around string) string { return fmt.Sprintf(around, times(n-len(around)+2, "x")) }

func times(n int, s string) string { return strings.Repeat(s, max(n, 0)) }

// A value at a limit is accepted, and one beyond it is refused with the field's name. AWS
// counts characters; "ü" and "é" have two bytes.
func TestLimitsOfUsers(t *testing.T) {
	const account = "arn:aws:iam::123456789012:policy"
	expiry := len(`,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T22:15:00Z"}}}`)
	on := func(resource string) messages.Policy {
		return messages.Policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::` + resource + `"}]}`)
	}
	bare := len(on(""))
	for _, c := range []struct {
		what, field string
		least, most int
		set         func(s *messages.DynamicSecret, n int)
	}{
		{"a path", "aws.path", 3, 512, func(s *messages.DynamicSecret, n int) { s.AWS.Path = pad(n, "/%s/") }},
		{"groups", "aws.groups", 0, 10, func(s *messages.DynamicSecret, n int) { s.AWS.Groups = awstest.Many(n, "g%d") }},
		{"a group's name", "aws.groups[0]", 1, 128, func(s *messages.DynamicSecret, n int) { s.AWS.Groups = messages.List{times(n, "x")} }},
		{"managed policies", "aws.managed_policies", 0, 20, func(s *messages.DynamicSecret, n int) { s.AWS.ManagedPolicies = awstest.Many(n, account+"/p%d") }},
		{"a managed policy's name", "aws.managed_policies[0]", 1, 128, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = messages.List{account + "/" + times(n, "x")}
		}},
		{"a managed policy's path", "aws.managed_policies[0]", 3, 512, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = messages.List{account + pad(n, "/%s/") + "x"}
		}},
		{"a managed policy's account", "aws.managed_policies[0]", 12, 12, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::" + times(n, "1") + ":policy/x"}
		}},
		{"the awstest.Boundary's name", "aws.permissions_boundary", 1, 128, func(s *messages.DynamicSecret, n int) {
			s.AWS.PermissionsBoundary = account + "/" + times(n, "x")
		}},
		{"the awstest.Boundary's path", "aws.permissions_boundary", 3, 512, func(s *messages.DynamicSecret, n int) {
			s.AWS.PermissionsBoundary = account + pad(n, "/%s/") + "x"
		}},
		{"the policy with the Deny", "aws.inline_policy", 0, 2048 - expiry - bare, func(s *messages.DynamicSecret, n int) {
			s.AWS.InlinePolicy = on(times(n, "<")) // < is one character, and six in Go's JSON
		}},
		{"the policy with the Deny at max_ttl", "aws.inline_policy", 0, 2048 - expiry - bare, func(s *messages.DynamicSecret, n int) {
			s.HardExpiry = messages.HardExpiryMaxTTL
			s.AWS.InlinePolicy = on(times(n, "x"))
		}},
		{"the policy alone", "aws.inline_policy", 0, 2048 - bare, func(s *messages.DynamicSecret, n int) {
			s.HardExpiry = messages.HardExpiryNone
			s.AWS.InlinePolicy = on(times(n, "é"))
		}},
		{"the policy without white space", "aws.inline_policy", 0, 2048 - expiry - bare, func(s *messages.DynamicSecret, n int) {
			s.AWS.InlinePolicy = messages.Policy(strings.ReplaceAll(string(on(times(n, "x"))), `,"`, ",\r\n\t \""))
		}},
		{"tags", "tags", 0, 47, func(s *messages.DynamicSecret, n int) {
			s.Tags = map[string]string{}
			for i := range n {
				s.Tags[fmt.Sprint("k", i)] = "v"
			}
		}},
		{"a tag's key", "tags", 1, 128, func(s *messages.DynamicSecret, n int) { s.Tags = map[string]string{times(n, "ü"): "v"} }},
		{"a tag's value", "tags.k", 0, 256, func(s *messages.DynamicSecret, n int) { s.Tags = map[string]string{"k": times(n, "ü")} }},
		{"the template", "username_template", 32, 255, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = `{{replace (random 16) "[` + times(n-len(`{{replace (random 16) "[]" ""}}`), "ü") + `]" ""}}`
		}},
		{"a name of random characters", "username_template", 8, 64, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{random %d}}", n)
		}},
		{"a name without randomness", "username_template", 1, 64, func(s *messages.DynamicSecret, n int) {
			s.AllowFixedUsername = true
			s.UsernameTemplate = fmt.Sprintf(`{{truncate "%s" %d}}`, times(70, "x"), n)
		}},
		{"a name with the identity", "username_template", 0, 16, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{truncate identity.name %d}}{{random 48}}", n)
		}},
		{"a name with the time", "username_template", 0, 54, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{unixTimestamp}}{{truncate (random 100) %d}}", max(n, 8))
		}},
		{"a name with the secret's and the type's", "username_template", 0, 54, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{dynamicSecret.name}}{{dynamicSecret.type}}{{truncate (random 100) %d}}", max(n, 8))
		}},
		{"random", "username_template", 1, 100, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{randomUsername}}{{truncate (random %d) 9}}", n)
		}},
		{"truncate", "username_template", 0, 255, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{truncate randomUsername %d}}{{random 9}}", n)
		}},
	} {
		for _, n := range []int{c.least - 1, c.least, c.most - 1, c.most, c.most + 1} {
			if n < 0 || n < c.least && c.least == 0 {
				continue
			}
			s := awstest.Definition()
			c.set(&s, n)
			err := Check(s)
			if c.least <= n && n <= c.most {
				if err != nil {
					t.Errorf("%s of %d: %v", c.what, n, err)
				}
				continue
			}
			if m := messages.AsError(err); m == nil || !strings.HasPrefix(m.Message, c.field+": ") && !strings.HasPrefix(m.Message, c.field+".") {
				t.Errorf("%s of %d: %v, want an error about %s", c.what, n, err, c.field)
			}
		}
	}
}

// The name of a session has at least two characters, that of a user at least one.
func TestShortestNames(t *testing.T) {
	for _, c := range []struct {
		kind messages.CredentialType
		name string
		want bool
	}{
		{"", "x", true}, {messages.CredentialIAMUser, "x", true}, {messages.CredentialAssumeRole, "x", false}, {messages.CredentialAssumeRole, "xy", true},
	} {
		s := awstest.Definition()
		s.UsernameTemplate, s.AllowFixedUsername, s.AWS.CredentialType = c.name, true, c.kind
		if err := checkUsername(s); (err == nil) != c.want {
			t.Errorf("%s for %q: %v", c.name, c.kind, err)
		}
	}
}
