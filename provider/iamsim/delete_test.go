package iamsim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

func statusType(s string) iamtypes.StatusType { return iamtypes.StatusType(s) }

// A user with any of the nine kinds of entities can't be deleted before the entity is removed.
func TestDeleteUserRequiresAnEmptyUser(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddGroup("readers")
	name := ptr("alice")
	var id, secret string
	for _, test := range []struct {
		message string
		add     func()
		list    func() (int, error)
		remove  func() error
	}{
		{"must delete access keys first.",
			func() { id, secret = w.key(*name) },
			func() (int, error) {
				out, err := w.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: name})
				return len(out.AccessKeyMetadata), err
			},
			func() error {
				_, err := w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &id})
				return err
			}},
		{"must delete login profile first.",
			func() { w.AddLoginProfile(*name) },
			func() (int, error) {
				out, err := w.iam.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: name})
				if err != nil || *out.LoginProfile.UserName != *name {
					return 0, err
				}
				return 1, nil
			},
			func() error {
				_, err := w.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: name})
				return err
			}},
		{"must delete MFA device first.",
			func() { id = w.AddMFADevice(*name, false) },
			func() (int, error) {
				out, err := w.iam.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: name})
				return len(out.MFADevices), err
			},
			func() error {
				_, err := w.iam.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: name, SerialNumber: &id})
				return err
			}},
		{"must delete signing certificates first.",
			func() { id = w.AddSigningCertificate(*name) },
			func() (int, error) {
				out, err := w.iam.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: name})
				return len(out.Certificates), err
			},
			func() error {
				_, err := w.iam.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: name, CertificateId: &id})
				return err
			}},
		{"must delete SSH public keys first.",
			func() { id = w.AddSSHKey(*name) },
			func() (int, error) {
				out, err := w.iam.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: name})
				return len(out.SSHPublicKeys), err
			},
			func() error {
				_, err := w.iam.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: name, SSHPublicKeyId: &id})
				return err
			}},
		{"must delete service specific credentials first.",
			func() { id = w.AddServiceSpecificCredential(*name) },
			func() (int, error) {
				out, err := w.iam.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: name})
				return len(out.ServiceSpecificCredentials), err
			},
			func() error {
				_, err := w.iam.DeleteServiceSpecificCredential(ctx,
					&iam.DeleteServiceSpecificCredentialInput{UserName: name, ServiceSpecificCredentialId: &id})
				return err
			}},
		{"must delete policies first.",
			func() { w.AddInlinePolicy(*name, "p", denyAfter) },
			func() (int, error) {
				out, err := w.iam.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: name})
				return len(out.PolicyNames), err
			},
			func() error {
				_, err := w.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: ptr("p")})
				return err
			}},
		{"must detach all policies first.",
			func() { w.AttachPolicy(*name, readOnly) },
			func() (int, error) {
				out, err := w.iam.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: name})
				return len(out.AttachedPolicies), err
			},
			func() error {
				_, err := w.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: ptr(readOnly)})
				return err
			}},
		{"must remove users from group first.",
			func() { w.AddToGroup(*name, "readers") },
			func() (int, error) {
				out, err := w.iam.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: name})
				return len(out.Groups), err
			},
			func() error {
				_, err := w.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: ptr("readers")})
				return err
			}},
	} {
		t.Run(test.message, func(t *testing.T) {
			w := w.in(t)
			w.user(*name)
			test.add()
			n, err := test.list()
			w.want(err, "")
			if n != 1 {
				t.Errorf("listed %d", n)
			}
			_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
			w.wantMessage(err, "DeleteConflict", "Cannot delete entity, "+test.message)
			w.want(test.remove(), "")
			_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
			w.want(err, "")
		})
	}
	if w.identity(id, secret, "") == nil || len(w.Users()) != 0 {
		t.Error("an entity is left")
	}
}

// A virtual device must be deleted separately.
func TestVirtualMFADeviceOutlivesItsUser(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	serial := w.AddMFADevice("alice", true)
	_, err := w.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: &serial})
	w.want(err, "DeleteConflict")
	_, err = w.iam.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: ptr("alice"), SerialNumber: &serial})
	w.want(err, "")
	_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: ptr("alice")})
	w.want(err, "")
	if left := w.VirtualMFADevices(); len(left) != 1 || left[0] != serial {
		t.Errorf("devices: %v", left)
	}
	_, err = w.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: &serial})
	w.want(err, "")
	_, err = w.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: &serial})
	w.want(err, "NoSuchEntity")
	if left := w.VirtualMFADevices(); len(left) != 0 {
		t.Errorf("devices: %v", left)
	}
}
