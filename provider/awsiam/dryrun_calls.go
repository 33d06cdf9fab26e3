package awsiam

import (
	"cmp"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
)

// The calls that [account.DryRun] makes between CreateUser and DeleteUser.

// dryCalls returns the calls of steps about a new user. about are what they are about,
// beginning with the step of index first.
func dryCalls(steps []step, first int, about ...string) []dryCall {
	list := make([]dryCall, len(steps))
	for i, s := range steps {
		s.awaitUser = true
		list[i].step = s
	}
	for i, on := range about {
		list[first+i].on = on
	}
	return list
}

// policiesAndGroups returns the managed policies and the groups of a user.
func policiesAndGroups(u record.User) []string {
	return append(append([]string(nil), u.ManagedPolicies...), u.Groups...)
}

// additionCalls returns the calls that Create makes after CreateUser.
func (a *account) additionCalls(c provider.Creation, policy string, key *messages.Credentials) []dryCall {
	first := 0
	if policy != "" {
		first = 1
	}
	return dryCalls(a.additions(c, policy, key), first, policiesAndGroups(c.User)...)
}

// readCalls returns the calls that change nothing: those with which the clearing of a user
// begins, and those that find orphans.
func (a *account) readCalls(name string) []dryCall {
	user := aws.String(name)
	read := func(op string, do func(context.Context) error) step { return step{op: op, do: do} }
	steps := []step{
		read("GetUser", func(ctx context.Context) error {
			_, err := a.iam.GetUser(ctx, &iam.GetUserInput{UserName: user})
			return err
		}),
		read("ListUserTags", func(ctx context.Context) error {
			_, err := a.iam.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: user})
			return err
		}),
		read("ListAccessKeys", func(ctx context.Context) error {
			_, err := a.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: user})
			return err
		}),
	}
	for _, k := range attachmentKinds {
		steps = append(steps, read("List"+k.name, func(ctx context.Context) error {
			_, _, err := k.list(ctx, a.iam, user, nil)
			return err
		}))
	}
	return dryCalls(steps, 0)
}

// changeCalls returns the calls that may change a user later: an attempt takes it over,
// and Extend moves its Deny. A user without a Deny may still be denied everything when its
// key cannot be deleted.
func (a *account) changeCalls(c provider.Creation, policy string) []dryCall {
	why := "renewal"
	if c.DenyAfter.IsZero() {
		why, policy = "revocation", definition.DenyAll
	}
	tag := step{op: "TagUser", do: func(ctx context.Context) error {
		_, err := a.iam.TagUser(ctx, &iam.TagUserInput{UserName: aws.String(c.User.Name), Tags: []types.Tag{attemptTag(c.Owner)}})
		return err
	}}
	return dryCalls([]step{tag, a.putPolicy(c.User.Name, policy)}, 1, why)
}

// removalCalls returns the calls that Delete makes before DeleteUser.
func (a *account) removalCalls(c provider.Creation, keyID string) []dryCall {
	d := provider.Deletion{User: c.User, Owner: c.Owner, AccessKeyID: keyID}
	d.User.HardExpiry = messages.HardExpiryLease // changeCalls has put an inline policy in any case
	key := allowMissing(a.deleteKey(aws.String(c.User.Name), cmp.Or(keyID, "AKIALESSORCHECK00000")))
	return dryCalls(append([]step{key}, a.removals(d)...), 1, policiesAndGroups(c.User)...)
}

// clearingCalls returns the removals of what operators, and AWS itself, may have added to a
// user, with the names of things that do not exist.
func (a *account) clearingCalls(name string, self provider.Principal, selfErr error) []dryCall {
	user, nothing := aws.String(name), aws.String("LESSORCHECK0000000000000")
	partition := definition.PartitionOf(a.connection.Region)
	device := aws.String("arn:" + partition + ":iam::" + self.Account + ":mfa/lessor-check")
	quarantine := "arn:" + partition + ":iam::aws:policy/AWSCompromisedKeyQuarantineV3"
	steps := []step{
		{op: "DetachUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user, PolicyArn: aws.String(quarantine)})
			return err
		}},
		{op: "DeleteLoginProfile", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: user})
			return err
		}},
		{op: "DeleteSigningCertificate", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: user, CertificateId: nothing})
			return err
		}},
		{op: "DeleteSSHPublicKey", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: user, SSHPublicKeyId: nothing})
			return err
		}},
		{op: "DeleteServiceSpecificCredential", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteServiceSpecificCredential(ctx,
				&iam.DeleteServiceSpecificCredentialInput{UserName: user, ServiceSpecificCredentialId: nothing})
			return err
		}},
		{op: "DeactivateMFADevice", do: func(ctx context.Context) error {
			_, err := a.iam.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: user, SerialNumber: device})
			return err
		}},
		{op: "DeleteVirtualMFADevice", do: func(ctx context.Context) error {
			if selfErr != nil {
				return selfErr // the account in the device's ARN is not known
			}
			_, err := a.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: device})
			return err
		}},
	}
	for i := range steps {
		steps[i] = allowMissing(steps[i])
	}
	return dryCalls(steps, 0, quarantine)
}

// allowMissing returns the removal of something that does not exist as a step that succeeds
// if AWS allows it: AWS checks permissions first. Any other error about the missing thing is
// ignored, but not that the user does not exist.
func allowMissing(s step) step {
	remove := s.do
	s.do = func(ctx context.Context) error {
		err := remove(ctx)
		if err != nil && !isUserMissing(err) && failure(s.op, err).Kind == provider.Rejected {
			return nil
		}
		return err
	}
	return s
}

// listUsersCall returns the call that finds orphans.
func (a *account) listUsersCall(path string) dryCall {
	return dryCall{step: step{op: "ListUsers", do: func(ctx context.Context) error {
		_, err := a.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: optional(path), MaxItems: aws.Int32(1)})
		return err
	}}}
}
