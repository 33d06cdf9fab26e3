package awsiam

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// definition has every field, at its plainest.
func definition() messages.DynamicSecret {
	return messages.DynamicSecret{
		Name: "ci",
		Tags: map[string]string{"team": "platform"},
		AWS: messages.AWS{
			Region: "eu-central-1", Path: "/lessor/ci/", PermissionsBoundary: boundary,
			Groups: messages.List{"deployers"}, ManagedPolicies: messages.List{managedPolicy},
			InlinePolicy: allow(`"s3:*"`),
		},
	}
}

func allow(action string) messages.Policy {
	return messages.Policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + action + `,"Resource":"*"}]}`)
}

func many(n int, format string) messages.List {
	var l messages.List
	for i := range n {
		l = append(l, fmt.Sprintf(format, i))
	}
	return l
}

func TestCheckTakes(t *testing.T) {
	for name, change := range map[string]func(*messages.DynamicSecret){
		"everything": func(*messages.DynamicSecret) {},
		"nothing":    func(s *messages.DynamicSecret) { *s = messages.DynamicSecret{Name: "ci"} },
		"China": func(s *messages.DynamicSecret) {
			s.AWS.Region, s.AWS.PermissionsBoundary = "cn-north-1", ""
			s.AWS.ManagedPolicies = messages.List{"arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}
		},
		"GovCloud": func(s *messages.DynamicSecret) {
			s.AWS.Region, s.AWS.ManagedPolicies = "us-gov-west-1", nil
			s.AWS.PermissionsBoundary = "arn:aws-us-gov:iam::123456789012:policy/a/b/c"
		},
		"iso": func(s *messages.DynamicSecret) {
			s.AWS.Region, s.AWS.ManagedPolicies = "us-isob-east-1", nil
			s.AWS.PermissionsBoundary = "arn:aws-iso-b:iam::123456789012:policy/x"
		},
		"path /":        func(s *messages.DynamicSecret) { s.AWS.Path = "/" },
		"one statement": func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(denyOne) },
		"old version": func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(strings.Replace(denyOne, "2012", "2008", 1))
		},
		"no boundary": func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "" },
		"no policy":   func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = nil },
	} {
		s := definition()
		change(&s)
		if err := New(Options{}).Check(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const denyOne = `{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"A","Effect":"Deny","NotAction":["s3:Get*","*"],"NotResource":["arn:aws:s3:::x"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}}`

func TestCheckRefuses(t *testing.T) {
	const inline = "aws.inline_policy"
	for _, c := range []struct {
		field  string
		change func(*messages.DynamicSecret)
	}{
		{"aws.credential_type", func(s *messages.DynamicSecret) { s.AWS.CredentialType = "federation" }},
		{"aws.region", func(s *messages.DynamicSecret) { s.AWS.Region = "Frankfurt" }},
		{"aws.region", func(s *messages.DynamicSecret) { s.AWS.Region = "eu-central" }},
		{"aws.region", func(s *messages.DynamicSecret) { s.AWS.Region = "eu-central-1.evil.example" }},
		{"aws.auth.method", func(s *messages.DynamicSecret) { s.AWS.Auth.Method = "magic" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "lessor/" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/lessor" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/les sor/" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/lessör/" }},
		{"aws.permissions_boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "lessor-boundary" }},
		{"aws.permissions_boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "arn:aws-cn:iam::123456789012:policy/x" }},
		{"aws.permissions_boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "arn:aws:iam::123456789012:role/x" }},
		{"aws.permissions_boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "arn:aws:iam::1234:policy/x" }},
		{"aws.groups[1]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"a", "A"} }},
		{"aws.groups[0]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"a b"} }},
		{"aws.groups[0]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"arn:aws:iam::123456789012:group/x"} }},
		{"aws.managed_policies[1]", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies = messages.List{managedPolicy, managedPolicy} }},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies = messages.List{"ReadOnlyAccess"} }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`[]`) }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = allow(`"s3:Ä☃"`) }},
		{inline, func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17","Statment":[]}`)
		}},
		{inline + ".Version", func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`{"Statement":[]}`) }},
		{inline + ".Version", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-18","Statement":[]}`)
		}},
		{inline + ".Id", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17","Id":1}`)
		}},
		{inline + ".Statement", func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17"}`) }},
		{inline + ".Statement", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17","Statement":[]}`)
		}},
		{inline + ".Statement[0]", statement(`null`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}`)},
		{inline + ".Statement[0].Effect", statement(`{"Effect":"allow","Action":"*","Resource":"*"}`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","Resource":"*"}`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","Action":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":[],"Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":7,"Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"s3","Resource":"*"}`)},
		{inline + ".Statement[0].NotResource", statement(`{"Effect":"Allow","Action":"*","NotResource":["bucket"]}`)},
		{inline + ".Statement[0].Condition", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}`)},
		{inline + ".Statement[1].Sid", statement(`{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"}`)},
		{"tags", func(s *messages.DynamicSecret) { s.Tags = map[string]string{"": "x"} }},
		{"tags.team", func(s *messages.DynamicSecret) { s.Tags["Team"] = "x" }},
		{"tags.AWS:x", func(s *messages.DynamicSecret) { s.Tags["AWS:x"] = "x" }},
		{"tags.Lessor:lease", func(s *messages.DynamicSecret) { s.Tags["Lessor:lease"] = "x" }},
		{"tags.a;b", func(s *messages.DynamicSecret) { s.Tags["a;b"] = "x" }},
		{"tags.team", func(s *messages.DynamicSecret) { s.Tags["team"] = "a;b" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "{{" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "{{identity.name}}-fixed" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "a/{{random 9}}" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "ä{{random 9}}" }},
		{"username_template", func(s *messages.DynamicSecret) { s.UsernameTemplate = "{{identity.name}}{{random 1}}" }},
		{"username_template", func(s *messages.DynamicSecret) {
			s.UsernameTemplate = `{{replace identity.name "_" "/"}}{{random 1}}`
			s.UsernameTemplate = `{{truncate (replace identity.name "_" "/") 9}}{{random 9}}`
		}},
	} {
		s := definition()
		c.change(&s)
		err := New(Options{}).Check(s)
		if !messages.IsCode(err, messages.CodeInvalidSecret) || !strings.HasPrefix(messages.AsError(err).Message, c.field+": ") {
			t.Errorf("%v, want one about %s", err, c.field)
		}
	}
}

func statement(list string) func(*messages.DynamicSecret) {
	return func(s *messages.DynamicSecret) {
		s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17","Statement":[` + list + `]}`)
	}
}

// Each limit, one below, at it, and one above.
func TestCheckLimits(t *testing.T) {
	pad := func(n int, around string) string { return fmt.Sprintf(around, strings.Repeat("x", n-len(around)+2)) }
	tags := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	expiry := len(`,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T22:15:00Z"}}}`)
	bare := len(allow(`"s3:"`))
	for _, c := range []struct {
		field string
		limit int
		set   func(s *messages.DynamicSecret, n int)
	}{
		{"aws.path", 512, func(s *messages.DynamicSecret, n int) { s.AWS.Path = pad(n, "/%s/") }},
		{"aws.groups", 10, func(s *messages.DynamicSecret, n int) { s.AWS.Groups = many(n, "g%d") }},
		{"aws.groups[0]", 128, func(s *messages.DynamicSecret, n int) { s.AWS.Groups = messages.List{pad(n, "%s")} }},
		{"aws.managed_policies", 10, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = many(n, "arn:aws:iam::123456789012:policy/p%d")
		}},
		{"aws.managed_policies[0]", 128, func(s *messages.DynamicSecret, n int) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::123456789012:policy/" + pad(n, "%s")}
		}},
		{"aws.permissions_boundary", 512, func(s *messages.DynamicSecret, n int) {
			s.AWS.PermissionsBoundary = "arn:aws:iam::123456789012:policy" + pad(n, "/%s/") + "x"
		}},
		{"aws.inline_policy", 2048 - expiry - bare, func(s *messages.DynamicSecret, n int) {
			s.AWS.InlinePolicy = allow(`"s3:` + strings.Repeat("<", n) + `"`)
		}},
		{"aws.inline_policy", 2048 - bare, func(s *messages.DynamicSecret, n int) {
			s.HardExpiry = messages.HardExpiryNone
			s.AWS.InlinePolicy = allow(` "s3:` + strings.Repeat("é", n) + `"`)
		}},
		{"tags", 47, func(s *messages.DynamicSecret, n int) { s.Tags = tags(n) }},
		{"tags." + strings.Repeat("ü", 40) + "…", 128, func(s *messages.DynamicSecret, n int) {
			s.Tags = map[string]string{strings.Repeat("ü", n): "v"}
		}},
		{"tags.k", 256, func(s *messages.DynamicSecret, n int) { s.Tags = map[string]string{"k": strings.Repeat("ü", n)} }},
		{"username_template", 64, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{random %d}}", n)
		}},
		{"username_template", 16, func(s *messages.DynamicSecret, n int) {
			s.UsernameTemplate = fmt.Sprintf("{{truncate identity.name %d}}{{random 48}}", n)
		}},
	} {
		for n := c.limit - 1; n <= c.limit+1; n++ {
			s := definition()
			c.set(&s, n)
			err := New(Options{}).Check(s)
			if n <= c.limit && err != nil {
				t.Errorf("%s of %d: %v", c.field, n, err)
			}
			if n > c.limit && (err == nil || !strings.HasPrefix(messages.AsError(err).Message, c.field+": ")) {
				t.Errorf("%s of %d: %v, want it refused", c.field, n, err)
			}
		}
	}
}
