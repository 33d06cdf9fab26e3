package iamsim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// trustTagged allows the account to open sessions with tags.
const trustTagged = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],
	"Principal":{"AWS":"123456789012"}}]}`

func sessionTags(pairs ...string) []ststypes.Tag {
	var tags []ststypes.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, ststypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return tags
}

// session opens a session of a role with the administrator's key.
func (w *world) session(role, name string, change func(*sts.AssumeRoleInput)) *ststypes.Credentials {
	w.t.Helper()
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: &name}
	if change != nil {
		change(in)
	}
	out, err := w.sts.AssumeRole(ctx, in)
	w.want(err, "")
	return out.Credentials
}

func TestSessionTagsArePrincipalTags(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	arn := w.AddRole("target", trustTagged)
	w.AddRolePolicy("target", "own", policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}`))
	tagged := w.session(arn, "me", func(in *sts.AssumeRoleInput) { in.Tags = sessionTags("Team", "red") })
	w.allows(*tagged.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/red/k", true)
	w.allows(*tagged.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/blue/k", false)
	w.allows(*w.session(arn, "me", nil).AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/red/k", false)
}

// Trust policy and caller must both allow sts:TagSession.
func TestSessionTagsNeedTagSession(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddRole("plain", trustAccount)
	w.AddRole("tagged", trustTagged)
	w.AddRole("strict", strings.Replace(trustTagged, `"Principal"`, `"Condition":{"StringEquals":{"aws:RequestTag/team":"red"},
		"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}},"Principal"`, 1))
	assume := policyOf(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`)
	both := policyOf(`{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"}`)
	callers := map[string]*sts.Client{
		"assume": sts.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("assume", assume))),
		"both":   sts.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("both", both))),
	}
	for _, test := range []struct {
		caller, role string
		tags         []ststypes.Tag
		want         string
	}{
		{"assume", "tagged", nil, ""},
		{"assume", "tagged", sessionTags("team", "red"), "AccessDenied"},
		{"both", "tagged", sessionTags("team", "red"), ""},
		{"both", "plain", nil, ""},
		{"both", "plain", sessionTags("team", "red"), "AccessDenied"},
		{"both", "strict", sessionTags("team", "red"), ""},
		{"both", "strict", sessionTags("team", "blue"), "AccessDenied"},
		{"both", "strict", sessionTags("team", "red", "more", "x"), "AccessDenied"},
	} {
		_, err := callers[test.caller].AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: ptr("arn:aws:iam::123456789012:role/" + test.role), RoleSessionName: ptr("me"), Tags: test.tags})
		if got := codeOf(err); got != test.want {
			t.Errorf("%s of %s with %d tags: %v, want %q", test.caller, test.role, len(test.tags), err, test.want)
		}
	}
	_, err := callers["assume"].AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: ptr("arn:aws:iam::123456789012:role/tagged"), RoleSessionName: ptr("me"), Tags: sessionTags("a", "b")})
	w.wantMessage(err, "AccessDenied", "User: arn:aws:iam::123456789012:user/assume is not authorized to perform: sts:TagSession "+
		"on resource: arn:aws:iam::123456789012:role/tagged")
}

// The values are at and just beyond the limits of AssumeRole.
func TestAssumeRoleParameterLimits(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	arn := w.AddRole("target", trustTagged)
	tags := func(n int) (l []ststypes.Tag) {
		for i := range n {
			l = append(l, sessionTags(fmt.Sprint("k", i), "v")...)
		}
		return l
	}
	policy := func(n int) *string {
		p := policyOf(allowAll)
		return ptr(p[:len(p)-1] + strings.Repeat(" ", n-len(p)) + "}")
	}
	var arns []ststypes.PolicyDescriptorType
	for i := range 11 {
		p := fmt.Sprintf("arn:aws:iam::123456789012:policy/p%d", i)
		w.AddPolicy(p, policyOf(allowAll))
		arns = append(arns, ststypes.PolicyDescriptorType{Arn: &p})
	}
	for name, test := range map[string]struct {
		in   sts.AssumeRoleInput
		want string
	}{
		"50 tags":                      {sts.AssumeRoleInput{Tags: tags(50)}, ""},
		"51 tags":                      {sts.AssumeRoleInput{Tags: tags(51)}, "ValidationError"},
		"tag key of 128":               {sts.AssumeRoleInput{Tags: sessionTags(strings.Repeat("k", 128), "")}, ""},
		"tag key of 129":               {sts.AssumeRoleInput{Tags: sessionTags(strings.Repeat("k", 129), "")}, "ValidationError"},
		"tag value of 256":             {sts.AssumeRoleInput{Tags: sessionTags("k", strings.Repeat("v", 256))}, ""},
		"tag value of 257":             {sts.AssumeRoleInput{Tags: sessionTags("k", strings.Repeat("v", 257))}, "ValidationError"},
		"tag keys that differ in case": {sts.AssumeRoleInput{Tags: sessionTags("k", "v", "K", "v")}, "ValidationError"},
		"tag of AWS":                   {sts.AssumeRoleInput{Tags: sessionTags("aws:k", "v")}, "ValidationError"},
		"policy of 2048":               {sts.AssumeRoleInput{Policy: policy(2048)}, ""},
		"policy of 2049":               {sts.AssumeRoleInput{Policy: policy(2049)}, "ValidationError"},
		"policy beyond Latin-1":        {sts.AssumeRoleInput{Policy: ptr("{☃}")}, "ValidationError"},
		"policy that is not JSON":      {sts.AssumeRoleInput{Policy: ptr("{")}, "MalformedPolicyDocument"},
		"10 managed policies":          {sts.AssumeRoleInput{PolicyArns: arns[:10]}, ""},
		"11 managed policies":          {sts.AssumeRoleInput{PolicyArns: arns}, "ValidationError"},
		"too much when packed": {sts.AssumeRoleInput{Tags: sessionTags("k", noise(250), "l", noise(251), "m", noise(252))},
			"PackedPolicyTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			in := test.in
			in.RoleArn, in.RoleSessionName = &arn, ptr("me")
			_, err := w.sts.AssumeRole(ctx, &in)
			w.in(t).want(err, test.want)
		})
	}
}

