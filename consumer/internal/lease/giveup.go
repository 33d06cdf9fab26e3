package lease

import (
	"context"
	"errors"
	"strings"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// GiveUp ends the record of a lease whose teardown fails, on an operator's command.
// Its user may be left in AWS: it has the installation's tag and no live lease, so the
// sweep finds it.
func (t *Teardown) GiveUp(ctx context.Context, name messages.LeaseName, reason string) (messages.Lease, error) {
	e, err := t.leases.Load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return messages.Lease{}, errNoLease(name)
	}
	if err != nil {
		return messages.Lease{}, err
	}
	if !e.Failing() {
		return messages.Lease{}, messages.Errorf(messages.CodeInvalidRequest, "force is for a lease that could not be revoked, and this one is %s; revoke it first", e.State)
	}
	given := e.Record
	given.Note = strings.TrimSpace("given up by an operator; its user may be left, and is looked for. " + reason)
	next, err := given.Ended(t.Now())
	if err != nil {
		return messages.Lease{}, err
	}
	after, err := t.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		return messages.Lease{}, messages.Errorf(messages.CodeUnavailable, "the lease is being worked on; look at it, and try again").Because(err)
	}
	if err != nil {
		return messages.Lease{}, err
	}
	t.Log.Warn().Str("lease", name.String()).Str("username", e.User.Name).Str("error", e.TeardownError).
		Msg("an operator gives up a lease that could not be revoked; the sweep looks for its user")
	return *after.Lease(), t.events.EmitEnded(ctx, after.Record)
}
