package bucket

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// update is what a subscription to a bucket reports: an entry; or, if loaded is set, that
// it has reported all entries that were in the bucket when it began; or, if ended is set,
// that NATS has ended it.
type update struct {
	Entry
	loaded, ended bool
}

// maxUnread is how many updates are read ahead.
const maxUnread = 256

// subscribe reports the entry of each key that matches a filter, in the order of
// their revisions, and then what changes. It reports nothing more when ctx ends. An
// entry that is written while it begins may be reported after the update that is loaded.
//
// It does what [jetstream.KeyValue.Watch] does, which does not report headers, and
// like that takes an ordered consumer, which nats.go makes anew when messages are
// missing.
func (b *Bucket) subscribe(ctx context.Context, filter string) (<-chan update, error) {
	consumers, err := b.js.Conn().JetStream(nats.APIPrefix(b.js.Options().APIPrefix))
	if err != nil {
		return nil, err
	}
	updates := make(chan update, maxUnread)
	ctx, cancel := context.WithCancelCause(ctx)
	silent := time.AfterFunc(apiTimeout, func() { cancel(nats.ErrTimeout) })
	defer silent.Stop()
	send := func(u update) {
		select {
		case updates <- u:
		case <-ctx.Done():
		}
	}
	var initial uint64 // entries still to be reported before the update that is loaded
	counted := make(chan struct{})
	s, err := consumers.Subscribe(b.Subject(filter), func(m *nats.Msg) {
		<-counted
		meta, err := m.Metadata()
		if err != nil {
			return // not a message of the stream
		}
		send(update{Entry: b.entry(m, meta.Sequence.Stream)})
		if initial == 0 {
			return
		}
		if initial--; initial == 0 || meta.NumPending == 0 { // or some were deleted meanwhile
			initial = 0
			send(update{loaded: true})
		}
	}, nats.BindStream(StreamName(b.Name)), nats.OrderedConsumer(), nats.DeliverLastPerSubject(), nats.Context(ctx))
	if err != nil {
		cancel(asJetStream(err))
		return nil, context.Cause(ctx)
	}
	s.SetClosedHandler(func(string) { send(update{ended: true}) })
	if !s.IsValid() { // before the handler was set
		cancel(errEnded)
		return nil, context.Cause(ctx)
	}
	if initial, _ = s.InitialConsumerPending(); initial == 0 {
		send(update{loaded: true})
	}
	close(counted)
	return updates, nil
}

// asJetStream returns an error of nats.go's older JetStream API as the same error of
// package jetstream, so that [ProblemOf] recognizes it.
func asJetStream(err error) error {
	var api *nats.APIError
	if errors.As(err, &api) {
		return &jetstream.APIError{Code: api.Code, ErrorCode: jetstream.ErrorCode(api.ErrorCode), Description: api.Description}
	}
	return err
}

// entry returns the entry that a message of the stream wrote.
func (b *Bucket) entry(m *nats.Msg, revision uint64) Entry {
	e := Entry{Key: strings.TrimPrefix(m.Subject, b.Subject("")), Revision: revision, Header: m.Header, Deleted: isDeletion(m.Header)}
	if !e.Deleted {
		e.Value = m.Data
	}
	return e
}

// isDeletion reports whether a message with these headers deletes its key: a deletion
// or purge in the way of NATS's key-value buckets, or NATS's marker of a message that
// has outlived its TTL.
func isDeletion(h nats.Header) bool {
	return h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}
