package lease

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// denySync sets the Deny of a hard expiry at AWS, and makes it agree with the record
// again after a worker has set it and then lost the record.
type denySync struct {
	Settings
	leases   *store.Leases
	accounts *connection.Registry
}

// extend sets the time from which AWS refuses the user to the record's.
func (d *denySync) extend(ctx context.Context, r record.Record) error {
	return d.set(ctx, r, r.DenyAfter())
}

func (d *denySync) set(ctx context.Context, r record.Record, denyAfter time.Time) error {
	account, err := d.accounts.Reach(ctx, r.Connection)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timing.Provision)
	defer cancel()
	return account.Extend(ctx, r.User, denyAfter)
}

// run sets AWS from the lease's present record until the record has not changed
// meanwhile. lost is the entry that the caller has lost.
func (d *denySync) run(ctx context.Context, lost store.Entry) error {
	set := uint64(0) // the revision that AWS was set from
	for {
		now, err := d.leases.Load(ctx, lost.Name())
		if errors.Is(err, bucket.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if now.State == messages.StateRevoking && now.User.Name == lost.User.Name {
			return d.denyNow(ctx, now)
		}
		live := now.State == messages.StateActive || now.State == messages.StateProvisioning
		if !live || now.Revision == set || now.DenyAfter().IsZero() || now.User.Name != lost.User.Name {
			return nil
		}
		if err := d.extend(ctx, now.Record); err != nil {
			return err
		}
		set = now.Revision
	}
}

// denyNow puts back the Deny of a user in teardown: the call that lost its record may
// have replaced the Deny that holds back a key which could not be deleted yet.
func (d *denySync) denyNow(ctx context.Context, e store.Entry) error {
	if e.User.HardExpiry == messages.HardExpiryNone || !e.KeyDeletedAt.IsZero() {
		return nil // no Deny was set, or there is no key to hold back
	}
	err := d.set(ctx, e.Record, d.Now().Add(-time.Second))
	if err != nil && provider.AsError(err).Kind == provider.Rejected {
		return nil // the user is deleted
	}
	return err
}
