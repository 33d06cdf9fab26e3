package connection

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// passesKeyTo reports whether another connection should get this one's key: it belongs
// to the same principal, or has a key that was retired here. A connection that has
// retired the key does not get it back.
func (s stored) passesKeyTo(other stored) bool {
	if s.Secret == nil || other.Secret == nil || s.Auth.AccessKeyID == other.Auth.AccessKeyID || slices.Contains(other.Retired, s.Auth.AccessKeyID) {
		return false
	}
	return slices.Contains(s.Retired, other.Auth.AccessKeyID) || s.samePrincipal(other)
}

// samePrincipal reports whether two connections are known to be of one principal.
func (s stored) samePrincipal(other stored) bool {
	return s.Principal != nil && other.Principal != nil && *s.Principal == *other.Principal
}

// share passes the key of a connection to all other connections of its principal. Their
// key may have been deleted at AWS, and leases may depend on them.
func (r *Registry) share(ctx context.Context, s stored) error {
	if s.Secret == nil {
		return nil
	}
	secret, err := r.keys.OpenValue(purpose(s.Name), s.Secret)
	if err != nil {
		return err
	}
	others, err := r.others(ctx, s.Name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if !s.passesKeyTo(other) {
			continue
		}
		sealed, err := r.keys.SealValue(purpose(other.Name), secret)
		if err != nil {
			return err
		}
		err = r.update(ctx, other.Name, func(other *stored) bool {
			if !s.passesKeyTo(*other) {
				return false
			}
			other.Auth.AccessKeyID, other.Secret, other.RotatedAt = s.Auth.AccessKeyID, sealed, r.now().UTC()
			for _, id := range s.Retired {
				if !slices.Contains(other.Retired, id) {
					other.Retired = append(other.Retired, id)
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
	}
	return nil
}

// catchUp gives a connection the present key if a rotation of another connection has
// retired its own. A rotation stores what it retires before it looks for connections
// with that key; here the connection is stored before the others are read. So one of
// the two sees the other.
func (r *Registry) catchUp(ctx context.Context, name string) error {
	e, err := r.load(ctx, name)
	if err != nil {
		return err
	}
	others, err := r.others(ctx, name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if slices.Contains(other.Retired, e.Auth.AccessKeyID) {
			return r.share(ctx, other)
		}
	}
	return nil
}

// Reseal seals every access key with the keyring's first key, so that the others can
// be removed from the key file. It logs connections that can't be read, and leaves them
// out.
func (r *Registry) Reseal(ctx context.Context) error {
	var names []string
	err := r.each(ctx, func(name string, _ entry, err error) {
		if err != nil {
			r.log.Error().Err(err).Str("connection", name).Msg("a connection can't be read; leases that name it can be neither issued nor ended")
			return
		}
		names = append(names, name)
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.reseal(ctx, name); err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return fmt.Errorf("connection %s: %w", name, err)
		}
	}
	return nil
}

func (r *Registry) reseal(ctx context.Context, name string) error {
	var failed error
	err := r.update(ctx, name, func(s *stored) bool {
		var changed, nextChanged bool
		changed, failed = r.resealKey(name, &s.Secret)
		if s.Rotation != nil && failed == nil {
			nextChanged, failed = r.resealKey(name, &s.Rotation.Secret)
		}
		return failed == nil && (changed || nextChanged)
	})
	return errors.Join(err, failed)
}

// resealKey reports whether it has sealed the secret anew.
func (r *Registry) resealKey(name string, sealed **messages.Sealed) (bool, error) {
	if *sealed == nil || (*sealed).From == r.keys.PublicKeys()[0] {
		return false, nil
	}
	secret, err := r.keys.OpenValue(purpose(name), *sealed)
	if err != nil {
		return false, err
	}
	*sealed, err = r.keys.SealValue(purpose(name), secret)
	return true, err
}
