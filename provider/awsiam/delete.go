package awsiam

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// How often Delete tries again.
const (
	youngTries    = 4 // to find a young user
	conflictTries = 4 // to delete a user that still has something attached
)

// Delete removes the user, or its key alone; see [provider.DeletionMode]. It returns nil
// once AWS has acknowledged that, if there was nothing to remove, and if the user belongs
// to another lease. An error of kind NotVisible means that a young user was not found:
// Delete has to be called again later.
//
// With permissions that are limited to a path, AWS answers AccessDenied for a user that
// does not exist. Delete then lists the users of the path to find out.
//
// For a session it removes the policy that DenySession has put on the role.
//
// If calls to the account are throttled, those that delete the key go before all others.
func (a *account) Delete(ctx context.Context, d provider.Deletion) error {
	ctx = throttle.WithPriority(ctx, throttle.Cleanup)
	if d.User.IsSession() {
		return a.deleteSession(ctx, d)
	}
	for try := 1; ; try++ {
		err := a.missing(ctx, d.User, a.deleteOnce(ctx, d))
		if code(err) != awserr.NoSuchEntity {
			return err
		}
		if !d.Young {
			return nil
		}
		if try == youngTries || !pause(ctx, a.backoff(try)) {
			e := *provider.AsError(err)
			e.Kind = provider.NotVisible
			return &e
		}
	}
}

// deleteOnce is Delete for a user that is found. Its error has the code NoSuchEntity if
// and only if it is not found.
func (a *account) deleteOnce(ctx context.Context, d provider.Deletion) error {
	if !d.OwnerKnown {
		user, err := a.getUser(throttle.WithPriority(ctx, throttle.EndAccess), d.User.Name, false)
		if err != nil {
			return err
		}
		if attemptOf(user) > d.Owner.Attempt {
			return nil // it belongs to a later attempt
		}
		if !isOwned(user, d.Owner) {
			a.log.Warn().Str("user", d.User.Name).Str("lease", d.Owner.Lease).Msg("a user is left alone because it does not carry the lease's tags")
			return nil
		}
	}
	if d.Mode == provider.DeleteKey {
		return a.removeKey(ctx, d, func() {})
	}
	rest := ctx
	if d.Mode == provider.Teardown || d.Mode == provider.TeardownKeyFirst {
		rest = throttle.WithoutWaiting(ctx)
	}
	keyDeleted, err := a.strip(ctx, rest, d)
	if err == nil {
		err = a.deleteUser(rest, d.User.Name)
	}
	if err != nil && keyDeleted {
		e := *provider.AsError(err)
		e.KeyDeleted = true
		return &e
	}
	return err
}

// strip removes what the lease has attached to the user, and reports whether AWS has
// acknowledged that the key is deleted. What does not exist is no error: DeleteUser will
// report it. The calls other than the key's use the context rest.
//
// Two round trips are enough for a user if the key and the rest are deleted concurrently,
// the key's call being the first on the wire. If AWS then does not delete the key, and
// the broker stops before it has put the Deny back, the key is alive without a Deny until
// the next try. Where that matters, the key is deleted first.
func (a *account) strip(ctx, rest context.Context, d provider.Deletion) (keyDeleted bool, err error) {
	removals := a.removals(d)
	switch {
	case d.Mode == provider.Cleanup:
		return true, a.together(rest, removals)
	case d.Mode != provider.TeardownKeyFirst && !a.Backlog():
		return a.stripConcurrently(ctx, rest, d, removals)
	}
	keyDeleted, err = keyResult(d, a.missing(ctx, d.User, a.removeKey(ctx, d, func() {})))
	switch {
	case err == nil:
		return keyDeleted, a.together(rest, removals)
	case errors.Is(err, throttle.ErrNotInTime) || isUnsigned(err):
		return false, err // another call would not be made either
	}
	return false, a.denyAgain(ctx, d.User.Name, err) // an earlier try may have removed the Deny
}

