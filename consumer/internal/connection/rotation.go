package connection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// rotation is the progress of a key rotation. It is stored before each step, so that a
// replica that continues after a crash knows which keys may exist:
//
//	had                 the user's keys are listed; the next step creates another
//	had, next, secret   it is created; the next step tests it and switches to it
//	had, retire         it is in use; the next step deletes the old key
//
// A crash between the first two can leave a key whose secret is lost. It is deleted: it
// is the one that is neither in had nor the key of a connection. A replica that continues a
// rotation claims it first, so the previous one finds the connection changed, and
// deletes the key that it has created and not stored.
type rotation struct {
	Had    []string         `json:"had"`              // ids of the keys before the rotation
	Next   string           `json:"next,omitempty"`   // id of the new key
	Secret *messages.Sealed `json:"secret,omitempty"` // of the new key
	Retire string           `json:"retire,omitempty"` // id of the old key
	// Claimed is when the rotation was begun or last continued. It is not continued
	// before claimTime has passed.
	Claimed time.Time `json:"claimed"`
}

const (
	claimTime     = 2 * time.Minute
	rotateTimeout = claimTime * 3 / 4 // of one call of Rotate
)

// ContinueRotations continues the rotations whose replica has stopped working on them.
// It returns the errors of those that failed; they can be continued again.
func (r *Registry) ContinueRotations(ctx context.Context) error {
	var names []string
	err := r.each(ctx, func(name string, e entry, err error) {
		if err == nil && e.Rotation != nil && r.now().Sub(e.Rotation.Claimed) > claimTime {
			names = append(names, name)
		}
	})
	for _, name := range names {
		r.log.Warn().Str("connection", name).Msg("a key's rotation was interrupted; going on with it")
		if failed := r.Rotate(ctx, name); failed != nil {
			err = errors.Join(err, fmt.Errorf("rotation of the key of %s: %w", name, failed))
		}
	}
	return err
}

// rotator is one attempt at a rotation.
type rotator struct {
	*Registry
	name string
	next stored // the connection, with the changes that are to be written
	last entry  // as it was last read or written
}

// read reads the connection.
func (r *rotator) read(ctx context.Context) error {
	var err error
	r.last, err = r.load(ctx, r.name)
	r.next = r.last.stored
	return err
}

// write writes the connection. It keeps what has been written meanwhile and is not about
// its keys.
func (r *rotator) write(ctx context.Context) error {
	for {
		revision, err := r.save(ctx, r.next, r.last.revision)
		if err == nil {
			r.last = entry{stored: r.next, revision: revision}
			return nil
		}
		if !errors.Is(err, bucket.ErrConflict) {
			return err
		}
		if err := r.refresh(ctx); err != nil {
			return err
		}
	}
}

// refresh reads the connection again, and adopts what is not about its keys: its
// principal, paths, and when it was used. It returns an error of code unavailable if the
// keys or the rotation have changed.
func (r *rotator) refresh(ctx context.Context) error {
	now, err := r.load(ctx, r.name)
	if err != nil || !now.sameKeys(r.last.stored) {
		return messages.Errorf(messages.CodeUnavailable, "the key of %s has been changed meanwhile, by another request or another replica", r.name).Because(err)
	}
	r.last = now
	r.next = r.next.withRest(now.stored)
	return nil
}

// withRest returns the connection with all of another version that is not about its
// keys.
func (s stored) withRest(of stored) stored {
	s.Principal, s.Paths, s.KeptAt, s.UnusedSince = of.Principal, of.Paths, of.KeptAt, of.UnusedSince
	return s
}

// sameKeys reports whether two versions of a connection have the same keys and the same
// state of a rotation.
func (s stored) sameKeys(other stored) bool {
	one, err := json.Marshal(s.withRest(other))
	two, err2 := json.Marshal(other)
	return err == nil && err2 == nil && bytes.Equal(one, two)
}

// claim begins the rotation, or takes over one that was interrupted.
func (r *rotator) claim(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	if r.next.Secret == nil {
		return messages.Errorf(messages.CodeInvalidRequest, "only aws.auth.method %s has a key that can be rotated, and this is %s", messages.AuthAccessKey, r.next.Auth.Method)
	}
	if r.next.Rotation != nil {
		return r.takeOver(ctx)
	}
	had, err := r.onlyKey(ctx)
	if err != nil {
		return err
	}
	r.next.Rotation = &rotation{Had: had, Claimed: r.now().UTC()}
	if err := r.write(ctx); err != nil {
		return err
	}
	return r.giveWay(ctx)
}

// takeOver claims a rotation that another replica has begun.
func (r *rotator) takeOver(ctx context.Context) error {
	if left := r.next.Rotation.Claimed.Add(claimTime).Sub(r.now()); left > 0 {
		return messages.Errorf(messages.CodeUnavailable, "the key is being rotated since %s; if that has failed it goes on by itself in %s",
			r.next.Rotation.Claimed.Format(time.RFC3339), left.Round(time.Second))
	}
	claimed := *r.next.Rotation
	claimed.Claimed = r.now().UTC()
	r.next.Rotation = &claimed
	return r.write(ctx)
}

// giveWay ends the rotation if another connection of the principal is in rotation: each
// would delete the other's new key. Both are stored before either looks, so at least one
// gives way.
func (r *rotator) giveWay(ctx context.Context) error {
	others, err := r.others(ctx, r.name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Rotation != nil && r.next.samePrincipal(other) {
			r.next.Rotation = nil
			return errors.Join(messages.Errorf(messages.CodeUnavailable, "the key is being rotated already, for %s; try again when that is done", other.Name), r.write(ctx))
		}
	}
	return nil
}
