package iamsim_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	trustBroker = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",
		"Principal":{"AWS":"arn:aws:iam::123456789012:user/caller"},"Condition":{"StringEquals":{"sts:ExternalId":"lessor:7"}}}]}`
	trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"123456789012"}}]}`
	trustToken   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",
		"Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"},
		"Condition":{"StringEquals":{"oidc.example.com/id/1:sub":"system:serviceaccount:lessor:lessor"}}}]}`
	issuer = "https://oidc.example.com/id/1"
)

func TestAssumeRole(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	id, secret := w.AddPrincipalWithPolicy("caller", policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	caller := sts.NewFromConfig(w.config(id, secret, ""))
	arn := w.AddRole("target", trustBroker)
	w.AddRolePolicy("target", "list", policyOf(`{"Effect":"Allow","Action":["iam:List*","iam:GetUser"],"Resource":"*"}`))
	w.AddRole("open", trustAccount)

	in := func(change func(*sts.AssumeRoleInput)) *sts.AssumeRoleInput {
		in := &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: ptr("me"), ExternalId: ptr("lessor:7")}
		change(in)
		return in
	}
	const denied = "AccessDenied"
	for name, test := range map[string]struct {
		change func(*sts.AssumeRoleInput)
		want   string
	}{
		"good":                      {func(*sts.AssumeRoleInput) {}, ""},
		"other external id":         {func(in *sts.AssumeRoleInput) { in.ExternalId = ptr("lessor:8") }, denied},
		"no external id":            {func(in *sts.AssumeRoleInput) { in.ExternalId = nil }, denied},
		"external id too short":     {func(in *sts.AssumeRoleInput) { in.ExternalId = ptr("x") }, "ValidationError"},
		"no such role":              {func(in *sts.AssumeRoleInput) { in.RoleArn = ptr(arn + "x") }, denied},
		"account trusted only":      {func(in *sts.AssumeRoleInput) { in.RoleArn = ptr("arn:aws:iam::123456789012:role/open") }, denied},
		"no role":                   {func(in *sts.AssumeRoleInput) { in.RoleArn = ptr("arn:aws:iam::123456789012:user/x") }, "ValidationError"},
		"session name too short":    {func(in *sts.AssumeRoleInput) { in.RoleSessionName = ptr("m") }, "ValidationError"},
		"session name with a slash": {func(in *sts.AssumeRoleInput) { in.RoleSessionName = ptr("m/e") }, "ValidationError"},
		"900 seconds":               {func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr[int32](900) }, ""},
		"899 seconds":               {func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr[int32](899) }, "ValidationError"},
		"an hour":                   {func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr[int32](3600) }, ""},
		"more than the role's hour": {func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr[int32](3601) }, "ValidationError"},
		"more than twelve hours":    {func(in *sts.AssumeRoleInput) { in.DurationSeconds = ptr[int32](43201) }, "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := caller.AssumeRole(ctx, in(test.change))
			w.in(t).want(err, test.want)
		})
	}

	out, err := caller.AssumeRole(ctx, in(func(*sts.AssumeRoleInput) {}))
	w.want(err, "")
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/target/me" || !out.Credentials.Expiration.Equal(w.clock.now().Add(time.Hour)) {
		t.Errorf("%+v", out)
	}
	c := out.Credentials
	w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey, ""), "InvalidClientTokenId")
	w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken+"x"), "InvalidClientTokenId")
	w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey+"x", *c.SessionToken), "SignatureDoesNotMatch")
	client := iam.NewFromConfig(w.config(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken))
	_, err = client.ListUsers(ctx, &iam.ListUsersInput{})
	w.want(err, "")
	_, err = client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
	w.want(err, denied)
	w.allows(*c.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/k", false)
	w.clock.advance(time.Hour)
	_, err = client.ListUsers(ctx, &iam.ListUsersInput{})
	w.want(err, "ExpiredToken")
}

// A role that assumes another gets a session of at most an hour.
func TestRoleChaining(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	first := w.AddRole("first", trustAccount)
	second := w.AddRole("second", trustAccount)
	w.SetMaxSessionDuration("first", 12*time.Hour)
	w.SetMaxSessionDuration("second", 12*time.Hour)
	out, err := w.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &first, RoleSessionName: ptr("me"), DurationSeconds: ptr[int32](43200)})
	w.want(err, "")
	c := out.Credentials
	chained := sts.NewFromConfig(w.config(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken))
	assume := func(seconds int32) error {
		_, err := chained.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: ptr("me"), DurationSeconds: &seconds})
		return err
	}
	w.want(assume(3600), "AccessDenied")
	w.AddRolePolicy("first", "assume", policyOf(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+second+`"}`))
	w.want(assume(3600), "")
	w.want(assume(3601), "ValidationError")
}

