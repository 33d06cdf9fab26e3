package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// deleteSecret begins the deletion of a dynamic secret, or goes on with it, and
// tells how far it has come. A secret that is being deleted gives no leases any
// more; those that there are get an order to end. When none is left the definition
// goes. With force it goes at once: the leases' records have all that it takes to
// undo them.
//
// A request that has read the definition before writes its record and then reads
// the definition once more. The records are listed after the deletion is written.
// So either the request sees the deletion and makes nothing, or the list has its
// record.
func (c *Consumer) deleteSecret(ctx context.Context, o messages.SecretRequest) (messages.SecretDeletion, error) {
	for {
		data, stored, revision, err := c.secrets.load(ctx, o.Name)
		if errors.Is(err, errNotFound) {
			return messages.SecretDeletion{}, errNoSecret(o.Name)
		}
		if err != nil {
			return messages.SecretDeletion{}, err
		}
		if stored.Deleting {
			break
		}
		if stored.Source == SourceFile {
			return messages.SecretDeletion{}, messages.Errorf(messages.CodeSecretFromFile,
				"%s comes from a file in the broker's --secrets folder; remove it there first", o.Name)
		}
		err = c.secrets.amend(ctx, o.Name, data, revision, func(v map[string]json.RawMessage) { v["deleting"] = json.RawMessage("true") })
		if err == nil {
			c.log.Info().Str("secret", o.Name).Bool("force", o.Force).Msg("a dynamic secret is being deleted")
			break
		}
		if !errors.Is(err, errConflict) {
			return messages.SecretDeletion{}, err
		}
	}
	return c.goOnDeleting(ctx, o)
}

// goOnDeleting orders the end of all leases that are not ending, and drops the
// definition when there are none.
func (c *Consumer) goOnDeleting(ctx context.Context, o messages.SecretRequest) (messages.SecretDeletion, error) {
	d := messages.SecretDeletion{Name: o.Name}
	// What is dropped in the end is what was there before the leases were listed: a
	// definition of the same name may have been put and deleted meanwhile.
	_, stored, revision, err := c.secrets.load(ctx, o.Name)
	if errors.Is(err, errNotFound) || err == nil && !stored.Deleting {
		d.Done = true
		return d, nil // somebody else has dropped it
	}
	if err != nil {
		return d, err
	}
	var alive []messages.LeaseName
	err = c.leases.eachLive(ctx, "*."+o.Name+".*", func(key string, rec held, err error) {
		switch {
		case err != nil:
			d.Leases, d.Failing, d.Error = d.Leases+1, d.Failing+1, fmt.Sprintf("the record of %s can't be read", key)
			return
		case rec.SessionDenied():
			return
		case rec.State != messages.StateRevoking:
			alive = append(alive, rec.Name())
		case rec.TeardownError != "":
			d.Failing, d.Error = d.Failing+1, rec.TeardownError
		}
		d.Leases++
	})
	if err != nil {
		return d, err
	}
	for _, name := range alive {
		if err := c.order(ctx, name, messages.ReasonSecretDeleted, "", o.Force); err != nil {
			return d, err
		}
	}
	if d.Leases > 0 && !o.Force {
		return d, nil
	}
	err = c.secrets.bucket.remove(ctx, o.Name, revision)
	if err != nil && !errors.Is(err, errConflict) {
		return d, err // a conflict: somebody else has dropped it
	}
	c.log.Info().Str("secret", o.Name).Int("leases", d.Leases).Msg("a dynamic secret is deleted")
	d.Done = true
	return d, nil
}

// order has a lease revoked; the note is kept with it. A message about the lease that
// waits already may be one that does not end it: whoever looks at the lease again
// leaves it at that, and whoever insists waits until there is room for the order.
func (c *Consumer) order(ctx context.Context, name messages.LeaseName, why messages.Reason, note string, insist bool) error {
	msg := nats.NewMsg(c.cfg.Namespace.Revoke(name))
	msg.Header.Set(messages.HeaderReason, string(why))
	if note != "" {
		body, err := json.Marshal(messages.RevokeRequest{Reason: note})
		if err != nil {
			return err
		}
		msg.Data = body
	}
	if insist {
		return c.storeWhenFree(ctx, ctx, messages.VerbRevoke, msg)
	}
	if err := c.store(ctx, messages.VerbRevoke, msg); !isPending(err) {
		return err
	}
	return nil
}
