package iamsim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

func policyOf(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

const allowAll = `{"Effect":"Allow","Action":"*","Resource":"*"}`

func (w *world) allows(keyID, action, resource string, want bool) {
	w.t.Helper()
	got, err := w.Allowed(keyID, action, resource)
	if err != nil || got != want {
		w.t.Errorf("%s on %s: %v, %v; want %v", action, resource, got, err, want)
	}
}

// A statement that denies everything after a date ends the permissions at the date. The key still authenticates.
func TestDenyAfterDateEndsPermissions(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	id, secret := w.key("alice")
	w.allows(id, "s3:GetObject", "arn:aws:s3:::b/k", false)
	w.AttachPolicy("alice", readOnly)
	w.allows(id, "s3:GetObject", "arn:aws:s3:::b/k", true)
	w.allows(id, "s3:PutObject", "arn:aws:s3:::b/k", false)
	w.AddInlinePolicy("alice", "expiry", denyAfter)
	w.clock.advance(time.Hour) // to the date
	w.allows(id, "s3:GetObject", "arn:aws:s3:::b/k", true)
	w.clock.advance(time.Nanosecond)
	w.allows(id, "s3:GetObject", "arn:aws:s3:::b/k", false)
	w.want(w.identity(id, secret, ""), "")
	_, err := iam.NewFromConfig(w.config(id, secret, "")).GetUser(ctx, &iam.GetUserInput{})
	w.wantMessage(err, "AccessDenied", "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: iam:GetUser "+
		"on resource: arn:aws:iam::123456789012:user/alice with an explicit deny in an identity-based policy")

	_, err = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id})
	w.want(err, "")
	if _, err := w.Allowed(id, "s3:GetObject", "arn:aws:s3:::b/k"); err == nil {
		t.Error("Allowed accepts a deleted key")
	}
}

func TestPermissionsOfPolicyTypes(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddGroup("writers")
	w.AddGroupPolicy("writers", "write", policyOf(`{"Effect":"Allow","Action":"s3:Put*","Resource":"arn:aws:s3:::b/${aws:username}/*"}`))
	w.AddPolicy("arn:aws:iam::123456789012:policy/edge", policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`,
		`{"Effect":"Deny","Action":"s3:PutBucket*","Resource":"*"}`))
	w.user("alice")
	id, _ := w.key("alice")
	const mine, bobs = "arn:aws:s3:::b/alice/x", "arn:aws:s3:::b/bob/x"

	w.allows(id, "s3:PutObject", mine, false)
	w.AddToGroup("alice", "writers")
	w.allows(id, "S3:putobject", mine, true)
	w.allows(id, "s3:PutObject", bobs, false)
	w.AddInlinePolicy("alice", "all", policyOf(allowAll, `{"Effect":"Deny","NotAction":["s3:*","ec2:*"],"NotResource":"arn:aws:iam::*:*"}`))
	w.allows(id, "s3:PutObject", bobs, true)
	w.allows(id, "sqs:SendMessage", "arn:aws:sqs:eu-west-1:1:q", false)
	w.allows(id, "iam:GetUser", "arn:aws:iam::1:user/x", true)
	w.allows(id, "ec2:RunInstances", "*", true)

	_, err := w.iam.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{
		UserName: ptr("alice"), PermissionsBoundary: ptr("arn:aws:iam::123456789012:policy/edge")})
	w.want(err, "")
	w.allows(id, "s3:PutObject", bobs, true)
	w.allows(id, "ec2:RunInstances", "*", false)
	w.allows(id, "s3:PutBucketPolicy", "arn:aws:s3:::b", false)
	w.RemovePolicy("arn:aws:iam::123456789012:policy/edge")
	w.allows(id, "s3:PutObject", bobs, false)
	_, err = w.iam.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: ptr("alice")})
	w.want(err, "")
	w.allows(id, "ec2:RunInstances", "*", true)
	_, err = w.iam.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: ptr("alice")})
	w.want(err, "NoSuchEntity")
}

// brokerPolicy is a least-privilege policy of a broker, with condition keys.
var brokerPolicy = policyOf(
	`{"Effect":"Allow","Action":"iam:CreateUser","Resource":"arn:aws:iam::123456789012:user/lessor/*",
	  "Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::123456789012:policy/edge","aws:RequestTag/lessor":"yes"},
	               "ForAllValues:StringEquals":{"aws:TagKeys":["lessor","lease"]}}}`,
	`{"Effect":"Allow","Action":"iam:TagUser","Resource":"arn:aws:iam::123456789012:user/lessor/*"}`,
	`{"Effect":"Allow","Action":["iam:AttachUserPolicy","iam:DetachUserPolicy"],"Resource":"arn:aws:iam::123456789012:user/lessor/*",
	  "Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/ReadOnly*"},
	               "StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::123456789012:policy/edge"}}}`,
	`{"Effect":"Allow","Action":["iam:PutUserPolicy","iam:DeleteUserPolicy"],"Resource":"arn:aws:iam::123456789012:user/lessor/*",
	  "Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::123456789012:policy/edge"}}}`,
	`{"Effect":"Allow","Action":["iam:DeleteUser","iam:*AccessKey"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/Lessor":"yes"}}}`,
	`{"Effect":"Allow","Action":"iam:AddUserToGroup","Resource":"arn:aws:iam::123456789012:group/readers"}`,
	`{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"}`,
)

// Each call meets all conditions of the policy or violates one of them.
func TestLeastPrivilegeConditions(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddGroup("readers")
	w.AddGroup("admins")
	w.AddPolicy("arn:aws:iam::123456789012:policy/edge", policyOf(allowAll))
	w.AddUser("foreign", "/", nil)
	w.AddUser("bare", "/lessor/", nil) // no boundary, no tags
	broker := iam.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("least", brokerPolicy)))

	create := func(name, path, boundary string, tags map[string]string) error {
		in := &iam.CreateUserInput{UserName: &name, Path: &path}
		if boundary != "" {
			in.PermissionsBoundary = ptr("arn:aws:iam::123456789012:policy/" + boundary)
		}
		for k, v := range tags {
			in.Tags = append(in.Tags, iamtypes.Tag{Key: &k, Value: &v})
		}
		_, err := broker.CreateUser(ctx, in)
		return err
	}
	good := map[string]string{"lessor": "yes", "lease": "1"}
	attach := func(user, arn string) error {
		_, err := broker.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}
	put := func(user string) error {
		_, err := broker.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &user, PolicyName: ptr("p"), PolicyDocument: ptr(denyAfter)})
		return err
	}
	join := func(group string) error {
		_, err := broker.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: ptr("alice"), GroupName: &group})
		return err
	}
	key := func(user string) error {
		_, err := broker.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
		return err
	}
	const denied = "AccessDenied"
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"create elsewhere", create("alice", "/other/", "edge", good), denied},
		{"create without boundary", create("alice", "/lessor/", "", good), denied},
		{"create with another boundary", create("alice", "/lessor/", "none", good), denied},
		{"create with another tag", create("alice", "/lessor/", "edge", map[string]string{"lessor": "no"}), denied},
		{"create with an additional tag", create("alice", "/lessor/", "edge", map[string]string{"lessor": "yes", "x": "y"}), denied},
		{"create", create("alice", "/lessor/", "edge", good), ""},
		{"attach a policy that is not listed", attach("alice", "arn:aws:iam::aws:policy/AdministratorAccess"), denied},
		{"attach to a user without boundary", attach("bare", readOnly), denied},
		{"attach", attach("alice", readOnly), ""},
		{"put to a foreign user", put("foreign"), denied},
		{"put to a user without boundary", put("bare"), denied},
		{"put to a user that does not exist", put("unknown"), denied},
		{"put", put("alice"), ""},
		{"key for a user without tag", key("bare"), denied},
		{"key", key("alice"), ""},
		{"join admins", join("admins"), denied},
		{"join", join("readers"), ""},
	} {
		if got := codeOf(test.err); got != test.want {
			t.Errorf("%s: %v, want %q", test.name, test.err, test.want)
		}
	}
	_, err := broker.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: ptr("/lessor/")})
	w.want(err, "")
	_, err = broker.GetUser(ctx, &iam.GetUserInput{UserName: ptr("alice")})
	w.wantMessage(err, denied, "User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:GetUser "+
		"on resource: arn:aws:iam::123456789012:user/lessor/alice because no identity-based policy allows the iam:GetUser action")
}

