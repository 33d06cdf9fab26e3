package awsiam

import (
	"fmt"
	"testing"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// additions attach to a user what operators, and AWS itself, may attach: everything that
// keeps AWS from deleting it.
var additions = map[string]func(*iamsim.Sim){
	"access key":                  func(s *iamsim.Sim) { s.AddAccessKey(userName) },
	"login profile":               func(s *iamsim.Sim) { s.AddLoginProfile(userName) },
	"signing certificate":         func(s *iamsim.Sim) { s.AddSigningCertificate(userName) },
	"SSH key":                     func(s *iamsim.Sim) { s.AddSSHKey(userName) },
	"service-specific credential": func(s *iamsim.Sim) { s.AddServiceSpecificCredential(userName) },
	"virtual MFA device":          func(s *iamsim.Sim) { s.AddMFADevice(userName, true) },
	"MFA device":                  func(s *iamsim.Sim) { s.AddMFADevice(userName, false) },
	"inline policy":               func(s *iamsim.Sim) { s.AddInlinePolicy(userName, "theirs", definition.DenyAll) },
	"quarantine policy":           func(s *iamsim.Sim) { s.AttachPolicy(userName, awsQuarantine) },
	"group":                       func(s *iamsim.Sim) { s.AddToGroup(userName, "admins") },
}

func TestDeleteRemovesEveryKindOfAttachment(t *testing.T) {
	t.Parallel()
	for name, add := range additions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			c := b.create()
			add(b.Sim)
			if err := b.account.Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
				t.Error(err)
			}
			b.expectGone()
			if left := b.VirtualMFADevices(); len(left) > 0 {
				t.Errorf("the devices %v are left", left)
			}
		})
	}
}

// There is more of everything than fits on one page of a list.
func TestDeleteRemovesAttachmentsOfAllPages(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	for i := range 101 {
		b.AddAccessKey(userName)
		b.AddSigningCertificate(userName)
		b.AddSSHKey(userName)
		b.AddServiceSpecificCredential(userName)
		b.AddMFADevice(userName, i%2 == 0)
		b.AddInlinePolicy(userName, fmt.Sprintf("theirs%d", i), definition.DenyAll)
		group, policy := fmt.Sprintf("group%d", i), fmt.Sprintf("arn:aws:iam::123456789012:policy/p%d", i)
		b.AddGroup(group)
		b.AddToGroup(userName, group)
		b.AddPolicy(policy, definition.DenyAll)
		b.AttachPolicy(userName, policy)
	}
	b.AddLoginProfile(userName)
	if err := b.account.Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
		t.Error(err)
	}
	b.expectGone()
	if n := b.count("DeleteUser"); n != 2 {
		t.Errorf("DeleteUser was sent %d times: not everything was removed at once", n)
	}
}

// The broker may not remove one kind. The others are removed, and the error is returned.
func TestClearingGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	for _, add := range additions {
		add(b.Sim)
	}
	b.SetHook(on("ListSSHPublicKeys", -1, refuse(403, "AccessDenied")))
	expectError(t, b.account.Delete(t.Context(), deletion(c.AccessKeyID)), provider.Denied, "")
	u, _ := b.User(userName)
	if len(u.SSHKeys) != 1 || len(u.AccessKeys)+len(u.MFADevices)+len(u.Groups)+len(u.AttachedPolicies)+len(u.InlinePolicies) > 0 {
		t.Errorf("the user is %+v", u)
	}
}

// A kind that may not be listed is no obstacle if nothing of it is attached.
func TestMissingListPermissionDoesNotPreventADeletionThatDoesNotNeedIt(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	b.AddLoginProfile(userName)
	b.SetHook(on("ListMFADevices", -1, refuse(403, "AccessDenied")))
	if err := b.account.Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

func TestDeletionIsGivenUpAfterSeveralConflicts(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := b.create()
	b.SetHook(on("DeleteUser", -1, refuse(409, "DeleteConflict")))
	expectError(t, b.account.Delete(t.Context(), deletion(c.AccessKeyID)), provider.Unavailable, "")
	if n := b.count("DeleteUser"); n > conflictTries+1 {
		t.Errorf("DeleteUser was sent %d times", n)
	}
}
