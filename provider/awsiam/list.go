package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// maxUsersPage is the largest page of ListUsers
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUsers.html).
const maxUsersPage = 1000

// ListUsers implements [provider.Lister]. AWS returns no tags with the users.
func (a *account) ListUsers(ctx context.Context, path, marker string) ([]provider.ListedUser, string, error) {
	var users []provider.ListedUser
	next := ""
	err := a.run(ctx, step{op: "ListUsers", do: func(ctx context.Context) error {
		out, err := a.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: optional(path), Marker: optional(marker), MaxItems: aws.Int32(maxUsersPage)})
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

// OwnerOf implements [provider.Lister] by the user's tags.
func (a *account) OwnerOf(ctx context.Context, username string) (provider.Owner, bool, error) {
	user, err := a.getUser(ctx, username, false)
	if code(err) == awserr.NoSuchEntity {
		return provider.Owner{}, false, nil
	}
	if err != nil {
		return provider.Owner{}, false, err
	}
	o := provider.Owner{
		Installation: tagValue(user, definition.TagInstallation), Lease: tagValue(user, definition.TagLease), Attempt: attemptOf(user),
	}
	return o, o.Installation != "", nil
}
