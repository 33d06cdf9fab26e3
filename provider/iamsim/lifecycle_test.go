package iamsim_test

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

const denyAfter = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*",` +
	`"Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-03-01T13:00:00Z"}}}]}`

const readOnly = "arn:aws:iam::aws:policy/ReadOnlyAccess"

// The test makes the calls of a broker for one user, from creation to deletion.
func TestUserLifecycle(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddGroup("readers")
	w.AddPolicy("arn:aws:iam::123456789012:policy/edge", denyAfter)
	name := ptr("lessor-alice")

	made, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{
		UserName: name, Path: ptr("/lessor/a&<b>/"), PermissionsBoundary: ptr("arn:aws:iam::123456789012:policy/edge"),
		Tags: []iamtypes.Tag{{Key: ptr("lease"), Value: ptr("a +b/ü=@")}},
	})
	w.want(err, "")
	if got := *made.User.Arn; got != "arn:aws:iam::123456789012:user/lessor/a&<b>/lessor-alice" {
		t.Errorf("ARN: %s", got)
	}
	if got := *made.User.Tags[0].Value; got != "a +b/ü=@" {
		t.Errorf("tag: %q", got)
	}
	if !made.User.CreateDate.Equal(w.clock.now()) {
		t.Errorf("created %v", made.User.CreateDate)
	}

	_, err = w.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: ptr("expiry"), PolicyDocument: ptr(denyAfter)})
	w.want(err, "")
	_, err = w.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: ptr(readOnly)})
	w.want(err, "")
	_, err = w.iam.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: name, GroupName: ptr("readers")})
	w.want(err, "")
	id, secret := w.key(*name)
	w.want(w.identity(id, secret, ""), "")

	got, err := w.iam.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: name, PolicyName: ptr("expiry")})
	w.want(err, "")
	if doc, err := url.QueryUnescape(*got.PolicyDocument); err != nil || doc != denyAfter {
		t.Errorf("policy: %s, %v", doc, err)
	}
	user, err := w.iam.GetUser(ctx, &iam.GetUserInput{UserName: ptr("LESSOR-alice")})
	w.want(err, "")
	if got := *user.User.PermissionsBoundary.PermissionsBoundaryArn; got != "arn:aws:iam::123456789012:policy/edge" {
		t.Errorf("boundary: %s", got)
	}
	listed, err := w.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: ptr("/lessor/")})
	w.want(err, "")
	if len(listed.Users) != 1 || listed.Users[0].Tags != nil || listed.IsTruncated {
		t.Errorf("list: %+v", listed)
	}

	have, ok := w.User(*name)
	if !ok || have.Groups[0] != "readers" || have.AttachedPolicies[0] != readOnly || have.InlinePolicies["expiry"] != denyAfter ||
		have.AccessKeys[0].ID != id || have.Tags["lease"] != "a +b/ü=@" {
		t.Errorf("snapshot: %+v", have)
	}
	if s := w.IssuedSecrets(); len(s) != 1 || s[0] != secret {
		t.Errorf("issued: %v", s)
	}

	_, err = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &id})
	w.want(err, "")
	_, err = w.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: ptr("expiry")})
	w.want(err, "")
	_, err = w.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: ptr(readOnly)})
	w.want(err, "")
	_, err = w.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: ptr("readers")})
	w.want(err, "")
	_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	w.want(err, "")
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
	if left := w.Users(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}
