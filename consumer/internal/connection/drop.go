package connection

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages/bucket"
)

// dropAfter is how long a connection must have been unused, and no definition with it
// put, before it is dropped.
const dropAfter = 15 * time.Minute

// Drop deletes the connections that nothing has named for some time. named returns a
// function that reports whether a definition or a lease names a connection; it is
// called only if there are candidates. sweep removes the account's orphans and reports
// whether none is left: after the connection is deleted they could not be removed.
//
// named must read the definitions before the leases: a request writes its record
// before it reads the definition for the last time.
func (r *Registry) Drop(ctx context.Context, named func(context.Context) (func(name string) bool, error), sweep func(ctx context.Context, name string) bool) error {
	var old []entry
	err := r.each(ctx, func(_ string, e entry, err error) {
		if err == nil && e.Rotation == nil && r.now().Sub(e.KeptAt) > dropAfter {
			old = append(old, e)
		}
	})
	if err != nil || len(old) == 0 {
		return err
	}
	isNamed, err := named(ctx)
	if err != nil {
		return err
	}
	for _, e := range old {
		if err := r.dropUnused(ctx, e, isNamed(e.Name), sweep); err != nil {
			return err
		}
	}
	return nil
}

// dropUnused notes since when a connection has been unused, and deletes it after
// dropAfter. It deletes the revision that was read before the definitions: one that is
// put in between has changed the connection.
func (r *Registry) dropUnused(ctx context.Context, e entry, named bool, sweep func(context.Context, string) bool) error {
	switch {
	case named && e.UnusedSince.IsZero():
		return nil
	case named:
		return r.setUnusedSince(ctx, e.Name, time.Time{})
	case e.UnusedSince.IsZero():
		return r.setUnusedSince(ctx, e.Name, r.now().UTC())
	case r.now().Sub(e.UnusedSince) < dropAfter:
		return nil
	}
	if !sweep(ctx, e.Name) {
		return nil
	}
	err := r.state.Delete(ctx, key(e.Name), e.revision)
	if errors.Is(err, bucket.ErrConflict) {
		return nil // used again, or its principal has changed; the next call decides
	}
	if err != nil {
		return err
	}
	r.forget(e.Name)
	r.log.Info().Str("connection", e.Name).Msg("a connection that nothing names is dropped")
	return nil
}

func (r *Registry) setUnusedSince(ctx context.Context, name string, at time.Time) error {
	return r.update(ctx, name, func(s *stored) bool {
		s.UnusedSince = at
		return true
	})
}
