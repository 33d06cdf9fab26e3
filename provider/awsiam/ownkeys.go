package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// OwnKeys implements [provider.KeyRotator].
func (a *account) OwnKeys(ctx context.Context) ([]string, error) { return a.listKeys(ctx, nil, false) }

// CreateOwnKey implements [provider.KeyRotator].
func (a *account) CreateOwnKey(ctx context.Context) (messages.Credentials, error) {
	out, err := a.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{}, a.retryer.once)
	if err != nil {
		return messages.Credentials{}, failure("CreateAccessKey", err)
	}
	k := out.AccessKey
	if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
		return messages.Credentials{}, &provider.Error{Kind: provider.Unavailable, Op: "CreateAccessKey", Err: awserr.ErrIncomplete}
	}
	return messages.Credentials{
		AccessKeyID: *k.AccessKeyId, SecretAccessKey: messages.NewSensitive(*k.SecretAccessKey),
		Username: aws.ToString(k.UserName), Region: a.connection.Region,
	}, nil
}

// DeleteOwnKey implements [provider.KeyRotator].
func (a *account) DeleteOwnKey(ctx context.Context, accessKeyID string) error {
	ctx = throttle.WithPriority(ctx, throttle.EndAccess)
	return ignore(a.run(ctx, a.deleteKey(nil, accessKeyID)), awserr.NoSuchEntity)
}
