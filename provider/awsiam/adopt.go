package awsiam

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

var (
	errTakenOver = errors.New("a later attempt has taken the user over")
	errBoundary  = errors.New("the user's permissions boundary was changed")
)

// adopt takes over an existing user whose tags state that it belongs to the lease: an
// earlier attempt made it, or this one did and the answer was lost. exists is the
// error of CreateUser. Access keys of the user are deleted, because their secrets are
// lost. What the lease needs is attached afterwards, as to a new user; anything else
// that is attached was added by hand, and is removed with the user.
func (a *account) adopt(ctx context.Context, c provider.Creation, exists error) error {
	user, err := a.getUser(ctx, c.User.Name, true)
	elsewhere := err != nil && isElsewhere(c.User, err)
	if err != nil && !elsewhere {
		return withLeft(err, provider.LeftUnknown)
	}
	if elsewhere || !isOwned(user, c.Owner) {
		e := withLeft(exists, provider.LeftNothing)
		e.Kind = provider.NameTaken
		return e
	}
	if err := a.takeOver(ctx, c, user); err != nil {
		return withLeft(err, provider.LeftUser)
	}
	return nil
}

// takeOver tags the user with this attempt, and deletes its keys unless they are a
// later attempt's.
func (a *account) takeOver(ctx context.Context, c provider.Creation, user *types.User) error {
	if err := checkAdoptable(c, user); err != nil {
		return err
	}
	if attemptOf(user) < c.Owner.Attempt {
		claim := step{op: "TagUser", awaitUser: true, do: func(ctx context.Context) error {
			_, err := a.iam.TagUser(ctx, &iam.TagUserInput{UserName: aws.String(c.User.Name), Tags: []types.Tag{attemptTag(c.Owner)}})
			return err
		}}
		if err := a.run(ctx, claim); err != nil {
			return err
		}
	}
	return a.deleteLostKeys(ctx, c)
}

// checkAdoptable returns the reason why a user of the lease must not be taken over.
func checkAdoptable(c provider.Creation, user *types.User) error {
	if attemptOf(user) > c.Owner.Attempt {
		return &provider.Error{Kind: provider.Unavailable, Op: "CreateUser", Code: awserr.AlreadyExists, Err: errTakenOver}
	}
	boundary := ""
	if user.PermissionsBoundary != nil {
		boundary = aws.ToString(user.PermissionsBoundary.PermissionsBoundaryArn)
	}
	if boundary != c.User.Boundary {
		return &provider.Error{Kind: provider.Rejected, Op: "CreateUser", Code: awserr.AlreadyExists, Err: errBoundary}
	}
	return nil
}
