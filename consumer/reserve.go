package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// reserve is room in JetStream that is taken so that it can be given back: in values
// of the state bucket that say nothing. To end a lease takes room, for the order, the
// record and the event. When a write is refused for want of it, the reserve is
// purged, which needs none, and new leases wait, so that what ends leases has the
// room. It is taken again when twice as much can be had, and then the broker gives
// leases again.
//
// The limits of a JetStream account and of a server are held off so; a disk that is
// full is not, because the server stops writing there for good.
type reserve struct {
	bucket *bucket
	bytes  int
	spent  atomic.Bool
	wanted chan struct{} // somebody needs the room
}

// errNoRoom is what requests wait for while the reserve is spent.
var errNoRoom = messages.Errorf(messages.CodeUnavailable, "the broker's JetStream has no room for a new lease; try again later")

// reserveBlock is the size of the values: below the least that servers are set to
// take as a message.
const reserveBlock = 32 << 10

// The keys: what is kept, and what is taken to see that there is as much again.
const (
	reservePrefix = "reserve."
	reserveKept   = reservePrefix + "kept."
	reserveMargin = reservePrefix + "margin."
)

func newReserve(state *bucket, bytes int) *reserve {
	quiet := *state
	quiet.wrote = func(error) {} // that there is no room is what it finds out
	return &reserve{bucket: &quiet, bytes: bytes, wanted: make(chan struct{}, 1)}
}

func (r *reserve) isSpent() bool { return r.spent.Load() }

// spend gives the room back, soon.
func (r *reserve) spend() {
	r.spent.Store(true)
	select {
	case r.wanted <- struct{}{}:
	default: // about to be done
	}
}

func (r *reserve) blocks() int { return (r.bytes + reserveBlock - 1) / reserveBlock }

// release purges the values whose keys begin so. That needs no room.
func (r *reserve) release(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return r.bucket.stream.Purge(ctx, jetstream.WithPurgeSubject(r.bucket.prefix+prefix+">"))
}

// isThere says whether all of it is.
func (r *reserve) isThere(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	keys, err := r.bucket.keys(ctx, reserveKept+">")
	return len(keys) >= r.blocks(), err
}

// take fills it, if there is room for as much again. Other brokers may do the same.
func (r *reserve) take(ctx context.Context) error {
	for _, prefix := range []string{reserveKept, reserveMargin} {
		for i := range r.blocks() {
			if err := r.fill(ctx, fmt.Sprint(prefix, i)); err != nil {
				return err
			}
		}
	}
	return r.release(ctx, reserveMargin)
}

func (r *reserve) fill(ctx context.Context, key string) error {
	_, revision, err := r.bucket.get(ctx, key)
	if !errors.Is(err, errNotFound) {
		return err
	}
	if _, err = r.bucket.put(ctx, key, make([]byte, reserveBlock), revision, 0); errors.Is(err, errConflict) {
		return nil // another broker's will do
	}
	return err
}

// lookAfterReserve gives the room back when it is needed, and takes it again when
// that can be.
func (c *Consumer) lookAfterReserve() {
	ctx, r := c.following, c.reserve
	for ctx.Err() == nil {
		wait := c.cfg.ChoresEvery
		if !c.tendReserve(ctx) {
			wait *= reserveRare
		}
		select {
		case <-ctx.Done():
		case <-r.wanted:
			if err := r.release(ctx, reservePrefix); err != nil && ctx.Err() == nil {
				c.log.Warn().Err(err).Msg("the reserve could not be given back")
			}
			_ = pause(ctx, wait) // for what has waited for the room; ctx is looked at next
		case <-time.After(wait):
		}
	}
}

// reserveRare is how much rarer it is tried to take the reserve when there was no
// room: each time takes what room there is from others for a moment.
const reserveRare = 10

// tendReserve takes the reserve where it is not there, and returns false where there
// is no room for it. Another broker may have given it back: then new leases wait
// here, too.
func (c *Consumer) tendReserve(ctx context.Context) bool {
	r := c.reserve
	there, err := r.isThere(ctx)
	if err == nil && !there {
		err = r.take(ctx)
	}
	switch {
	case err == nil:
		r.spent.Store(false)
	case kindOf(err) == full:
		r.spent.Store(true)
		_ = r.release(ctx, reservePrefix) // what was had of it is room for others
	default:
		return true // noted by those who look after the streams
	}
	c.troubles.note("reserve", err)
	return err == nil
}