// noise returns n letters and digits that do not compress well.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[x>>27]
	}
	return string(b)
}

// The present policies of a role apply to its sessions, and a condition can select one session.
func TestDenyOnTheRoleEndsASession(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	arn := w.AddRole("target", trustAccount)
	w.AddRolePolicy("target", "list", policyOf(allowAll))
	one, other := w.session(arn, "one", nil), w.session(arn, "the-one", nil)
	list := func(c *ststypes.Credentials) error {
		_, err := iam.NewFromConfig(w.config(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)).ListUsers(ctx, nil)
		return err
	}
	w.want(list(one), "")
	deny := policyOf(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:userid":"*:one"}}}`)
	_, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: ptr("target"), PolicyName: ptr("deny"), PolicyDocument: &deny})
	w.want(err, "")
	w.want(list(one), "AccessDenied")
	w.want(list(other), "")
	w.want(w.identity(*one.AccessKeyId, *one.SecretAccessKey, *one.SessionToken), "")
	if p := w.RolePolicies("target"); len(p) != 2 || p["deny"] != deny {
		t.Errorf("the role's policies are %v", p)
	}
	_, err = w.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: ptr("target"), PolicyName: ptr("deny")})
	w.want(err, "")
	w.want(list(one), "")
}

// The path is part of the role's ARN and not of its sessions' ARNs.
func TestRolePathIsInItsARN(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	arn := w.AddRoleAt("/lessor/ci/", "target", trustAccount)
	if arn != "arn:aws:iam::123456789012:role/lessor/ci/target" {
		t.Fatal(arn)
	}
	c := w.session(arn, "me", nil)
	who, err := sts.NewFromConfig(w.config(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)).GetCallerIdentity(ctx, nil)
	w.want(err, "")
	if *who.Arn != "arn:aws:sts::123456789012:assumed-role/target/me" {
		t.Error(*who.Arn)
	}
	_, err = w.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: ptr("arn:aws:iam::123456789012:role/target"), RoleSessionName: ptr("me")})
	w.want(err, "AccessDenied")

	broker := iam.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("least", policyOf(
		`{"Effect":"Allow","Action":"iam:PutRolePolicy","Resource":"arn:aws:iam::123456789012:role/lessor/*"}`))))
	w.AddRole("elsewhere", trustAccount)
	for name, want := range map[string]string{"target": "", "elsewhere": "AccessDenied"} {
		_, err = broker.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: ptr("p"), PolicyDocument: ptr(denyAfter)})
		w.want(err, want)
	}
}

func TestRoleInlinePolicyQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddRole("target", trustAccount)
	put := func(name string, n int) error {
		p := policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::%"}`)
		p = strings.Replace(p, "%", strings.Repeat("x", n-len(p)+1), 1)
		_, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: ptr("target"), PolicyName: &name, PolicyDocument: &p})
		return err
	}
	w.want(put("a", 5000), "")
	w.wantMessage(put("b", 5241), "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role target")
	w.want(put("b", 5240), "")
}

func TestIssuedSecretsIncludesSessions(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	c := w.session(w.AddRole("target", trustAccount), "me", func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr(int32(time.Hour / time.Second)) })
	if s := w.IssuedSecrets(); !slices.Equal(s, []string{*c.SecretAccessKey, *c.SessionToken}) {
		t.Errorf("%d secrets", len(s))
	}
}
