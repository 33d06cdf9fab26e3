package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/provider"
)

// Identify asks STS who the connection's principal is. The call needs no
// permission. It goes first, because all others of a connection may wait for it.
// The connection shares its account's limiter from then on.
func (a *account) Identify(ctx context.Context) (provider.Principal, error) {
	out, err := a.sts.GetCallerIdentity(ranked(ctx, rankKeys), &sts.GetCallerIdentityInput{})
	if err != nil {
		return provider.Principal{}, failure("GetCallerIdentity", err)
	}
	if aws.ToString(out.Account) == "" || aws.ToString(out.Arn) == "" {
		return provider.Principal{}, &provider.Error{Kind: provider.Unavailable, Op: "GetCallerIdentity", Err: errIncomplete}
	}
	a.join(aws.ToString(out.Account))
	return provider.Principal{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// Backlog is described at [provider.Account].
func (a *account) Backlog() bool { return a.calls.budget.now().backlog() }
