package connection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// stored is a connection as it stands in the state bucket. The access key is stored
// here and nowhere else.
//
//	{"v":1,"name":"access_key-eu-central-1-5f…","region":"eu-central-1",
//	 "auth":{"method":"access_key","access_key_id":"AKIA…"},"secret":{"from":"X…","box":"…"},
//	 "principal":{"account":"123456789012","arn":"arn:aws:iam::…:user/lessor"},"kept_at":"…"}
type stored struct {
	Version int              `json:"v"`
	Name    string           `json:"name"`
	Region  string           `json:"region"`
	Auth    messages.Auth    `json:"auth"`             // has the id of the key in use, without its secret
	Secret  *messages.Sealed `json:"secret,omitempty"` // of the key in use
	// Principal is the broker's own, as AWS has stated it; nil before AWS was asked.
	// Its account does not change while a lease names the connection, because the
	// lease's user is in that account.
	Principal *provider.Principal `json:"principal,omitempty"`
	// Paths are the IAM paths that users of leases have ever had.
	Paths []string `json:"paths,omitempty"`
	// KeptAt is when a definition with this connection was last put, or up to
	// keptInterval before.
	KeptAt time.Time `json:"kept_at"`
	// UnusedSince is when it was first found that nothing names the connection.
	UnusedSince time.Time `json:"unused_since,omitzero"`
	RotatedAt   time.Time `json:"rotated_at,omitzero"`
	Rotation    *rotation `json:"rotation,omitempty"` // in progress; nil if there is none
	// Retired are the ids of the keys that rotations have replaced. Definitions may
	// still have them.
	Retired []string `json:"retired,omitempty"`
}

const storedVersion = 1

// entry is a stored connection and its revision.
type entry struct {
	stored
	revision uint64
}

// keyPrefix begins the keys of connections in the state bucket; the name follows.
const keyPrefix = "connection."

func key(name string) string { return keyPrefix + name }

// purpose is what the secret of a connection's access key is sealed for.
func purpose(name string) string { return keyPrefix + name }

// ErrUnreadable means that a stored connection is damaged, or was written by a newer
// broker. It is left as it is.
var ErrUnreadable = errors.New("the stored connection can't be read, and is left as it is")

// decode reads the connection of that name. It returns [ErrUnreadable] if it can't.
func decode(name string, data []byte) (stored, error) {
	var s stored
	err := json.Unmarshal(data, &s)
	switch {
	case err != nil:
		err = errors.New(messages.Printable(err.Error()))
	case s.Version != storedVersion:
		err = fmt.Errorf("it has version %d, and this broker reads version %d", s.Version, storedVersion)
	case s.Name != name:
		err = errors.New("it has the name of another connection")
	}
	if err != nil {
		return stored{}, fmt.Errorf("connection %s: %w: %w", messages.Printable(name), ErrUnreadable, err)
	}
	return s, nil
}

// load returns a connection. It returns [bucket.ErrNotFound] if there is none, with
// the revision to create it on, and [ErrUnreadable] if it can't be read.
func (r *Registry) load(ctx context.Context, name string) (entry, error) {
	e, err := r.state.Get(ctx, key(name))
	if err != nil {
		return entry{revision: e.Revision}, err
	}
	s, err := decode(name, e.Value)
	return entry{stored: s, revision: e.Revision}, err
}

// save writes a connection if it is still at that revision, and returns the new one.
// It returns [bucket.ErrConflict] if it is not.
func (r *Registry) save(ctx context.Context, s stored, revision uint64) (uint64, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	return r.state.Put(ctx, key(s.Name), data, revision, 0)
}

// update saves what change makes of a connection, and begins anew if it has been
// written meanwhile. change returns false to leave the connection as it is.
func (r *Registry) update(ctx context.Context, name string, change func(*stored) bool) error {
	for {
		e, err := r.load(ctx, name)
		if err != nil {
			return err
		}
		if !change(&e.stored) {
			return nil
		}
		if _, err = r.save(ctx, e.stored, e.revision); !errors.Is(err, bucket.ErrConflict) {
			return err
		}
	}
}

// each visits every connection, in the order of their names. err is set for one that
// can't be read. Each is read from the bucket's leader: rotations rely on seeing what
// was written before.
func (r *Registry) each(ctx context.Context, visit func(name string, e entry, err error)) error {
	keys, err := r.state.Keys(ctx, key("*"))
	if err != nil {
		return err
	}
	for _, k := range keys {
		name := strings.TrimPrefix(k, keyPrefix)
		e, err := r.load(ctx, name)
		if errors.Is(err, bucket.ErrNotFound) {
			continue
		}
		if err != nil && !errors.Is(err, ErrUnreadable) {
			return err
		}
		visit(name, e, err)
	}
	return nil
}

// others returns every connection except one. It leaves out those that can't be read.
func (r *Registry) others(ctx context.Context, name string) ([]stored, error) {
	var all []stored
	err := r.each(ctx, func(n string, e entry, err error) {
		if err == nil && n != name {
			all = append(all, e.stored)
		}
	})
	return all, err
}
