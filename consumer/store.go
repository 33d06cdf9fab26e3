package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// errConflict says that somebody else has written the key since it was read.
var errConflict = errors.New("the key has changed since it was read")

// errNotFound says that there is nothing at the key.
var errNotFound = errors.New("nothing at this key")

// storeTimeout bounds one read or write.
const storeTimeout = 5 * time.Second

// bucket is a KV bucket, read from its leader and written by compare-and-set
// only. It is used below jetstream.KeyValue because that can't give a key that
// exists a TTL, nor name both codes that a lost race has on the server.
type bucket struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	name   string
	prefix string // $KV.<bucket>.
	writes *committer
	wrote  func(error) // hears how each write went
}

func openBucket(ctx context.Context, js jetstream.JetStream, name string) (*bucket, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := js.Stream(ctx, "KV_"+name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return &bucket{js: js, stream: s, name: name, prefix: "$KV." + name + ".", writes: &committer{js: js}, wrote: func(error) {}}, nil
}

// get returns value and revision. At a key that was deleted, or whose value has
// outlived its TTL, it returns [errNotFound] with the revision to write on.
func (b *bucket) get(ctx context.Context, key string) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	m, err := b.stream.GetLastMsgForSubject(ctx, b.prefix+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, errNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s%s: %w", b.prefix, key, err)
	}
	if m.Header.Get(jetstream.MarkerReasonHeader) != "" || m.Header.Get("KV-Operation") != "" {
		return nil, m.Sequence, errNotFound
	}
	return m.Data, m.Sequence, nil
}

// put writes value if the key's revision is still the one given (0: there is
// nothing), and returns the new one. After ttl the key is gone; 0 is never. It
// returns [errConflict] where the revision is another.
func (b *bucket) put(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	msg := nats.NewMsg(b.prefix + key)
	msg.Data = value
	if ttl > 0 {
		msg.Header.Set(jetstream.MsgTTLHeader, ttl.String())
	}
	now, err := b.publish(ctx, msg, revision)
	if err != nil && !errors.Is(err, errConflict) {
		return 0, fmt.Errorf("write %s%s: %w", b.prefix, key, err)
	}
	return now, err
}

// remove deletes the key if its revision is still the one given, or else returns
// [errConflict].
func (b *bucket) remove(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	msg := nats.NewMsg(b.prefix + key)
	msg.Header.Set("KV-Operation", "DEL")
	_, err := b.publish(ctx, msg, revision)
	if err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("delete %s%s: %w", b.prefix, key, err)
	}
	return err
}

// publish writes a message if the revision of its key is still the one given.
func (b *bucket) publish(ctx context.Context, msg *nats.Msg, revision uint64) (uint64, error) {
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	now, err := b.writes.publish(ctx, msg)
	if isConflict(err) {
		return 0, errConflict
	}
	b.wrote(err)
	return now, err
}

// keys returns the keys that match a filter and that there are now, by the
// leader's word.
func (b *bucket) keys(ctx context.Context, filter string) ([]string, error) {
	info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter(b.prefix+filter))
	if err != nil {
		return nil, fmt.Errorf("list %s%s: %w", b.prefix, filter, err)
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, b.prefix))
	}
	slices.Sort(keys)
	return keys, nil
}

// isConflict knows both codes of a lost race: the second is a replicated
// stream's.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// leaseStore keeps the lease records.
type leaseStore struct {
	*bucket
	tombstoneAge time.Duration
	memory       *memory
}

// held is a record and the revision that it was read or written at.
type held struct {
	record.Record
	revision uint64
}

// load reads a lease's record. Where there is none the revision is the one to
// create it on.
func (s *leaseStore) load(ctx context.Context, name messages.LeaseName) (held, error) {
	data, revision, err := s.get(ctx, name.String())
	if err != nil {
		return held{revision: revision}, err
	}
	r, err := readRecord(name.String(), data, revision)
	return held{Record: r, revision: revision}, err
}

// unreadable is the cause where a record can't be read: it is damaged, or a newer
// broker's. It is set aside: left as it is, and never taken for one that is not there.
type unreadable struct {
	key      string
	revision uint64
	remains  record.Partial
	why      error
}

func (u *unreadable) Error() string {
	return fmt.Sprintf("%s at revision %d: %s", u.key, u.revision, u.why)
}
func (u *unreadable) Unwrap() error { return u.why }

// readRecord reads what stands at a key. The error is of the code
// [messages.CodeRecordUnreadable], and its cause is an [unreadable].
func readRecord(key string, data []byte, revision uint64) (record.Record, error) {
	r, err := record.DecodeAt(key, data)
	if err != nil {
		return r, errUnreadable.Because(&unreadable{key: key, revision: revision, remains: record.DecodePartial(data), why: err})
	}
	return r, nil
}

var errUnreadable = messages.Errorf(messages.CodeRecordUnreadable,
	"this broker can't read the lease's record, and leaves it alone until it can; its operator must see to that")

// isUnreadable says that a record is there and can't be read.
func isUnreadable(err error) bool { return messages.IsCode(err, messages.CodeRecordUnreadable) }

// save writes next over the record at that revision, by compare-and-set.
func (s *leaseStore) save(ctx context.Context, next record.Record, revision uint64) (held, error) {
	data, err := next.Encode()
	if err != nil {
		return held{}, err
	}
	var ttl time.Duration
	if next.State.Ended() {
		ttl = s.tombstoneAge
	}
	revision, err = s.put(ctx, next.Name().String(), data, revision, ttl)
	if err != nil {
		s.memory.forget(next.Name())
		return held{}, err
	}
	saved := held{Record: next, revision: revision}
	s.memory.keep(saved)
	return saved, nil
}
