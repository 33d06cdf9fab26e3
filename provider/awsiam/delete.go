package awsiam

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
)

// How often Delete looks at a user again.
const (
	youngLooks    = 4 // that can't be found, but is young
	conflictLooks = 4 // that AWS won't delete, because it still holds something
)

// Delete removes the user, or its key alone. It returns nil when AWS has
// acknowledged that, when there was nothing to remove, and when the user is
// somebody else's. NotVisible means that a young user could not be found: delete
// it again later.
//
// With path-scoped permissions AWS answers AccessDenied for a user that does not
// exist. Where it does, the users of the path tell.
//
// Of a session it removes the Deny that Cut has put, if any.
//
// Where calls are held back, those for the key go before all others to the account.
func (a *account) Delete(ctx context.Context, d provider.Deletion) error {
	ctx = ranked(ctx, rankTidy)
	if d.User.IsSession() {
		return a.endSession(ctx, d)
	}
	for look := 1; ; look++ {
		err := a.missing(ctx, d.User, a.deleteOnce(ctx, d))
		if code(err) != noSuchEntity {
			return err
		}
		if !d.Young {
			return nil
		}
		if look == youngLooks || !pause(ctx, a.backoff(look)) {
			e := *provider.AsError(err)
			e.Kind = provider.NotVisible
			return &e
		}
	}
}

// deleteOnce is Delete for what can be found. Its error has the code
// NoSuchEntity if, and only if, that is not the case.
func (a *account) deleteOnce(ctx context.Context, d provider.Deletion) error {
	if !d.OwnerKnown {
		user, err := a.getUser(ranked(ctx, rankKeys), d.User.Name, false)
		if err != nil {
			return err
		}
		if attemptOf(user) > d.Owner.Attempt {
			return nil // a later attempt's, which has it in hand
		}
		if !isOwned(user, d.Owner) {
			a.log.Warn().Str("user", d.User.Name).Str("lease", d.Owner.Lease).Msg("a user has not the lease's tags and is left alone")
			return nil
		}
	}
	if d.Mode == provider.DeleteKey {
		return a.removeKey(ctx, d, func() {})
	}
	rest := ctx
	if d.Mode == provider.Teardown || d.Mode == provider.TeardownKeyFirst {
		rest = briefly(ctx)
	}
	gone, err := a.strip(ctx, rest, d)
	if err == nil {
		err = a.deleteUser(rest, d.User.Name)
	}
	if err != nil && gone {
		e := *provider.AsError(err)
		e.KeyDeleted = true
		return &e
	}
	return err
}

// strip takes from the user what the lease has given it, and says whether AWS has
// acknowledged that the key is deleted. What is not there is no error: DeleteUser
// will tell. Calls under rest are for what is left without the key.
//
// Two round trips are enough for a user if the key and everything else are deleted
// at once, the key's call first on the wire. Where AWS then does not delete the key,
// and the broker dies before it has denied everything again, the key is alive without
// its Deny until the next try. So the key goes alone, first, where that may matter.
func (a *account) strip(ctx, rest context.Context, d provider.Deletion) (keyGone bool, err error) {
	removals := a.removals(d)
	switch {
	case d.Mode == provider.Cleanup:
		return true, a.together(rest, removals)
	case d.Mode != provider.TeardownKeyFirst && !a.Backlog():
		return a.stripAtOnce(ctx, rest, d, removals)
	}
	keyGone, err = a.removed(d, a.missing(ctx, d.User, a.removeKey(ctx, d, func() {})))
	switch {
	case err == nil:
		return keyGone, a.together(rest, removals)
	case errors.Is(err, errHeldBack) || isUnsigned(err):
		return false, err // neither would another call be made
	}
	return false, a.denyAgain(ctx, d.User.Name, err) // the policy may have gone in an earlier try
}

