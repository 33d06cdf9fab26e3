package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/health"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// Reserve keeps room in JetStream free so that leases can end when it is full: values
// of the state bucket that have no content of use. Ending a lease needs room for the
// command, the record and the event. When a write is refused for lack of room, the
// reserve is purged, which needs none, and no new leases are made until twice as much
// room is free and the reserve is filled again.
//
// That helps at the limits of a JetStream account or server, not on a full disk: the
// server stops writing there for good.
type Reserve struct {
	bucket *bucket.Bucket
	bytes  int
	every  time.Duration
	health *health.Tracker
	log    zerolog.Logger

	spent  atomic.Bool
	wanted chan struct{} // a write needs the room
}

// ErrNoRoom refuses requests while the reserve is spent.
var ErrNoRoom = messages.Errorf(messages.CodeUnavailable, "the broker's JetStream has no room for a new lease; try again later")

// reserveBlock is the size of the values: below the smallest maximum message size
// that servers are configured with.
const reserveBlock = 32 << 10

// Keys of the reserve, and of the values that prove that as much again is free.
const (
	reservePrefix = "reserve."
	reserveKept   = reservePrefix + "kept."
	reserveMargin = reservePrefix + "margin."
)

// retryFactor is how much longer [Reserve.Run] waits after it found no room: each
// attempt takes the room from others for a moment.
const retryFactor = 10

// NewReserve returns a reserve of that many bytes in the state bucket. [Reserve.Run]
// looks at it every so often.
func NewReserve(state *bucket.Bucket, bytes int, every time.Duration, h *health.Tracker, log zerolog.Logger) *Reserve {
	return &Reserve{
		bucket: state.With(nil, func(error) {}), // a write that finds no room here is no problem
		bytes:  bytes, every: every, health: h, log: log, wanted: make(chan struct{}, 1),
	}
}

// Spent reports whether the reserve is spent: no new leases must be made.
func (r *Reserve) Spent() bool { return r.spent.Load() }

// Wrote is told the outcome of every write; a lack of room spends the reserve.
func (r *Reserve) Wrote(err error) {
	if bucket.ProblemOf(err) != bucket.ProblemNoRoom {
		return
	}
	r.spent.Store(true)
	select {
	case r.wanted <- struct{}{}:
	default: // it is about to be purged
	}
}

// Run purges the reserve when its room is needed and fills it again when it can,
// until ctx ends.
func (r *Reserve) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := r.every
		if !r.maintain(ctx) {
			wait *= retryFactor
		}
		select {
		case <-ctx.Done():
		case <-r.wanted:
			if err := r.purge(ctx, reservePrefix); err != nil && ctx.Err() == nil {
				r.log.Warn().Err(err).Msg("the free-space reserve could not be purged")
			}
			_ = retry.Sleep(ctx, wait) // for the writes that need the room; the loop looks at ctx
		case <-time.After(wait):
		}
	}
}

// maintain fills the reserve if it is not there, and returns false if there is no
// room for it. Another broker may have purged it: then no new leases are made here
// either.
func (r *Reserve) maintain(ctx context.Context) bool {
	full, err := r.Filled(ctx)
	if err == nil && !full {
		err = r.fill(ctx)
	}
	switch {
	case err == nil:
		r.spent.Store(false)
	case bucket.ProblemOf(err) == bucket.ProblemNoRoom:
		r.spent.Store(true)
		_ = r.purge(ctx, reservePrefix) // a part of it is room for others
	default:
		return true // the stream monitor reports it
	}
	r.health.Report("reserve", err)
	return err == nil
}

func (r *Reserve) blocks() int { return (r.bytes + reserveBlock - 1) / reserveBlock }

// Filled reports whether all of the reserve is there.
func (r *Reserve) Filled(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	keys, err := r.bucket.Keys(ctx, reserveKept+">")
	return len(keys) >= r.blocks(), err
}

// fill fills the reserve, if there is room for as much again. Other brokers may do
// the same.
func (r *Reserve) fill(ctx context.Context) error {
	for _, prefix := range []string{reserveKept, reserveMargin} {
		for i := range r.blocks() {
			if err := r.fillBlock(ctx, fmt.Sprint(prefix, i)); err != nil {
				return err
			}
		}
	}
	return r.purge(ctx, reserveMargin)
}

func (r *Reserve) fillBlock(ctx context.Context, key string) error {
	e, err := r.bucket.Get(ctx, key)
	if !errors.Is(err, bucket.ErrNotFound) {
		return err
	}
	if _, err = r.bucket.Put(ctx, key, make([]byte, reserveBlock), e.Revision, 0); errors.Is(err, bucket.ErrConflict) {
		return nil // another broker has filled it
	}
	return err
}

// purge removes the values whose keys have a prefix. That needs no room.
func (r *Reserve) purge(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	return r.bucket.Stream.Purge(ctx, jetstream.WithPurgeSubject(r.bucket.Subject(prefix+">")))
}
