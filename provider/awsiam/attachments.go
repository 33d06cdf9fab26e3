package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// attachmentKind is a kind of thing that keeps AWS from deleting the user that it is
// attached to.
type attachmentKind struct {
	name string // as in the name of the list call
	// list returns the ids of one page, and the marker of the next; nil follows the last
	// page.
	list   func(ctx context.Context, c *iam.Client, user, marker *string) (ids []string, next *string, err error)
	remove func(ctx context.Context, c *iam.Client, user *string, id string) error
}

// attachmentKinds are seven of the nine kinds. Access keys and the login profile are the
// other two.
var attachmentKinds = []attachmentKind{
	{
		name: "SigningCertificates",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (ids []string, _ *string, _ error) {
			out, err := c.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.Certificates {
				ids = append(ids, aws.ToString(x.CertificateId))
			}
			return ids, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, id string) error {
			_, err := c.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: user, CertificateId: &id})
			return err
		},
	},
	{
		name: "SSHPublicKeys",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (ids []string, _ *string, _ error) {
			out, err := c.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.SSHPublicKeys {
				ids = append(ids, aws.ToString(x.SSHPublicKeyId))
			}
			return ids, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, id string) error {
			_, err := c.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: user, SSHPublicKeyId: &id})
			return err
		},
	},
	{
		name: "ServiceSpecificCredentials",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (ids []string, _ *string, _ error) {
			out, err := c.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.ServiceSpecificCredentials {
				ids = append(ids, aws.ToString(x.ServiceSpecificCredentialId))
			}
			return ids, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, id string) error {
			_, err := c.DeleteServiceSpecificCredential(ctx,
				&iam.DeleteServiceSpecificCredentialInput{UserName: user, ServiceSpecificCredentialId: &id})
			return err
		},
	},
	{
		name: "MFADevices",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (serials []string, _ *string, _ error) {
			out, err := c.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.MFADevices {
				serials = append(serials, aws.ToString(x.SerialNumber))
			}
			return serials, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, serial string) error {
			_, err := c.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: user, SerialNumber: &serial})
			if ignore(err, awserr.NoSuchEntity) != nil || !isVirtual(serial) {
				return err
			}
			_, err = c.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: &serial})
			return err
		},
	},
	{
		name: "UserPolicies",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) ([]string, *string, error) {
			out, err := c.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return out.PolicyNames, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, name string) error {
			_, err := c.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user, PolicyName: &name})
			return err
		},
	},
	{
		name: "AttachedUserPolicies",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (arns []string, _ *string, _ error) {
			out, err := c.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.AttachedPolicies {
				arns = append(arns, aws.ToString(x.PolicyArn))
			}
			return arns, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, arn string) error {
			_, err := c.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user, PolicyArn: &arn})
			return err
		},
	},
	{
		name: "GroupsForUser",
		list: func(ctx context.Context, c *iam.Client, user, marker *string) (names []string, _ *string, _ error) {
			out, err := c.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			for _, x := range out.Groups {
				names = append(names, aws.ToString(x.GroupName))
			}
			return names, out.Marker, nil
		},
		remove: func(ctx context.Context, c *iam.Client, user *string, name string) error {
			_, err := c.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: user, GroupName: &name})
			return err
		},
	},
}