func (a *account) stripAtOnce(ctx, rest context.Context, d provider.Deletion, removals []step) (keyGone bool, err error) {
	written := make(chan struct{})
	key := make(chan error, 1)
	go func() {
		growStack()
		key <- a.missing(ctx, d.User, a.removeKey(ctx, d, sync.OnceFunc(func() { close(written) })))
	}()
	select {
	case <-written:
	case err := <-key:
		if keyGone, err = a.removed(d, err); err != nil {
			return false, err // nothing else was touched
		}
		return keyGone, a.together(rest, removals)
	}
	err = a.together(rest, removals)
	keyGone, keyErr := a.removed(d, <-key)
	if keyErr != nil {
		return false, a.denyAgain(ctx, d.User.Name, keyErr)
	}
	return keyGone, err
}

// removed reads what came of the deletion of a key. One that can't be found is gone,
// unless its user may be too young to be seen.
func (a *account) removed(d provider.Deletion, err error) (gone bool, failure error) {
	if code(err) == noSuchEntity {
		return !d.Young, nil
	}
	return err == nil, err
}

// removeKey deletes the lease's key, or all keys where it is not known which. A
// known key's call tells when it is on the wire; it may do so more than once.
func (a *account) removeKey(ctx context.Context, d provider.Deletion, written func()) error {
	ctx = ranked(ctx, rankKeys)
	if d.AccessKeyID == "" {
		return a.deleteKeys(ctx, d.User.Name, false)
	}
	return a.run(whenWritten(ctx, written), ctx, a.deleteKey(d.User.Name, d.AccessKeyID))
}

// removals are the steps that undo what Create did, but for user and key.
func (a *account) removals(d provider.Deletion) []step {
	name := aws.String(d.User.Name)
	var steps []step
	for _, arn := range d.User.ManagedPolicies {
		steps = append(steps, step{op: "DetachUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: aws.String(arn)})
			return ignore(err, noSuchEntity)
		}})
	}
	for _, group := range d.User.Groups {
		steps = append(steps, step{op: "RemoveUserFromGroup", do: func(ctx context.Context) error {
			_, err := a.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: aws.String(group)})
			return ignore(err, noSuchEntity)
		}})
	}
	if hasPolicy(d.User) {
		steps = append(steps, step{op: "DeleteUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String(policyName)})
			return ignore(err, noSuchEntity)
		}})
	}
	return steps
}

// denyAgain refuses everything to a user whose key may still be alive while its
// Deny may be gone. It returns keyErr. It goes on when ctx has ended, for at most
// two attempts' time: until the next try to delete the user, nothing else holds
// the key back, so it goes with the keys.
func (a *account) denyAgain(ctx context.Context, user string, keyErr error) error {
	ctx, cancel := context.WithTimeout(ranked(context.WithoutCancel(ctx), rankKeys), 2*a.attemptTimeout)
	defer cancel()
	err := ignore(a.run(ctx, ctx, a.putPolicy(user, denyAll)), noSuchEntity)
	if err == nil {
		return keyErr
	}
	a.log.Error().Err(err).Str("user", user).Msg("a key could not be deleted, and its user could not be denied everything")
	e := *provider.AsError(keyErr)
	e.Err = errors.Join(e.Err, err)
	return &e
}

// deleteUser deletes a user that should hold nothing any more. Where AWS says that
// it does, the user is cleared first.
func (a *account) deleteUser(ctx context.Context, name string) error {
	last := step{op: "DeleteUser", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String(name)})
		return err
	}}
	for look := 1; ; look++ {
		err := a.run(ctx, ctx, last)
		if code(err) != deleteConflict || look > conflictLooks {
			return err
		}
		a.log.Info().Str("user", name).Msg("a user holds what its lease does not know of; it is cleared")
		if clearErr := a.clear(ctx, name); clearErr != nil {
			// What could not be cleared may not be in the way.
			if err := a.run(ctx, ctx, last); code(err) != deleteConflict {
				return err
			}
			return clearErr
		}
		if look > 1 && !pause(ctx, a.backoff(look)) {
			return err
		}
	}
}