// stripConcurrently deletes the key and the rest at once.
func (a *account) stripConcurrently(ctx, rest context.Context, d provider.Deletion, removals []step) (keyDeleted bool, err error) {
	written := make(chan struct{})
	key := make(chan error, 1)
	go func() {
		key <- a.missing(ctx, d.User, a.removeKey(ctx, d, sync.OnceFunc(func() { close(written) })))
	}()
	select {
	case <-written:
	case err := <-key:
		if keyDeleted, err = keyResult(d, err); err != nil {
			return false, err // nothing else was changed
		}
		return keyDeleted, a.together(rest, removals)
	}
	err = a.together(rest, removals)
	keyDeleted, keyErr := keyResult(d, <-key)
	if keyErr != nil {
		return false, a.denyAgain(ctx, d.User.Name, keyErr)
	}
	return keyDeleted, err
}

// keyResult returns the result of a key's deletion. A key that is not found is deleted,
// unless its user may be too young to be found.
func keyResult(d provider.Deletion, err error) (deleted bool, failure error) {
	if code(err) == awserr.NoSuchEntity {
		return !d.Young, nil
	}
	return err == nil, err
}

// removeKey deletes the lease's key, or all keys of the user if it is not known. It calls
// written when the call for a known key has been written to the connection, possibly more
// than once.
func (a *account) removeKey(ctx context.Context, d provider.Deletion, written func()) error {
	ctx = throttle.WithPriority(ctx, throttle.EndAccess)
	if d.AccessKeyID == "" {
		return a.deleteKeys(ctx, d.User.Name, false)
	}
	return a.runWhile(whenWritten(ctx, written), ctx, a.deleteKey(aws.String(d.User.Name), d.AccessKeyID))
}

// removals returns the steps that remove what Create has attached, except user and key.
func (a *account) removals(d provider.Deletion) []step {
	name := aws.String(d.User.Name)
	var steps []step
	for _, arn := range d.User.ManagedPolicies {
		steps = append(steps, step{op: "DetachUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: aws.String(arn)})
			return ignore(err, awserr.NoSuchEntity)
		}})
	}
	for _, group := range d.User.Groups {
		steps = append(steps, step{op: "RemoveUserFromGroup", do: func(ctx context.Context) error {
			_, err := a.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: aws.String(group)})
			return ignore(err, awserr.NoSuchEntity)
		}})
	}
	if definition.HasPolicy(d.User) {
		steps = append(steps, step{op: "DeleteUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String(definition.PolicyName)})
			return ignore(err, awserr.NoSuchEntity)
		}})
	}
	return steps
}

// denyAgain denies everything to a user whose key may be alive while its Deny may be
// removed. It returns keyErr, joined with its own error. It continues after ctx has
// ended, for at most two attempts' time, and has the priority of a key's deletion: until
// the next try, nothing else denies the key.
func (a *account) denyAgain(ctx context.Context, user string, keyErr error) error {
	ctx, cancel := context.WithTimeout(throttle.WithPriority(context.WithoutCancel(ctx), throttle.EndAccess), 2*a.attemptTimeout)
	defer cancel()
	err := ignore(a.run(ctx, a.putPolicy(user, definition.DenyAll)), awserr.NoSuchEntity)
	if err == nil {
		return keyErr
	}
	a.log.Error().Err(err).Str("user", user).Msg("a key could not be deleted, and its user could not be denied everything")
	e := *provider.AsError(keyErr)
	e.Err = errors.Join(e.Err, err)
	return &e
}

// deleteUser deletes a user to which nothing should be attached. If AWS answers
// DeleteConflict, it removes everything that is attached and tries again.
func (a *account) deleteUser(ctx context.Context, name string) error {
	last := step{op: "DeleteUser", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String(name)})
		return err
	}}
	for try := 1; ; try++ {
		err := a.run(ctx, last)
		if code(err) != awserr.DeleteConflict || try > conflictTries {
			return err
		}
		a.log.Info().Str("user", name).Msg("something is attached to a user that its lease has not attached; everything is removed")
		if clearErr := a.clear(ctx, name); clearErr != nil {
			// What could not be removed may not prevent the deletion.
			if err := a.run(ctx, last); code(err) != awserr.DeleteConflict {
				return err
			}
			return clearErr
		}
		if try > 1 && !pause(ctx, a.backoff(try)) {
			return err
		}
	}
}
