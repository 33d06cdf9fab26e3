package awsiam

import (
	"context"
	"errors"
	"net/http/httptrace"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// createKey is the step that makes the user's key. When it is not known what
// became of a try, or when the user has too many keys, the next one begins by
// deleting all that there are: nobody knows their secrets.
func (a *account) createKey(c provider.Creation, credentials *messages.Credentials) step {
	clean := true
	return step{op: "CreateAccessKey", keyed: true, do: func(ctx context.Context) error {
		if !clean {
			if err := a.deleteUnknownKeys(ctx, c); err != nil {
				return err
			}
		}
		var o outcome
		out, err := a.iam.CreateAccessKey(o.follow(ctx), &iam.CreateAccessKeyInput{UserName: aws.String(c.User.Name)}, a.calls.once)
		clean = !o.unsure.Load() && code(err) != limitExceeded
		if err != nil {
			return err
		}
		k := out.AccessKey
		if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
			clean = false
			return errIncomplete
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

// deleteUnknownKeys deletes the user's keys, unless a later attempt has taken the
// lease over: then they may be its keys, and known. The keys are listed before
// the record is asked: whoever takes over writes the record before it makes its
// key, so a list that is older than the answer has not that key. The tag alone
// would not do: a slow claim of an earlier attempt may have come over a later one.
func (a *account) deleteUnknownKeys(ctx context.Context, c provider.Creation) error {
	ids, err := a.listKeys(ctx, c.User.Name, true)
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
	ids, err := a.listKeys(ctx, user, awaitUser)
	if err != nil {
		return err
	}
	return a.deleteListed(ctx, user, ids)
}

// listKeys returns the ids of all keys of a user.
func (a *account) listKeys(ctx context.Context, user string, awaitUser bool) ([]string, error) {
	var ids []string
	list := step{op: "ListAccessKeys", awaitUser: awaitUser, do: func(ctx context.Context) error {
		ids = nil
		pages := iam.NewListAccessKeysPaginator(a.iam, &iam.ListAccessKeysInput{UserName: aws.String(user)})
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
	err := a.run(ctx, ctx, list)
	return ids, err
}

// deleteListed deletes these keys of a user; those that are gone are no error.
func (a *account) deleteListed(ctx context.Context, user string, ids []string) error {
	var steps []step
	for _, id := range ids {
		s := a.deleteKey(user, id)
		remove := s.do
		s.do = func(ctx context.Context) error { return ignore(remove(ctx), noSuchEntity) }
		steps = append(steps, s)
	}
	return a.together(ctx, steps)
}

// deleteKey is the step that deletes one key.
func (a *account) deleteKey(user, id string) step {
	return step{op: "DeleteAccessKey", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String(user), AccessKeyId: aws.String(id)})
		return err
	}}
}

// whenWritten returns a context that calls f when a request made with it is on
// the wire. f may be called more than once.
func whenWritten(ctx context.Context, f func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { f() },
	})
}
