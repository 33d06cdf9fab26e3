package connection

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// keptInterval is how old KeptAt may be when a definition is put. A connection is
// dropped when KeptAt is older than dropAfter, so a definition has the difference in
// which to be stored after its connection.
const keptInterval = 5 * time.Minute

// nextSuffix is appended to the name of a connection whose new key is tested beside the
// key in use.
const nextSuffix = ".next"

// Ensure stores the connection of a definition that is put, with the secret access key
// that comes with it, and reports whether the secret is another than before. A key that
// a rotation has replaced is not taken back. It returns a [messages.Error] of code
// invalid_secret if the connection needs a secret access key and there is none.
func (r *Registry) Ensure(ctx context.Context, c provider.Connection) (changed bool, err error) {
	changed, err = r.ensure(ctx, c)
	if err != nil || c.Auth.Method != messages.AuthAccessKey {
		return changed, err
	}
	return changed, r.catchUp(ctx, c.Name)
}

func (r *Registry) ensure(ctx context.Context, c provider.Connection) (changed bool, err error) {
	for {
		have, err := r.load(ctx, c.Name)
		exists := err == nil
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return false, err
		}
		if c.Auth.Method == messages.AuthAccessKey && c.Auth.SecretAccessKey.IsZero() && have.Secret == nil {
			return false, messages.Errorf(messages.CodeInvalidSecret, "aws.auth.secret_access_key is missing: lessor has no secret for %s yet", c.Auth.AccessKeyID)
		}
		next := have.stored
		if !exists {
			next = stored{Version: storedVersion, Name: c.Name, Region: c.Region, Auth: c.Auth}
			next.Auth.SecretAccessKey = messages.Sensitive{}
		}
		newSecret, err := r.hasNewSecret(have.stored, c)
		if err != nil {
			return false, err
		}
		if newSecret {
			if next.Secret, err = r.keys.SealValue(purpose(c.Name), c.Auth.SecretAccessKey); err != nil {
				return false, err
			}
		}
		if exists && !newSecret && r.now().Sub(have.KeptAt) < keptInterval {
			return false, nil
		}
		next.KeptAt, next.UnusedSince = r.now().UTC(), time.Time{}
		if _, err = r.save(ctx, next, have.revision); !errors.Is(err, bucket.ErrConflict) {
			return newSecret, err
		}
	}
}

// hasNewSecret reports whether c brings a secret for the key in use that differs from
// the stored one.
func (r *Registry) hasNewSecret(have stored, c provider.Connection) (bool, error) {
	switch {
	case c.Auth.SecretAccessKey.IsZero():
		return false, nil
	case have.Secret == nil:
		return true, nil
	case have.Auth.AccessKeyID != c.Auth.AccessKeyID:
		return false, nil
	}
	secret, err := r.keys.OpenValue(purpose(c.Name), have.Secret)
	return secret.Reveal() != c.Auth.SecretAccessKey.Reveal(), err
}

// Verify makes sure that AWS accepts the secret access key of a definition, if it would
// replace a stored one: existing leases depend on that. It returns a [provider.Error] if
// AWS does not.
func (r *Registry) Verify(ctx context.Context, c provider.Connection) error {
	have, err := r.load(ctx, c.Name)
	if errors.Is(err, bucket.ErrNotFound) || err == nil && have.Secret == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if other, err := r.hasNewSecret(have.stored, c); err != nil || !other {
		return err
	}
	c.Name += nextSuffix
	account, err := r.provider.Connect(ctx, c)
	if err != nil {
		return err
	}
	_, err = account.Identify(ctx)
	return err
}
