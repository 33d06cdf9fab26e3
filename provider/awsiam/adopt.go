package awsiam

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider"
)

var (
	errTakenOver = errors.New("a later attempt has taken the user over")
	errBoundary  = errors.New("somebody has changed the user's permissions boundary")
)

// adopt takes over a user that exists already, if its tags say that it is the
// lease's: an earlier attempt made it, or this one did and the answer was lost.
// exists is CreateUser's error. Keys of unknown secret are deleted. Whatever else
// the lease wants is put on the user later, as on a new one; what the lease does
// not want can only come from people, and goes with the user.
func (a *account) adopt(ctx context.Context, c provider.Creation, exists error) error {
	user, err := a.getUser(ctx, c.User.Name, true)
	elsewhere := err != nil && isElsewhere(c.User, err)
	if err != nil && !elsewhere {
		return left(err, provider.LeftUnknown)
	}
	if elsewhere || !isOwned(user, c.Owner) {
		e := left(exists, provider.LeftNothing).(*provider.Error)
		e.Kind = provider.NameTaken
		return e
	}
	if err := a.takeOver(ctx, c, user); err != nil {
		return left(err, provider.LeftUser)
	}
	return nil
}

// takeOver claims the user for this attempt, and deletes the keys that it has and
// that are no later attempt's.
func (a *account) takeOver(ctx context.Context, c provider.Creation, user *types.User) error {
	if err := mayAdopt(c, user); err != nil {
		return err
	}
	if attemptOf(user) < c.Owner.Attempt {
		claim := step{op: "TagUser", awaitUser: true, do: func(ctx context.Context) error {
			_, err := a.iam.TagUser(ctx, &iam.TagUserInput{UserName: aws.String(c.User.Name), Tags: []types.Tag{attemptTag(c.Owner)}})
			return err
		}}
		if err := a.run(ctx, ctx, claim); err != nil {
			return err
		}
	}
	return a.deleteUnknownKeys(ctx, c)
}

// mayAdopt says why a user of the lease's can't be taken over, if it can't.
func mayAdopt(c provider.Creation, user *types.User) error {
	if attemptOf(user) > c.Owner.Attempt {
		return &provider.Error{Kind: provider.Unavailable, Op: "CreateUser", Code: alreadyExists, Err: errTakenOver}
	}
	boundary := ""
	if user.PermissionsBoundary != nil {
		boundary = aws.ToString(user.PermissionsBoundary.PermissionsBoundaryArn)
	}
	if boundary != c.User.Boundary {
		return &provider.Error{Kind: provider.Rejected, Op: "CreateUser", Code: alreadyExists, Err: errBoundary}
	}
	return nil
}
