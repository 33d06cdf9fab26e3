package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
)

// usersPage is the largest page of ListUsers
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUsers.html).
const usersPage = 1000

// Users lists the users below a path. ListUsers returns no tags.
func (a *account) ListUsers(ctx context.Context, path, marker string) ([]provider.ListedUser, string, error) {
	var users []provider.ListedUser
	next := ""
	err := a.run(ctx, ctx, step{op: "ListUsers", do: func(ctx context.Context) error {
		out, err := a.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: optional(path), Marker: optional(marker), MaxItems: aws.Int32(usersPage)})
		if err != nil {
			return err
		}
		users, next = nil, ""
		if out.IsTruncated {
			next = aws.ToString(out.Marker)
		}
		for _, u := range out.Users {
			users = append(users, provider.ListedUser{Name: aws.ToString(u.UserName), Path: aws.ToString(u.Path), CreatedAt: aws.ToTime(u.CreateDate)})
		}
		return nil
	}})
	return users, next, err
}

// OwnerOf reads a user's tags.
func (a *account) OwnerOf(ctx context.Context, username string) (provider.Owner, bool, error) {
	user, err := a.getUser(ctx, username, false)
	if code(err) == noSuchEntity {
		return provider.Owner{}, false, nil
	}
	if err != nil {
		return provider.Owner{}, false, err
	}
	o := provider.Owner{Installation: tagValue(user, tagInstallation), Lease: tagValue(user, tagLease), Attempt: attemptOf(user)}
	return o, o.Installation != "", nil
}
