package awsiam

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Extend sets the date of the expiry's Deny. It may be repeated. A user that does
// not exist is Rejected; so is a zero date, which would lift the Deny, and so is a
// session.
func (a *account) Extend(ctx context.Context, user record.User, denyAfter time.Time) error {
	if user.IsSession() {
		return &provider.Error{Kind: provider.Rejected, Op: "the renewal", Err: errNotRenewable}
	}
	policy, err := compose(user.InlinePolicy, denyAfter)
	if err == nil && denyAfter.IsZero() {
		err = errors.New("no date")
	}
	if err != nil {
		return &provider.Error{Kind: provider.Rejected, Op: "the inline policy", Err: err}
	}
	ctx = ranked(ctx, rankRenew)
	return a.run(ctx, ctx, a.putPolicy(user.Name, policy))
}

// Probe returns nil if STS knows the key. A key that it does not know, because it
// is new or because it is gone, is NotVisible.
func (a *account) Probe(ctx context.Context, c messages.Credentials) error {
	own := credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal())
	_, err := a.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
		o.Credentials = aws.CredentialsProvider(own)
	})
	if err == nil {
		return nil
	}
	e := failure("GetCallerIdentity", err)
	if code(err) == "InvalidClientTokenId" {
		e.Kind = provider.NotVisible
	}
	return e
}
