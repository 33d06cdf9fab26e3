package lease

import (
	"context"
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages/record"
)

// cleanups bounds the teardowns of leases whose access has ended. They run on goroutines
// of their own: in a mass expiry the workers delete the keys that still work.
type cleanups struct {
	slots    chan struct{} // of those that run
	max      int64         // that may run, or wait for a slot
	admitted atomic.Int64  // that run, or wait for a slot
}

// cleanupTimeoutFactor is how much longer than a worker a cleanup may wait for AWS.
const cleanupTimeoutFactor = 10

func newCleanups(slots, most int) *cleanups {
	return &cleanups{slots: make(chan struct{}, max(1, slots)), max: int64(most)}
}

// full reports whether no more may wait for a slot.
func (c *cleanups) full() bool { return c.admitted.Load() >= c.max }

// needsCleanupOnly reports whether all that is left of a lease is cleanup: a user
// with no working key, or the Deny of a session that has expired.
func (t *Teardown) needsCleanupOnly(e store.Entry) bool {
	return e.AccessEnded() || e.SessionDenied() && !t.mustDenySession(e)
}

// cleanUp continues the teardown of a lease whose access has ended, when there is a
// slot. A stop does not wait for it: another replica continues.
func (t *Teardown) cleanUp(m ending, e store.Entry, try attempt) queue.Outcome {
	if t.cleanups.admitted.Add(1) > t.cleanups.max {
		t.cleanups.admitted.Add(-1)
		return t.cleanUpLater(m, e)
	}
	return queue.DetachUntilStop(func(ctx context.Context) queue.Outcome {
		defer t.cleanups.admitted.Add(-1)
		select {
		case t.cleanups.slots <- struct{}{}:
		case <-ctx.Done():
			return queue.RetryIn(t.RetryMin)
		}
		defer func() { <-t.cleanups.slots }()
		return t.runFor(ctx, m, e, try)
	})
}

// cleanUpLater gives the message back, because too many wait.
func (t *Teardown) cleanUpLater(m ending, e store.Entry) queue.Outcome {
	m.log.Debug().Msg("too many cleanups wait; this one comes later")
	return queue.RetryIn(spreadWait(e.Record))
}

// spreadWait is how long to wait with what AWS takes no calls for: the same for a
// lease each time, and spread over many leases.
func spreadWait(r record.Record) time.Duration {
	spread := float64(crc32.ChecksumIEEE([]byte(r.ID))) / (1 << 32)
	return record.MinTeardownWait + time.Duration(spread*float64(record.MinTeardownWait))
}
