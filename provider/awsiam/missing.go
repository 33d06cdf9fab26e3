package awsiam

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// missing is the error of a call about a user, or NoSuchEntity where AWS has
// denied that call because there is no such user: who has rights to users of one
// path has none to a user whose path is not known. A denial alone proves nothing,
// so the users of the path are listed, which is allowed whatever the path. By its
// ARN AWS names a user that it has found, if only where a person has moved it.
func (a *account) missing(ctx context.Context, u record.User, err error) error {
	if err == nil {
		return nil
	}
	e := provider.AsError(err)
	if e.Kind != provider.Denied || e.Unsigned || e.Resource != "" {
		return err
	}
	if there, unknown := a.isListed(ctx, cmp.Or(u.Path, "/"), u.Name); unknown != nil || there {
		return err
	}
	return failure(e.Op, fmt.Errorf("%w: %w", &smithy.GenericAPIError{
		Code: noSuchEntity, Message: "The user is not among those of its path.",
	}, e.Err))
}

// isListed says whether there is a user of a path.
func (a *account) isListed(ctx context.Context, path, name string) (there bool, err error) {
	err = a.run(ctx, ctx, step{op: "ListUsers", do: func(ctx context.Context) error {
		pages := iam.NewListUsersPaginator(a.iam, &iam.ListUsersInput{PathPrefix: &path, MaxItems: aws.Int32(1000)})
		for there = false; !there && pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			there = slices.ContainsFunc(page.Users, func(x types.User) bool { return strings.EqualFold(aws.ToString(x.UserName), name) })
		}
		return nil
	}})
	return there, err
}

// isElsewhere says of a denial that AWS has found the user, below another path.
func isElsewhere(u record.User, err error) bool {
	e := provider.AsError(err)
	arn := strings.ToLower(e.Resource)
	return e.Kind == provider.Denied && strings.HasSuffix(arn, strings.ToLower("/"+u.Name)) &&
		!strings.HasSuffix(arn, strings.ToLower(":user"+cmp.Or(u.Path, "/")+u.Name))
}
