package awsiam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// clear removes everything that keeps AWS from deleting a user. It tries every kind of
// attachment even if another has failed, and returns the first error.
func (a *account) clear(ctx context.Context, user string) error {
	var first error
	note := func(err error) {
		if err = ignore(err, awserr.NoSuchEntity); err != nil && first == nil {
			first = err
		}
	}
	note(a.deleteKeys(throttle.WithPriority(ctx, throttle.EndAccess), user, false))
	note(a.run(ctx, step{op: "DeleteLoginProfile", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: aws.String(user)})
		return err
	}}))
	for _, k := range attachmentKinds {
		note(a.clearKind(ctx, user, k))
	}
	return first
}

// clearKind lists everything of one kind that is attached to a user, and removes it.
func (a *account) clearKind(ctx context.Context, user string, k attachmentKind) error {
	var ids []string
	list := step{op: "List" + k.name, do: func(ctx context.Context) error {
		ids = nil
		for marker := (*string)(nil); ; {
			page, next, err := k.list(ctx, a.iam, aws.String(user), marker)
			if err != nil {
				return err
			}
			ids = append(ids, page...)
			if marker = next; aws.ToString(marker) == "" {
				return nil
			}
		}
	}}
	if err := a.run(ctx, list); err != nil {
		return err
	}
	var first error
	for _, id := range ids {
		err := a.run(ctx, step{op: "the removal of " + k.name, do: func(ctx context.Context) error {
			return ignore(k.remove(ctx, a.iam, aws.String(user), id), awserr.NoSuchEntity)
		}})
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// isVirtual reports whether an MFA device is virtual. Virtual devices are deleted, others
// are deactivated only. The serial number of a virtual device is its ARN,
// "arn:aws:iam::123456789012:mfa/…".
func isVirtual(serial string) bool { return strings.Contains(serial, ":mfa/") }
