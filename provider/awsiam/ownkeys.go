package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// OwnKeys returns the ids of the access keys of the broker's own user.
func (a *account) OwnKeys(ctx context.Context) ([]string, error) {
	var ids []string
	err := a.run(ctx, ctx, step{op: "ListAccessKeys", do: func(ctx context.Context) error {
		ids = nil
		pages := iam.NewListAccessKeysPaginator(a.iam, &iam.ListAccessKeysInput{})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, k := range page.AccessKeyMetadata {
				ids = append(ids, aws.ToString(k.AccessKeyId))
			}
		}
		return nil
	}})
	return ids, err
}

// CreateOwnKey makes another access key for the broker's own user. It makes one
// attempt: after an error there may be a key that nobody knows the secret of.
func (a *account) CreateOwnKey(ctx context.Context) (messages.Credentials, error) {
	out, err := a.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{}, a.calls.once)
	if err != nil {
		return messages.Credentials{}, failure("CreateAccessKey", err)
	}
	k := out.AccessKey
	if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
		return messages.Credentials{}, &provider.Error{Kind: provider.Unavailable, Op: "CreateAccessKey", Err: errIncomplete}
	}
	return messages.Credentials{
		AccessKeyID: *k.AccessKeyId, SecretAccessKey: messages.NewSensitive(*k.SecretAccessKey),
		Username: aws.ToString(k.UserName), Region: a.connection.Region,
	}, nil
}

// DeleteOwnKey deletes an access key of the broker's own user. That it is gone is
// no error.
func (a *account) DeleteOwnKey(ctx context.Context, accessKeyID string) error {
	ctx = ranked(ctx, rankKeys)
	err := a.run(ctx, ctx, step{op: "DeleteAccessKey", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{AccessKeyId: aws.String(accessKeyID)})
		return err
	}})
	return ignore(err, noSuchEntity)
}