func TestSessionPolicyLimitsASession(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	arn := w.AddRole("target", trustAccount)
	w.AddRolePolicy("target", "s3", policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	out, err := w.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: ptr("me"),
		PolicyArns: []ststypes.PolicyDescriptorType{{Arn: ptr("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}}})
	w.want(err, "")
	w.allows(*out.Credentials.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/k", true)
	w.allows(*out.Credentials.AccessKeyId, "s3:PutObject", "arn:aws:s3:::b/k", false)
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddOIDCProvider(issuer, "sts.amazonaws.com")
	arn := w.AddRole("target", trustToken)
	const subject, audience = "system:serviceaccount:lessor:lessor", "sts.amazonaws.com"
	good := w.WebIdentityToken(issuer, subject, audience, time.Hour)
	w.AddOIDCProvider("https://other.example.com", audience)
	for name, test := range map[string]struct {
		token string
		want  string
	}{
		"good":             {good, ""},
		"other subject":    {w.WebIdentityToken(issuer, "system:serviceaccount:lessor:mallory", audience, time.Hour), "AccessDenied"},
		"other issuer":     {w.WebIdentityToken("https://other.example.com", subject, audience, time.Hour), "AccessDenied"},
		"other audience":   {w.WebIdentityToken(issuer, subject, "elsewhere", time.Hour), "InvalidIdentityToken"},
		"expired":          {w.WebIdentityToken(issuer, subject, audience, 0), "ExpiredTokenException"},
		"broken signature": {good[:len(good)-4] + "AAAA", "InvalidIdentityToken"},
		"not a token":      {"rubbish", "InvalidIdentityToken"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			out, err := w.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
				RoleArn: &arn, RoleSessionName: ptr("pod"), WebIdentityToken: &test.token})
			w.want(err, test.want)
			if err == nil {
				c := out.Credentials
				w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken), "")
			}
		})
	}
	for _, c := range w.Calls() {
		if c.Params.Has("WebIdentityToken") {
			t.Error("the call log has the token")
		}
	}
}

// A session of GetSessionToken outlives its key but has the present permissions of its user.
func TestGetSessionToken(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	w.AttachPolicy("alice", readOnly)
	id, secret := w.key("alice")
	out, err := sts.NewFromConfig(w.config(id, secret, "")).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	w.want(err, "")
	c := out.Credentials
	_, err = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id})
	w.want(err, "")
	session := w.config(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken), "")
	w.allows(*c.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/k", true)
	_, err = iam.NewFromConfig(session).GetUser(ctx, &iam.GetUserInput{})
	w.want(err, "InvalidClientTokenId")
	_, err = sts.NewFromConfig(session).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	w.want(err, "AccessDenied")
	w.AddInlinePolicy("alice", "end", policyOf(`{"Effect":"Deny","Action":"*","Resource":"*"}`))
	w.allows(*c.AccessKeyId, "s3:GetObject", "arn:aws:s3:::b/k", false)
	w.RemoveUser("alice")
	w.want(w.identity(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken), "InvalidClientTokenId")
}

func TestRolePolicyCalls(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddRole("target", trustAccount)
	_, err := w.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: ptr("target"), PolicyName: ptr("p"), PolicyDocument: ptr(denyAfter)})
	w.want(err, "")
	out, err := w.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: ptr("target"), PolicyName: ptr("p")})
	w.want(err, "")
	if *out.RoleName != "target" || out.PolicyDocument == nil {
		t.Errorf("%+v", out)
	}
	for _, want := range []string{"", "NoSuchEntity"} {
		_, err = w.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: ptr("target"), PolicyName: ptr("p")})
		w.want(err, want)
	}
	_, err = w.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: ptr("none"), PolicyName: ptr("p")})
	w.want(err, "NoSuchEntity")
}
