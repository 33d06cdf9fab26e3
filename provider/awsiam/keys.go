package awsiam

import (
	"context"
	"errors"
	"net/http/httptrace"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// createKey returns the step that makes the user's key. If the result of an attempt is
// not known, or if the user has too many keys, the next attempt first deletes all keys
// of the user, because their secrets are lost.
func (a *account) createKey(c provider.Creation, credentials *messages.Credentials) step {
	clean := true
	return step{op: "CreateAccessKey", createsKey: true, do: func(ctx context.Context) error {
		if !clean {
			if err := a.deleteLostKeys(ctx, c); err != nil {
				return err
			}
		}
		var t tracker
		out, err := a.iam.CreateAccessKey(t.track(ctx), &iam.CreateAccessKeyInput{UserName: aws.String(c.User.Name)}, a.retryer.once)
		clean = !t.ambiguous.Load() && code(err) != awserr.LimitExceeded
		if err != nil {
			return err
		}
		k := out.AccessKey
		if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
			clean = false
			return awserr.ErrIncomplete
		}
		*credentials = messages.Credentials{
			AccessKeyID:     *k.AccessKeyId,
			SecretAccessKey: messages.NewSensitive(*k.SecretAccessKey),
			Username:        c.User.Name,
			Region:          a.connection.Region,
		}
		return nil
	}}
}

// deleteLostKeys deletes the user's keys, unless a later attempt has taken the lease
// over: then they may be that attempt's. The keys are listed before the record is read.
// A later attempt writes the record before it makes its key, so that none of the listed
// keys is that attempt's if the record is still this one's. The user's tag is not
// enough: a delayed TagUser of an earlier attempt may have overwritten a later one.
func (a *account) deleteLostKeys(ctx context.Context, c provider.Creation) error {
	ids, err := a.listKeys(ctx, aws.String(c.User.Name), true)
	if err != nil {
		return err
	}
	user, err := a.getUser(ctx, c.User.Name, true)
	if err != nil {
		return err
	}
	if !isOwned(user, c.Owner) || attemptOf(user) > c.Owner.Attempt {
		return &provider.Error{Kind: provider.Unavailable, Op: "CreateAccessKey", Err: errTakenOver}
	}
	if c.StillCurrent != nil {
		if err := c.StillCurrent(ctx); err != nil {
			return &provider.Error{Kind: provider.Unavailable, Op: "CreateAccessKey", Err: errors.Join(errTakenOver, err)}
		}
	}
	return a.deleteListed(ctx, c.User.Name, ids)
}

// deleteKeys deletes all keys of a user.
func (a *account) deleteKeys(ctx context.Context, user string, awaitUser bool) error {
	ids, err := a.listKeys(ctx, aws.String(user), awaitUser)
	if err != nil {
		return err
	}
	return a.deleteListed(ctx, user, ids)
}

// listKeys returns the ids of all keys of a user; nil means the broker's own user.
func (a *account) listKeys(ctx context.Context, user *string, awaitUser bool) ([]string, error) {
	var ids []string
	list := step{op: "ListAccessKeys", awaitUser: awaitUser, do: func(ctx context.Context) error {
		ids = nil
		pages := iam.NewListAccessKeysPaginator(a.iam, &iam.ListAccessKeysInput{UserName: user})
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
	}}
	err := a.run(ctx, list)
	return ids, err
}

// deleteListed deletes the given keys of a user. A key that does not exist is no error.
func (a *account) deleteListed(ctx context.Context, user string, ids []string) error {
	var steps []step
	for _, id := range ids {
		s := a.deleteKey(aws.String(user), id)
		remove := s.do
		s.do = func(ctx context.Context) error { return ignore(remove(ctx), awserr.NoSuchEntity) }
		steps = append(steps, s)
	}
	return a.together(ctx, steps)
}

// deleteKey returns the step that deletes one key of a user; nil means the broker's own
// user.
func (a *account) deleteKey(user *string, id string) step {
	return step{op: "DeleteAccessKey", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: user, AccessKeyId: aws.String(id)})
		return err
	}}
}

// whenWritten returns a context that calls f when a request made with it has been
// written to the connection. f may be called more than once.
func whenWritten(ctx context.Context, f func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { f() },
	})
}
