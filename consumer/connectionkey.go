package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// leads says whether another connection should have this one's key: it is the same
// principal's, as AWS has said, or because its key has been retired here.
func (c storedConnection) leads(other storedConnection) bool {
	if c.Secret == nil || other.Secret == nil || c.Auth.AccessKeyID == other.Auth.AccessKeyID || slices.Contains(other.Retired, c.Auth.AccessKeyID) {
		return false
	}
	return slices.Contains(c.Retired, other.Auth.AccessKeyID) || c.samePrincipal(other)
}

// samePrincipal says whether two connections are known to be one principal's.
func (c storedConnection) samePrincipal(other storedConnection) bool {
	return c.Principal != nil && other.Principal != nil && *c.Principal == *other.Principal
}

// purpose is what a connection's key is sealed for.
func purpose(name string) string { return connectionPrefix + name }

// ensure makes sure that a connection is kept that a definition asks for, with the
// secret key that it brings. A key that has been rotated away since is not taken
// back. Where the definition has no secret key there must be one already. It returns
// whether the secret key is another than before.
func (a *connections) ensure(ctx context.Context, c provider.Connection) (changed bool, err error) {
	changed, err = a.store(ctx, c)
	if err != nil || c.Auth.Method != messages.AuthAccessKey {
		return changed, err
	}
	return changed, a.catchUp(ctx, c.Name)
}

func (a *connections) store(ctx context.Context, c provider.Connection) (changed bool, err error) {
	secret := c.Auth.SecretAccessKey
	for {
		have, revision, err := a.load(ctx, c.Name)
		if err != nil && !errors.Is(err, errNotFound) {
			return false, err
		}
		known := err == nil
		if c.Auth.Method == messages.AuthAccessKey && secret.IsZero() && have.Secret == nil {
			return false, messages.Errorf(messages.CodeInvalidSecret, "aws.auth.secret_access_key is missing: lessor has no secret for %s yet", c.Auth.AccessKeyID)
		}
		next := have
		if !known {
			next = storedConnection{Version: storedConnectionVersion, Name: c.Name, Region: c.Region, Auth: c.Auth}
			next.Auth.SecretAccessKey = messages.Sensitive{}
		}
		newSecret, err := a.isNew(have, c)
		if err != nil {
			return false, err
		}
		if newSecret {
			if next.Secret, err = a.keys.SealValue(purpose(c.Name), secret); err != nil {
				return false, err
			}
		}
		if known && !newSecret && a.now().Sub(have.KeptAt) < keptAgain {
			return false, nil
		}
		next.KeptAt, next.UnusedSince = a.now().UTC(), time.Time{}
		if _, err = a.save(ctx, next, revision); !errors.Is(err, errConflict) {
			return newSecret, err
		}
	}
}

// isNew says whether the secret key that comes with a definition is another than
// the one that is kept, for the key in use.
func (a *connections) isNew(have storedConnection, c provider.Connection) (bool, error) {
	switch {
	case c.Auth.SecretAccessKey.IsZero():
		return false, nil
	case have.Secret == nil:
		return true, nil
	case have.Auth.AccessKeyID != c.Auth.AccessKeyID:
		return false, nil
	}
	kept, err := a.keys.OpenValue(purpose(c.Name), have.Secret)
	return kept.Reveal() != c.Auth.SecretAccessKey.Reveal(), err
}

// vet makes sure that a secret key works that would take the place of one that is
// kept: leases that are alive need that.
func (a *connections) vet(ctx context.Context, c provider.Connection) error {
	have, _, err := a.load(ctx, c.Name)
	if errors.Is(err, errNotFound) || err == nil && have.Secret == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if other, err := a.isNew(have, c); err != nil || !other {
		return err
	}
	c.Name += nextName
	account, err := a.provider.Connect(ctx, c)
	if err != nil {
		return err
	}
	_, err = account.Identify(ctx)
	return err
}

// nextName is behind the name of a connection that is tried beside the one that is
// in use.
const nextName = ".next"

// catchUp gives a connection the key that has taken the place of its own, where a
// rotation of another connection has retired that. Rotations write down first what
// they retire and then look for connections that have it; here it is the other way
// round, so one of the two sees the other.
func (a *connections) catchUp(ctx context.Context, name string) error {
	c, _, err := a.load(ctx, name)
	if err != nil {
		return err
	}
	others, err := a.others(ctx, name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if slices.Contains(other.Retired, c.Auth.AccessKeyID) {
			return a.share(ctx, other)
		}
	}
	return nil
}

// share gives the key of a connection that works to all other connections of the
// same principal: theirs may have been deleted by hand, and leases may need them.
// One that has retired the key itself does not take it back.
func (a *connections) share(ctx context.Context, c storedConnection) error {
	if c.Secret == nil {
		return nil
	}
	secret, err := a.keys.OpenValue(purpose(c.Name), c.Secret)
	if err != nil {
		return err
	}
	others, err := a.others(ctx, c.Name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if !c.leads(other) {
			continue
		}
		box, err := a.keys.SealValue(purpose(other.Name), secret)
		if err != nil {
			return err
		}
		err = a.change(ctx, other.Name, func(other *storedConnection) bool {
			if !c.leads(*other) {
				return false
			}
			other.Auth.AccessKeyID, other.Secret, other.RotatedAt = c.Auth.AccessKeyID, box, a.now().UTC()
			for _, id := range c.Retired {
				if !slices.Contains(other.Retired, id) {
					other.Retired = append(other.Retired, id)
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	return nil
}

// others are all connections but one. Those that can't be read are left out: they
// are no reason for the rest not to work.
func (a *connections) others(ctx context.Context, name string) ([]storedConnection, error) {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return nil, err
	}
	var all []storedConnection
	for _, key := range keys {
		if key == connectionKey(name) {
			continue
		}
		data, _, err := a.state.get(ctx, key)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := decodeConnection(strings.TrimPrefix(key, connectionPrefix), data)
		if err != nil {
			continue // told at the start
		}
		all = append(all, c)
	}
	return all, nil
}

// reseal seals every key anew that is not sealed with the keyring's first key, so
// that the old ones can leave the key file.
func (a *connections) reseal(ctx context.Context) error {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		var failed error
		err := a.change(ctx, name, func(c *storedConnection) bool {
			var changed, next bool
			changed, failed = a.sealAnew(name, &c.Secret)
			if c.Rotation != nil && failed == nil {
				next, failed = a.sealAnew(name, &c.Rotation.Secret)
			}
			return failed == nil && (changed || next)
		})
		if errors.Is(err, errUnreadableConnection) {
			a.log.Error().Err(err).Str("connection", name).Msg("a connection that can't be read is set aside; leases that name it can't be made or undone")
			continue
		}
		if err = errors.Join(err, failed); err != nil && !errors.Is(err, errNotFound) {
			return fmt.Errorf("connection %s: %w", name, err)
		}
	}
	return nil
}

func (a *connections) sealAnew(name string, box **messages.Sealed) (bool, error) {
	if *box == nil || (*box).From == a.keys.PublicKeys()[0] {
		return false, nil
	}
	secret, err := a.keys.OpenValue(purpose(name), *box)
	if err != nil {
		return false, err
	}
	*box, err = a.keys.SealValue(purpose(name), secret)
	return true, err
}
