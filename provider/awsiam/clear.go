package awsiam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// clear removes everything that keeps AWS from deleting a user. It tries every
// kind, whatever became of the others, and returns the first error.
func (a *account) clear(ctx context.Context, user string) error {
	var first error
	note := func(err error) {
		if err = ignore(err, noSuchEntity); err != nil && first == nil {
			first = err
		}
	}
	note(a.deleteKeys(ranked(ctx, rankKeys), user, false))
	note(a.run(ctx, ctx, step{op: "DeleteLoginProfile", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: aws.String(user)})
		return err
	}}))
	for _, h := range holdings {
		note(a.clearKind(ctx, user, h))
	}
	return first
}

// holding is a kind of things that a user holds.
type holding struct {
	name string
	// list returns one page and the marker of the next; nil is the last.
	list   func(ctx context.Context, c *iam.Client, user, marker *string) (things []string, next *string, err error)
	remove func(ctx context.Context, c *iam.Client, user *string, thing string) error
}

// clearKind lists all things of a kind, and then removes them.
func (a *account) clearKind(ctx context.Context, user string, h holding) error {
	var things []string
	list := step{op: "List" + h.name, do: func(ctx context.Context) error {
		things = nil
		for marker := (*string)(nil); ; {
			page, next, err := h.list(ctx, a.iam, aws.String(user), marker)
			if err != nil {
				return err
			}
			things = append(things, page...)
			if marker = next; aws.ToString(marker) == "" {
				return nil
			}
		}
	}}
	if err := a.run(ctx, ctx, list); err != nil {
		return err
	}
	var first error
	for _, thing := range things {
		err := a.run(ctx, ctx, step{op: "the removal of " + h.name, do: func(ctx context.Context) error {
			return ignore(h.remove(ctx, a.iam, aws.String(user), thing), noSuchEntity)
		}})
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// isVirtual tells virtual MFA devices, which are deleted, from real ones, which
// are only taken from the user. The serial number of a virtual one is its ARN,
// "arn:aws:iam::123456789012:mfa/…".
func isVirtual(serial string) bool { return strings.Contains(serial, ":mfa/") }
