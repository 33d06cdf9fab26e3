package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Delete begins the deletion of a dynamic secret, or continues it, and returns its
// progress. With Force the definition is removed at once, after all revocations are
// published: the leases' records have all that is needed to end them.
//
// It returns a [messages.Error] of code secret_not_found, secret_from_file, or internal
// with the cause [ErrNewerVersion].
func (r *Registry) Delete(ctx context.Context, o messages.SecretRequest) (messages.SecretDeletion, error) {
	if err := r.beginDeletion(ctx, o.Name, o.Force); err != nil {
		return messages.SecretDeletion{}, err
	}
	return r.continueDeletion(ctx, o.Name, o.Force)
}

// ContinueDeletions continues all deletions that have begun. It returns the errors of
// those that failed; they can be continued again.
func (r *Registry) ContinueDeletions(ctx context.Context) error {
	var failed []error
	for _, name := range r.Deleting() {
		if _, err := r.continueDeletion(ctx, name, false); err != nil {
			failed = append(failed, fmt.Errorf("deletion of %s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// beginDeletion stores that the definition is being deleted, unless it is already.
func (r *Registry) beginDeletion(ctx context.Context, name string, force bool) error {
	for {
		e, err := r.load(ctx, name)
		switch {
		case errors.Is(err, bucket.ErrNotFound):
			return errNoSecret(name)
		case err != nil || e.Deleting:
			return err
		case e.Source == SourceFile:
			return messages.Errorf(messages.CodeSecretFromFile, "%s comes from a file in the broker's --secrets folder; remove it there first", name)
		}
		err = r.amend(ctx, name, e, func(fields map[string]json.RawMessage) { fields["deleting"] = json.RawMessage("true") })
		if err == nil {
			r.log.Info().Str("secret", name).Bool("force", force).Msg("a dynamic secret is being deleted")
		}
		if !errors.Is(err, bucket.ErrConflict) {
			return err
		}
	}
}

// continueDeletion revokes the leases that are not ending yet, and removes the
// definition if there are none, or with force.
func (r *Registry) continueDeletion(ctx context.Context, name string, force bool) (messages.SecretDeletion, error) {
	// The revision is read before the leases are listed: a definition of the same name
	// that is put and deleted meanwhile has leases of its own.
	e, err := r.load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) || err == nil && !e.Deleting {
		return messages.SecretDeletion{Name: name, Done: true}, nil // another replica has removed it
	}
	if err != nil {
		return messages.SecretDeletion{Name: name}, err
	}
	d, active, err := r.progress(ctx, name)
	if err != nil {
		return d, err
	}
	for _, lease := range active {
		if err := r.commands.Revoke(ctx, lease, messages.ReasonSecretDeleted, "", force); err != nil {
			return d, err
		}
	}
	if d.Leases > 0 && !force {
		return d, nil
	}
	err = r.bucket.Delete(ctx, name, e.revision)
	if err != nil && !errors.Is(err, bucket.ErrConflict) {
		return d, err
	}
	r.log.Info().Str("secret", name).Int("leases", d.Leases).Msg("a dynamic secret is deleted")
	d.Done = true // after a conflict, too: another replica has removed it
	return d, nil
}

// progress counts the leases of a dynamic secret, and returns those that are not ending
// yet.
func (r *Registry) progress(ctx context.Context, name string) (d messages.SecretDeletion, active []messages.LeaseName, err error) {
	d.Name = name
	err = r.leases.VisitLive(ctx, store.Filter("", name), func(key string, e store.Entry, err error) {
		switch {
		case err != nil:
			d.Failing, d.Error = d.Failing+1, fmt.Sprintf("the record of %s can't be read", key)
		case e.SessionDenied():
			return // its access has ended
		case e.State != messages.StateRevoking:
			active = append(active, e.Name())
		case e.TeardownError != "":
			d.Failing, d.Error = d.Failing+1, e.TeardownError
		}
		d.Leases++
	})
	return d, active, err
}
