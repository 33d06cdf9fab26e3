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
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// missing returns err, the error of a call about a user, or NoSuchEntity if AWS has denied
// the call because the user does not exist. A principal whose permissions are limited to a
// path is denied every call about a missing user, since IAM does not know its path. The
// denial alone proves nothing, so missing lists the users of the path, which is allowed for
// any path. If the denial contains the user's ARN, AWS has found the user; it was moved to
// another path.
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
		Code: awserr.NoSuchEntity, Message: "The user is not among those of its path.",
	}, e.Err))
}

// isListed reports whether a user is below a path.
func (a *account) isListed(ctx context.Context, path, name string) (listed bool, err error) {
	err = a.run(ctx, step{op: "ListUsers", do: func(ctx context.Context) error {
		pages := iam.NewListUsersPaginator(a.iam, &iam.ListUsersInput{PathPrefix: &path, MaxItems: aws.Int32(maxUsersPage)})
		for listed = false; !listed && pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			listed = slices.ContainsFunc(page.Users, func(x types.User) bool { return strings.EqualFold(aws.ToString(x.UserName), name) })
		}
		return nil
	}})
	return listed, err
}

// isElsewhere reports whether a denial states that the user exists below another path.
func isElsewhere(u record.User, err error) bool {
	e := provider.AsError(err)
	arn := strings.ToLower(e.Resource)
	return e.Kind == provider.Denied && strings.HasSuffix(arn, strings.ToLower("/"+u.Name)) &&
		!strings.HasSuffix(arn, strings.ToLower(":user"+cmp.Or(u.Path, "/")+u.Name))
}
