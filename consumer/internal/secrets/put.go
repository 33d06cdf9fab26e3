package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Check validates a definition without a call to AWS or NATS. It returns a
// [messages.Error] that names the field.
func (r *Registry) Check(d messages.DynamicSecret) error {
	if err := r.provider.Check(d); err != nil {
		return err
	}
	if d.DefaultTTL < r.minTTL {
		return messages.Errorf(messages.CodeInvalidSecret, "default_ttl is %s, and this broker's shortest lease is %s (--min-ttl)", d.DefaultTTL, r.minTTL)
	}
	return nil
}

// Put is [Registry.PutAt] on top of any revision.
func (r *Registry) Put(ctx context.Context, d messages.DynamicSecret, source string) (changed bool, err error) {
	return r.PutAt(ctx, d, source, nil)
}

// PutAt checks a definition, stores its connection and then the definition itself. It
// makes no call to AWS. It reports whether anything was changed: false if the same
// definition is stored with the same secret access key. If revision is not nil the
// stored definition must have that revision; 0 means that there must be none.
//
// It returns a [messages.Error] of code invalid_secret, secret_deleting,
// secret_from_file or revision_mismatch; internal with the cause [ErrNewerVersion]; or
// the errors of [connection.Registry.Ensure].
func (r *Registry) PutAt(ctx context.Context, d messages.DynamicSecret, source string, revision *uint64) (changed bool, err error) {
	if err := r.Check(d); err != nil {
		return false, err
	}
	conn := r.ConnectionOf(d)
	d.AWS.Auth.SecretAccessKey = messages.Sensitive{}
	data, err := json.Marshal(stored{Version: storedVersion, Source: source, Definition: d})
	if err != nil {
		return false, err
	}
	for {
		have, err := r.load(ctx, d.Name)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return false, err
		}
		if err := mayPut(d.Name, have, source, revision); err != nil {
			return false, err
		}
		newKey, err := r.connections.Ensure(ctx, conn)
		if err != nil {
			return false, err
		}
		if changed = changed || newKey; bytes.Equal(have.raw, data) {
			return changed, nil
		}
		_, err = r.bucket.Put(ctx, d.Name, data, have.revision, 0)
		if err == nil {
			r.forget(d.Name) // it is read from the bucket until the watch reports it
			return true, nil
		}
		if !errors.Is(err, bucket.ErrConflict) {
			return false, err
		}
	}
}

// CouldPut returns the error that PutAt would return for an operator, and stores the
// connection of a checked definition, so that the definition can be tested by a dry run.
// It returns a [provider.Error] if AWS does not accept a secret access key that would
// replace a stored one.
func (r *Registry) CouldPut(ctx context.Context, d messages.DynamicSecret, revision *uint64) error {
	have, err := r.load(ctx, d.Name)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return err
	}
	if err := mayPut(d.Name, have, "", revision); err != nil {
		return err
	}
	conn := r.ConnectionOf(d)
	if err := r.connections.Verify(ctx, conn); err != nil {
		return err
	}
	_, err = r.connections.Ensure(ctx, conn)
	return err
}

// mayPut returns why a definition may not be put over the stored one, or nil.
func mayPut(name string, have entry, source string, revision *uint64) error {
	is := have.revision
	if have.raw == nil {
		is = 0 // the revision is that of a deletion
	}
	switch {
	case have.Deleting:
		return messages.Errorf(messages.CodeSecretDeleting, "%s is being deleted; put it again when it is gone", name)
	case have.Source == SourceFile && source != SourceFile:
		return messages.Errorf(messages.CodeSecretFromFile, "%s comes from a file in the broker's --secrets folder; change it there", name)
	case revision == nil || *revision == is:
		return nil
	case is == 0:
		return messages.Errorf(messages.CodeRevisionMismatch, "there is no dynamic secret %q, and revision %d was expected", name, *revision)
	case *revision == 0:
		return messages.Errorf(messages.CodeRevisionMismatch, "%s exists already, at revision %d, and revision 0 is for a new one", name, is)
	}
	return messages.Errorf(messages.CodeRevisionMismatch, "%s has been changed: it is at revision %d, and %d was expected", name, is, *revision)
}

// Release makes a definition that came from a file one that operators can change and
// delete: its file is gone. It returns nil if there is no such definition.
func (r *Registry) Release(ctx context.Context, name string) error {
	for {
		e, err := r.load(ctx, name)
		if errors.Is(err, bucket.ErrNotFound) {
			return nil
		}
		if err != nil || e.Source != SourceFile {
			return err
		}
		err = r.amend(ctx, name, e, func(fields map[string]json.RawMessage) { delete(fields, "source") })
		if !errors.Is(err, bucket.ErrConflict) {
			return err
		}
	}
}
