// Package store keeps what the broker knows: the lease records ([Leases]), the state
// of the installation ([InstallationID], [CheckKeys]), and the free-space reserve
// that lets leases end when JetStream is full ([Reserve]).
//
// Every write is a compare-and-set on the revision that was read. Where NATS flushes
// each write to the disk, writes go through a [GroupCommit].
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// Entry is a lease record and its revision in the bucket.
type Entry struct {
	record.Record
	Revision uint64
}

// Exists reports whether there is a record. An entry without one may have a revision on
// which it can be created.
func (e Entry) Exists() bool { return e.Attempt > 0 }

// Leases keeps the lease records in their bucket. It is safe for concurrent use.
type Leases struct {
	*bucket.Bucket
	tombstoneAge time.Duration
}

// NewLeases returns the records in a bucket. Records of ended leases expire after
// tombstoneAge.
func NewLeases(b *bucket.Bucket, tombstoneAge time.Duration) *Leases {
	return &Leases{Bucket: b, tombstoneAge: tombstoneAge}
}

// Load returns a lease's entry. It returns [bucket.ErrNotFound] if there is none;
// the entry then has the revision to create the record on. For a record that can't
// be read it returns an error for which [IsUnreadable] is true.
func (l *Leases) Load(ctx context.Context, name messages.LeaseName) (Entry, error) {
	e, err := l.Get(ctx, name.String())
	if err != nil {
		return Entry{Revision: e.Revision}, err
	}
	return decode(e)
}

// Save writes next on top of a revision (0: the record does not exist) and returns
// its entry. It returns [bucket.ErrConflict] if the record has another revision.
func (l *Leases) Save(ctx context.Context, next record.Record, revision uint64) (Entry, error) {
	data, err := next.Encode()
	if err != nil {
		return Entry{}, err
	}
	var ttl time.Duration
	if next.State.Ended() {
		ttl = l.tombstoneAge
	}
	if revision, err = l.PutEntry(ctx, bucket.Entry{Key: next.Name().String(), Value: data, Header: next.Header(), Revision: revision}, ttl); err != nil {
		return Entry{}, err
	}
	return Entry{Record: next, Revision: revision}, nil
}

// Visit visits every record whose key matches a filter, once. A record that can't be
// read comes with an error that has an [Unreadable] in its chain.
func (l *Leases) Visit(ctx context.Context, filter string, visit func(key string, e Entry, err error)) error {
	return l.Scan(ctx, filter, func(raw bucket.Entry) {
		e, err := decode(raw)
		visit(raw.Key, e, err)
	})
}

// VisitLive is Visit without the ended leases, which are most of a day's records.
func (l *Leases) VisitLive(ctx context.Context, filter string, visit func(key string, e Entry, err error)) error {
	return l.Scan(ctx, filter, func(raw bucket.Entry) {
		if s, err := record.Summarize(raw.Key, raw.Header, raw.Value); err == nil && s.State.Ended() {
			return
		}
		e, err := decode(raw)
		visit(raw.Key, e, err)
	})
}

// Filter is the key filter for the leases of an identity and a secret; "" is any.
func Filter(identity, secret string) string {
	token := func(t string) string {
		if t == "" {
			return "*"
		}
		return t
	}
	return token(identity) + "." + token(secret) + ".*"
}

// Users are the IAM users that live leases have.
type Users struct {
	Names      map[string]bool // in lower case: IAM's names ignore case
	Unreadable bool            // there are records that can't be read
}

// Users returns the users that live leases have. Of a record that can't be read that
// is the user whose name could be read, if any.
func (l *Leases) Users(ctx context.Context) (Users, error) {
	users := Users{Names: map[string]bool{}}
	err := l.VisitLive(ctx, ">", func(_ string, e Entry, err error) {
		name := e.User.Name
		if bad := (*Unreadable)(nil); errors.As(err, &bad) {
			users.Unreadable, name = true, bad.Partial.Username
		}
		users.Names[strings.ToLower(name)] = true
	})
	return users, err
}

// UsedConnections returns which connections live leases name. A record whose
// connection can't be read may name any of them.
func (l *Leases) UsedConnections(ctx context.Context) (used func(name string) bool, err error) {
	names, all := map[string]bool{}, false
	err = l.VisitLive(ctx, ">", func(_ string, e Entry, err error) {
		name := e.Connection
		if bad := (*Unreadable)(nil); errors.As(err, &bad) {
			name = bad.Partial.Connection
			all = all || name == ""
		}
		names[name] = true
	})
	return func(name string) bool { return all || names[name] }, err
}

// Unreadable is the cause if a record can't be read, because it is damaged or of a
// newer version. The broker leaves such a record alone, and never takes it for one
// that does not exist.
type Unreadable struct {
	Key      string
	Revision uint64
	Partial  record.Partial
	Err      error
}

// Error names the key, the revision and the cause.
func (u *Unreadable) Error() string {
	return fmt.Sprintf("%s at revision %d: %s", u.Key, u.Revision, u.Err)
}

// Unwrap returns the cause.
func (u *Unreadable) Unwrap() error { return u.Err }

var errUnreadable = messages.Errorf(messages.CodeRecordUnreadable,
	"this broker can't read the lease's record, and leaves it alone until it can; its operator has to fix that")

// IsUnreadable reports whether an error means that a record exists and can't be read.
func IsUnreadable(err error) bool { return messages.IsCode(err, messages.CodeRecordUnreadable) }

func decode(raw bucket.Entry) (Entry, error) {
	r, err := record.DecodeAt(raw.Key, raw.Value)
	if err != nil {
		err = errUnreadable.Because(&Unreadable{Key: raw.Key, Revision: raw.Revision, Partial: record.DecodePartial(raw.Value), Err: err})
	}
	return Entry{Record: r, Revision: raw.Revision}, err
}
