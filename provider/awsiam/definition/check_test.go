package definition

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestCheckAcceptsValidDefinitions(t *testing.T) {
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
		"AWS's own policies": func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{
				"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
				"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
			}
			s.AWS.PermissionsBoundary = "arn:aws:iam::aws:policy/PowerUserAccess"
		},
		"a name of every character": func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"aZ09_+=,.@-"} },
		"a path of every character": func(s *messages.DynamicSecret) { s.AWS.Path = "/!\"#$%&'()*+,-.0:;<=>?@A[\\]^_`a{|}~/" },
		"tags of every character": func(s *messages.DynamicSecret) {
			s.Tags = map[string]string{"äß9_.:/=+-@ 日": "äß9_.:/=+-@ 日", "empty": ""}
		},
		"regions": func(s *messages.DynamicSecret) {
			s.AWS = messages.AWS{Region: "eusc-de-east-1", PermissionsBoundary: "arn:aws-eusc:iam::123456789012:policy/x"}
		},
		"wildcards": statement(`{"Effect":"Allow","Action":["*:*","s3:*Object","ec2:Describe?"],"Resource":["arn:*:s3:::*","arn:aws:s3*","arn:aws:iam::*:user/${aws:username}/${*}"]}`),
		"conditions": statement(`{"Effect":"Deny","NotAction":"*","Resource":"*","Condition":{"ForAnyValue:stringLike":{"aws:PrincipalTag/team":["a","b"]},
			"BoolIfExists":{"aws:MultiFactorAuthPresent":false},"NumericLessThan":{"s3:max-keys":10},"Null":{"aws:TokenIssueTime":"true"},"IpAddress":{}}}`),
		"one statement, not in a list, with a policy id": func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"","Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
		},
		"ARNs of the region's partition": func(s *messages.DynamicSecret) {
			s.AWS = messages.AWS{Region: "cn-north-1", InlinePolicy: messages.Policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws-cn:s3:::x"}]}`)}
		},
		"no randomness, allowed": func(s *messages.DynamicSecret) {
			s.UsernameTemplate, s.AllowFixedUsername = "ci-{{truncate identity.name 16}}", true
		},
		"a little randomness, allowed": func(s *messages.DynamicSecret) {
			s.UsernameTemplate, s.AllowFixedUsername = "ci-{{random 1}}", true
		},
	} {
		s := awstest.Definition()
		change(&s)
		if err := Check(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const denyOne = `{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"A","Effect":"Deny","NotAction":["s3:Get*","*"],"NotResource":["arn:aws:s3:::x"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}}`

func TestCheckRefusesInvalidDefinitions(t *testing.T) {
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
		{"aws.managed_policies[1]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{awstest.ManagedPolicy, awstest.ManagedPolicy}
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies = messages.List{"ReadOnlyAccess"} }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`[]`) }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = awstest.Allow(`"s3:Ä☃"`) }},
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
		{inline + ".Version", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":20121017,"Statement":[]}`)
		}},
		{inline + ".Version", func(s *messages.DynamicSecret) {
			s.AWS.InlinePolicy = messages.Policy(`{"Version":"2008-10-17","Version":"2012-10-17","Statement":[]}`)
		}},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`{"version":"2012-10-17"}`) }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`null`) }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy(`{`) }},
		{inline, func(s *messages.DynamicSecret) { s.AWS.InlinePolicy = messages.Policy("{\"Version\":\"\xff\"}") }},
		{inline + ".Statement", statement(`],"Statement":[`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"s3:*","Action":"ec2:*","Resource":"*"}`)},
		{inline + ".Statement[0].Effect", statement(`{"Effect":"Allow","\u0045ffect":"Deny","Action":"s3:*","Resource":"*"}`)},
		{inline + ".Statement[0].Condition.Bool.a:b", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a:b":"true","a:b":"false"}}}`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","Action":"*","Resource":"*","NotPrincipal":{"AWS":"*"}}`)},
		{inline + ".Statement[0]", statement(`{"Effect":"Allow","action":"*","Resource":"*"}`)},
		{inline + ".Statement[0]", statement(`"x"`)},
		{inline + ".Statement[0].Sid", statement(`{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}`)},
		{inline + ".Statement[0].Sid", statement(`{"Sid":7,"Effect":"Allow","Action":"*","Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"","Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":null,"Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":["s3:*",null],"Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"s3:","Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"s*:Get","Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"s3:Get Object","Resource":"*"}`)},
		{inline + ".Statement[0].Action", statement(`{"Effect":"Allow","Action":"${aws:username}:x","Resource":"*"}`)},
		{inline + ".Statement[0].NotAction", statement(`{"Effect":"Allow","NotAction":[],"Resource":"*"}`)},
		{inline + ".Statement[0].Resource", statement(`{"Effect":"Allow","Action":"*","Resource":[]}`)},
		{inline + ".Statement[0].Resource", statement(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:bucket"}`)},
		{inline + ".Statement[0].Resource", statement(`{"Effect":"Allow","Action":"*","Resource":"arn:aws-cn:s3:::x"}`)},
		{inline + ".Statement[0].Resource", statement(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::x/${aws:username"}`)},
		{inline + ".Statement[0].Condition", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":null}`)},
		{inline + ".Statement[0].Condition", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{"a:b":"c"}}}`)},
		{inline + ".Statement[0].Condition", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForSomeValues:StringEquals":{"a:b":"c"}}}`)},
		{inline + ".Statement[0].Condition.StringEquals", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"SourceIp":"c"}}}`)},
		{inline + ".Statement[0].Condition.StringEquals", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:b":{}}}}`)},
		{inline + ".Statement[0].Condition.StringEquals", statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:b":["c",null]}}}`)},
		{"aws.region", func(s *messages.DynamicSecret) { s.AWS.Region = "eu-central-1\n" }},
		{"aws.region", func(s *messages.DynamicSecret) { s.AWS.Region = "EU-central-1" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/lessor/\n" }},
		{"aws.path", func(s *messages.DynamicSecret) { s.AWS.Path = "/\x7f/" }},
		{"aws.groups[0]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{""} }},
		{"aws.groups[0]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"/path/name"} }},
		{"aws.groups[0]", func(s *messages.DynamicSecret) { s.AWS.Groups = messages.List{"é"} }},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::aws:policy/aws-service-role/AWSSupportServiceRolePolicy"}
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::123456789012:policy/a/"}
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam:eu-central-1:123456789012:policy/a"}
		}},
		{"aws.managed_policies[0]", func(s *messages.DynamicSecret) {
			s.AWS.ManagedPolicies = messages.List{"arn:aws:iam::123456789012:policy/a b"}
		}},
		{"tags.a?b", func(s *messages.DynamicSecret) { s.Tags["a\nb"] = "x" }},
		{"tags.a?", func(s *messages.DynamicSecret) { s.Tags["a\xff"] = "x" }},
		{"tags.aws:x", func(s *messages.DynamicSecret) { s.Tags["aws:x"] = "x" }},
		{"username_template", func(s *messages.DynamicSecret) {
			s.UsernameTemplate = `{{truncate (replace identity.name "(d)e(p)loy..." "/$1${2}") 40}}{{random 16}}`
		}},
		{"username_template", func(s *messages.DynamicSecret) {
			s.UsernameTemplate, s.AllowFixedUsername = "{{identity.name}}x", true
		}},
		{"username_template", func(s *messages.DynamicSecret) {
			s.UsernameTemplate, s.AllowFixedUsername = `{{replace identity.name "." ""}}`, true
		}},
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
			s.UsernameTemplate = `{{truncate (replace identity.name "_" "/") 9}}{{random 9}}`
		}},
	} {
		s := awstest.Definition()
		c.change(&s)
		err := Check(s)
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
