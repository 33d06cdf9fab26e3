package connection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/retry"
	"github.com/lessorhq/lessor/provider"
)

const (
	// maxUserKeys is how many access keys an IAM user may have.
	maxUserKeys = 2
	// successes is how often in a row AWS must accept a new key: its servers do not
	// learn of it at the same time.
	successes = 3
)

// errOperator is the error of a rotation that an operator must make possible first.
func errOperator(format string, args ...any) error {
	return messages.Errorf(messages.CodeProviderRejected, format, args...)
}

// Rotate gives a connection a new access key: it creates one, tests it, switches to it
// and deletes the old one. It continues a rotation that was interrupted, as
// [Registry.ContinueRotations] does after an error. It returns a [messages.Error] of code
// invalid_request if the connection has no access key, unavailable if another replica or
// another request is changing the key, and provider_rejected if the user has no room for
// another key; a [provider.Error] if a call to AWS fails.
func (r *Registry) Rotate(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	rot := &rotator{Registry: r, name: name}
	for _, step := range []func(context.Context) error{rot.claim, rot.create, rot.switchKey, rot.retire} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// onlyKey returns the ids of the user's keys. It returns an error unless the key in use
// is the only one.
func (r *rotator) onlyKey(ctx context.Context) ([]string, error) {
	account, err := r.Reach(ctx, r.name)
	if err != nil {
		return nil, r.blame(ctx, err)
	}
	had, err := account.OwnKeys(ctx)
	if err != nil {
		return nil, r.blame(ctx, err)
	}
	inUse := r.next.Auth.AccessKeyID
	if !slices.Contains(had, inUse) {
		return nil, r.blame(ctx, errOperator("the key %s is not one of its user's", inUse))
	}
	if len(had) >= maxUserKeys {
		rest := slices.DeleteFunc(slices.Clone(had), func(id string) bool { return id == inUse })
		return nil, r.blame(ctx, errOperator("the user has %d access keys, and AWS allows no more; %s is in use; delete %s and try again", len(had), inUse, strings.Join(rest, ", ")))
	}
	return had, nil
}

// blame puts before an error of AWS that the key has been changed meanwhile, if it has:
// the error may then be about another key.
func (r *rotator) blame(ctx context.Context, err error) error {
	if changed := r.refresh(ctx); changed != nil {
		return errors.Join(changed, err)
	}
	return err
}

// create creates the new key, unless that is done. It first deletes a key that an
// earlier attempt has created and whose secret is lost.
func (r *rotator) create(ctx context.Context) error {
	if r.next.Rotation.Retire != "" {
		return nil
	}
	_, account, err := r.dial(ctx, r.next)
	if err != nil {
		return err
	}
	have, err := account.OwnKeys(ctx)
	if next := r.next.Rotation.Next; next != "" && (err != nil || slices.Contains(have, next)) {
		return nil // after an error, too: the key in use may have been deleted, and the new one works
	}
	if err != nil {
		return err
	}
	if err := r.deleteLost(ctx, account, have); err != nil {
		return err
	}
	made, err := account.CreateOwnKey(ctx)
	if kind := provider.AsError(err).Kind; err != nil && (kind == provider.Denied || kind == provider.Rejected) {
		r.next.Rotation = nil // nothing was created
		return errors.Join(err, r.write(ctx))
	}
	if err != nil {
		return err
	}
	return r.storeNext(ctx, account, made)
}

// storeNext stores the new key. If the rotation has been taken over it deletes the key:
// the other replica may have looked for lost keys before this one existed.
func (r *rotator) storeNext(ctx context.Context, account provider.Account, made messages.Credentials) error {
	next := *r.next.Rotation
	next.Next = made.AccessKeyID
	var err error
	if next.Secret, err = r.keys.SealValue(purpose(r.name), made.SecretAccessKey); err == nil {
		r.next.Rotation = &next
		err = r.write(ctx)
	}
	if messages.IsCode(err, messages.CodeUnavailable) {
		err = errors.Join(err, account.DeleteOwnKey(ctx, made.AccessKeyID))
	}
	return err
}

// deleteLost deletes the keys that this rotation has created and whose secrets are lost.
// A key that a connection has is none of those: it may have been created by hand. Nor is
// one that another replica has created after taking the rotation over: the keys were
// listed before refresh reads the connection.
func (r *rotator) deleteLost(ctx context.Context, account provider.Account, have []string) error {
	known := append([]string{r.next.Auth.AccessKeyID}, r.next.Rotation.Had...)
	others, err := r.others(ctx, r.name)
	if err != nil {
		return err
	}
	for _, other := range others {
		known = append(known, other.Auth.AccessKeyID)
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	for _, id := range have {
		if slices.Contains(known, id) {
			continue
		}
		r.log.Warn().Str("connection", r.name).Str("access_key_id", id).Msg("a key that an interrupted rotation has created is deleted")
		if err := account.DeleteOwnKey(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// switchKey switches to the new key when AWS accepts it.
func (r *rotator) switchKey(ctx context.Context) error {
	if r.next.Rotation.Retire != "" {
		return nil
	}
	old := r.next.Auth.AccessKeyID
	next := r.next
	next.Auth.AccessKeyID, next.Secret = r.next.Rotation.Next, r.next.Rotation.Secret
	if err := r.test(ctx, next); err != nil {
		return err
	}
	next.Rotation = &rotation{Had: r.next.Rotation.Had, Retire: old, Claimed: r.next.Rotation.Claimed}
	next.RotatedAt, next.Retired = r.now().UTC(), append(slices.Clone(r.next.Retired), old)
	r.next = next
	if err := r.write(ctx); err != nil {
		return err
	}
	r.log.Info().Str("connection", r.name).Str("access_key_id", next.Auth.AccessKeyID).Str("old", old).Msg("a new access key is in use")
	return nil
}

// test returns nil when AWS has accepted the key several times in a row, for the
// connection's principal.
func (r *rotator) test(ctx context.Context, s stored) error {
	conn, err := r.complete(s)
	if err != nil {
		return err
	}
	conn.Name += nextSuffix
	account, err := r.provider.Connect(ctx, conn)
	if err != nil {
		return err
	}
	for row := 0; row < successes; {
		me, err := account.Identify(ctx)
		switch {
		case err == nil && s.Principal != nil && me != *s.Principal:
			return errOperator("the new key belongs to %s and not to %s", me.ARN, s.Principal.ARN)
		case err == nil:
			row++
		case provider.AsError(err).Kind != provider.Unavailable && provider.AsError(err).Kind != provider.NotVisible:
			return err
		default:
			row = 0
		}
		if ended := retry.Sleep(ctx, r.probeEvery); ended != nil {
			return errors.Join(ended, err)
		}
	}
	return nil
}

// retire passes the new key to the principal's other connections and deletes the old
// key.
func (r *rotator) retire(ctx context.Context) error {
	if err := r.share(ctx, r.next); err != nil {
		return err
	}
	// Other replicas learn of the new key by their watch. A call that one of them has
	// just signed with the old key is repeated if AWS refuses it.
	if err := retry.Sleep(ctx, r.probeEvery); err != nil {
		return err
	}
	_, account, err := r.dial(ctx, r.next)
	if err != nil {
		return err
	}
	if err := account.DeleteOwnKey(ctx, r.next.Rotation.Retire); err != nil {
		return fmt.Errorf("the new key is in use, and the old one could not be deleted yet: %w", err)
	}
	r.next.Rotation = nil
	return r.write(ctx)
}
