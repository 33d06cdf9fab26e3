package bucket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrConflict means that the key has been written since it was read.
var ErrConflict = errors.New("the key has changed since it was read")

// ErrNotFound means that there is no value at the key.
var ErrNotFound = errors.New("no value at this key")

// errEnded means that NATS has ended a subscription.
var errEnded = errors.New("the watch has ended")

// errReplaced means that a bucket was deleted and made again, or restored.
var errReplaced = errors.New("it was replaced; reading it again")

// Timeouts of one question to NATS.
const (
	// Timeout bounds one read or write.
	Timeout = 5 * time.Second
	// apiTimeout bounds one question to the JetStream API, which does not answer
	// without a leader.
	apiTimeout = 3 * time.Second
)

// operationHeader marks a deletion in the way of NATS's key-value buckets.
const operationHeader = "KV-Operation"

// Publisher writes a message to a stream and returns its sequence. The message
// belongs to the publisher from then on.
type Publisher interface {
	Publish(context.Context, *nats.Msg) (uint64, error)
}

// Bucket is one key-value bucket. It is safe for concurrent use.
type Bucket struct {
	Name   string
	Stream jetstream.Stream

	js      jetstream.JetStream
	writes  Publisher
	onWrite func(error)
}

// Entry is a value at a key, and the revision that it was written at.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	// Header has the headers of the message that wrote the value, NATS's own among
	// them. It may be nil.
	Header nats.Header
	// Deleted is set in what a [Watcher] reports about a key that was deleted or
	// whose value has outlived its TTL. Value is empty then.
	Deleted bool
}

// StreamName is the stream of a bucket of that name.
func StreamName(bucket string) string { return "KV_" + bucket }

// Open returns the bucket of that name. It returns an error with
// [jetstream.ErrStreamNotFound] in its chain if there is none.
func Open(ctx context.Context, js jetstream.JetStream, name string) (*Bucket, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := js.Stream(ctx, StreamName(name))
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return &Bucket{Name: name, Stream: s, js: js, writes: direct{js}, onWrite: func(error) {}}, nil
}

// direct is the [Publisher] that publishes one message at a time.
type direct struct{ js jetstream.JetStream }

func (d direct) Publish(ctx context.Context, msg *nats.Msg) (uint64, error) {
	ack, err := d.js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// With returns a copy of the bucket that writes by p (nil: as b does) and reports the
// outcome of each write to onWrite. A lost race is not reported: it says nothing
// about NATS.
func (b *Bucket) With(p Publisher, onWrite func(error)) *Bucket {
	c := *b
	if p != nil {
		c.writes = p
	}
	c.onWrite = onWrite
	return &c
}

// Subject is the subject of a key or key filter.
func (b *Bucket) Subject(key string) string { return "$KV." + b.Name + "." + key }

// Get returns the entry at a key. It returns [ErrNotFound] if there is none; the
// entry then has the revision on which the key can be created.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	m, err := b.Stream.GetLastMsgForSubject(ctx, b.Subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{Key: key}, ErrNotFound
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", b.Subject(key), err)
	}
	if isDeletion(m.Header) {
		return Entry{Key: key, Revision: m.Sequence}, ErrNotFound
	}
	return Entry{Key: key, Value: m.Data, Revision: m.Sequence, Header: m.Header}, nil
}

// Put writes value if the key is still at that revision (0: it does not exist), and
// returns the new one. The key expires after ttl; 0 is never. It returns
// [ErrConflict] if the key is at another revision.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	return b.PutEntry(ctx, Entry{Key: key, Value: value, Revision: revision}, ttl)
}

// PutEntry is [Bucket.Put] of a value with headers: it writes e's value and headers
// if its key is still at its revision.
func (b *Bucket) PutEntry(ctx context.Context, e Entry, ttl time.Duration) (uint64, error) {
	msg := nats.NewMsg(b.Subject(e.Key))
	msg.Data = e.Value
	maps.Copy(msg.Header, e.Header)
	if ttl > 0 {
		msg.Header.Set(jetstream.MsgTTLHeader, ttl.String())
	}
	return b.write(ctx, "write", msg, e.Revision)
}

// Delete deletes the key if it is still at that revision. It returns [ErrConflict]
// if it is not.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	msg := nats.NewMsg(b.Subject(key))
	msg.Header.Set(operationHeader, "DEL")
	_, err := b.write(ctx, "delete", msg, revision)
	return err
}

func (b *Bucket) write(ctx context.Context, what string, msg *nats.Msg, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	subject := msg.Subject // the message is the publisher's once it is published
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	now, err := b.writes.Publish(ctx, msg)
	if IsConflict(err) {
		return 0, ErrConflict
	}
	b.onWrite(err)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", what, subject, err)
	}
	return now, nil
}

// Keys returns the keys that match a filter, in their order, as the leader knows
// them. Deleted keys whose marker is still stored are among them.
func (b *Bucket) Keys(ctx context.Context, filter string) ([]string, error) {
	info, err := b.Stream.Info(ctx, jetstream.WithSubjectFilter(b.Subject(filter)))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", b.Subject(filter), err)
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, b.Subject("")))
	}
	slices.Sort(keys)
	return keys, nil
}

// Scan visits every entry whose key matches a filter, once each, in no particular
// order. It visits every entry that exists from its begin to its end; an entry that
// is written meanwhile is visited in its old or its new version.
func (b *Bucket) Scan(ctx context.Context, filter string, visit func(Entry)) error {
	seen := map[string]bool{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates, err := b.subscribe(ctx, filter)
	if err != nil {
		return fmt.Errorf("scan %s: %w", b.Subject(filter), err)
	}
	silent := time.NewTimer(apiTimeout) // the last entries that are expected may have been removed
	defer silent.Stop()
	for {
		select {
		case u := <-updates:
			silent.Reset(apiTimeout)
			switch {
			case u.ended:
				return fmt.Errorf("scan %s: %w", b.Subject(filter), errEnded)
			case u.loaded:
				return b.scanMissed(ctx, filter, seen, visit)
			case !u.Deleted && !seen[u.Key]:
				seen[u.Key] = true
				visit(u.Entry)
			}
		case <-silent.C:
			return b.scanMissed(ctx, filter, seen, visit)
		case <-ctx.Done():
			return fmt.Errorf("scan %s: %w", b.Subject(filter), ctx.Err())
		}
	}
}

// scanMissed visits the entries that the first part of a watch has not reported: if
// a key is written while the watch begins, its entry may be reported after that part.
func (b *Bucket) scanMissed(ctx context.Context, filter string, seen map[string]bool, visit func(Entry)) error {
	keys, err := b.Keys(ctx, filter)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if seen[key] {
			continue
		}
		e, err := b.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		visit(e)
	}
	return nil
}
