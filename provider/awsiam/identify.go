package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// Identify implements [provider.Identifier] by STS GetCallerIdentity. The call has the
// highest priority, because all other calls of the connection may wait for it. From then
// on the connection shares the call budget of its account.
func (a *account) Identify(ctx context.Context) (provider.Principal, error) {
	out, err := a.sts.GetCallerIdentity(throttle.WithPriority(ctx, throttle.EndAccess), &sts.GetCallerIdentityInput{})
	if err != nil {
		return provider.Principal{}, failure("GetCallerIdentity", err)
	}
	if aws.ToString(out.Account) == "" || aws.ToString(out.Arn) == "" {
		return provider.Principal{}, &provider.Error{Kind: provider.Unavailable, Op: "GetCallerIdentity", Err: awserr.ErrIncomplete}
	}
	a.join(aws.ToString(out.Account))
	return provider.Principal{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// Probe implements [provider.Users] by STS GetCallerIdentity with the given credentials.
// The call needs no permission and succeeds despite a Deny, so that it tests the key and
// not the policies. A key that STS does not know, because it is new or deleted, is of kind
// NotVisible.
func (a *account) Probe(ctx context.Context, c messages.Credentials) error {
	own := credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal())
	_, err := a.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
		o.Credentials = aws.CredentialsProvider(own)
	})
	if err == nil {
		return nil
	}
	e := failure("GetCallerIdentity", err)
	if code(err) == awserr.InvalidClientToken {
		e.Kind = provider.NotVisible
	}
	return e
}

// Backlog implements [provider.Account].
func (a *account) Backlog() bool { return a.retryer.budget.Limiter().Backlog() }
