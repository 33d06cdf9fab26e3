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
)

// The calls that [account.DryRun] makes between CreateUser and DeleteUser.

// attempts are steps about a user that was made just now, about is what they are
// about, from the one with the index first on.
func attempts(steps []step, first int, about ...string) []attempt {
	list := make([]attempt, len(steps))
	for i, s := range steps {
		s.awaitUser = true
		list[i].step = s
	}
	for i, on := range about {
		list[first+i].on = on
	}
	return list
}

// attachments are what a user has several of.
func attachments(u record.User) []string {
	return append(append([]string(nil), u.ManagedPolicies...), u.Groups...)
}

// gifts are what Create gives.
func (a *account) gifts(c provider.Creation, policy string, key *messages.Credentials) []attempt {
	first := 0
	if policy != "" {
		first = 1
	}
	return attempts(a.additions(c, policy, key), first, attachments(c.User)...)
}

// reads are the calls that only look: those that the slow path of a deletion
// begins with, and those that find users whose lease is gone.
func (a *account) reads(name string) []attempt {
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
	for _, h := range holdings {
		steps = append(steps, read("List"+h.name, func(ctx context.Context) error {
			_, _, err := h.list(ctx, a.iam, user, nil)
			return err
		}))
	}
	return attempts(steps, 0)
}

// changes are what may happen to a user later: an attempt takes it over, and
// Extend moves its end. A user that has no end may still be denied everything, when
// its key can't be deleted.
func (a *account) changes(c provider.Creation, policy string) []attempt {
	why := "renewal"
	if c.DenyAfter.IsZero() {
		why, policy = "revocation", denyAll
	}
	tag := step{op: "TagUser", do: func(ctx context.Context) error {
		_, err := a.iam.TagUser(ctx, &iam.TagUserInput{UserName: aws.String(c.User.Name), Tags: []types.Tag{attemptTag(c.Owner)}})
		return err
	}}
	return attempts([]step{tag, a.putPolicy(c.User.Name, policy)}, 1, why)
}

// undoings are what Delete does before DeleteUser.
func (a *account) undoings(c provider.Creation, keyID string) []attempt {
	d := provider.Deletion{User: c.User, Owner: c.Owner, AccessKeyID: keyID}
	d.User.HardExpiry = messages.HardExpiryLease // the probe has an inline policy in any case
	key := absent(a.deleteKey(c.User.Name, cmp.Or(keyID, "AKIALESSORCHECK00000")))
	return attempts(append([]step{key}, a.removals(d)...), 1, attachments(c.User)...)
}

// clearances are the removals of what only people, and AWS itself, add to users,
// with names of nothing that there is.
func (a *account) clearances(name string, self provider.Principal, selfErr error) []attempt {
	user, nothing := aws.String(name), aws.String("LESSORCHECK0000000000000")
	partition := partitionOf(a.connection.Region)
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
				return selfErr // whose device it would be
			}
			_, err := a.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: device})
			return err
		}},
	}
	for i := range steps {
		steps[i] = absent(steps[i])
	}
	return attempts(steps, 0, quarantine)
}

// absent makes of the removal of something that does not exist one that succeeds
// if it is allowed: AWS looks at the rights first. What else it says about a thing
// that does not exist is of no interest; that the user does not is.
func absent(s step) step {
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

// listUsers is how users are found whose lease is gone.
func (a *account) listUsers(path string) attempt {
	return attempt{step: step{op: "ListUsers", do: func(ctx context.Context) error {
		_, err := a.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: optional(path), MaxItems: aws.Int32(1)})
		return err
	}}}
}