func TestCreateUserWithTagsNeedsTagUser(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	client := iam.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("least", policyOf(`{"Effect":"Allow","Action":"iam:CreateUser","Resource":"*"}`))))
	_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice"), Tags: manyTags(0, 1)})
	w.want(err, "AccessDenied")
	if !strings.Contains(err.Error(), "iam:TagUser") {
		t.Error(err)
	}
	_, err = client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("alice")})
	w.want(err, "")
}

// TagUser does not support the condition key iam:PermissionsBoundary, so a condition on it is never met.
func TestTagUserHasNoBoundaryCondition(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	const edge = "arn:aws:iam::123456789012:policy/edge"
	w.AddPolicy(edge, policyOf(allowAll))
	const bounded = `"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"` + edge + `"}}}`
	for action, want := range map[string]string{"CreateUser": "", "TagUser": "AccessDenied"} {
		client := iam.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy(action, policyOf(
			`{"Effect":"Allow","Action":"iam:`+action+`",`+bounded, `{"Effect":"Allow","NotAction":"iam:`+action+`","Resource":"*"}`))))
		_, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("u" + action), PermissionsBoundary: ptr(edge), Tags: manyTags(0, 1)})
		w.want(err, want)
	}
}

// The path is part of the group's ARN and not of its name.
func TestGroupPathIsInItsARN(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	w.AddGroup("flat")
	w.AddGroupAt("/teams/eu/", "deep")
	client := iam.NewFromConfig(w.configFor(w.AddPrincipalWithPolicy("least",
		policyOf(`{"Effect":"Allow","Action":"iam:AddUserToGroup","Resource":"arn:aws:iam::123456789012:group/*/deep"}`))))
	for group, want := range map[string]string{"deep": "", "flat": "AccessDenied"} {
		_, err := client.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: ptr("alice"), GroupName: &group})
		w.want(err, want)
	}
	out, err := w.iam.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: ptr("alice")})
	w.want(err, "")
	if len(out.Groups) != 1 || *out.Groups[0].Path != "/teams/eu/" || *out.Groups[0].Arn != "arn:aws:iam::123456789012:group/teams/eu/deep" {
		t.Errorf("the groups are %v", out.Groups)
	}
}

// configFor returns the config for a long-lived key.
func (w *world) configFor(id, secret string) aws.Config { return w.config(id, secret, "") }
