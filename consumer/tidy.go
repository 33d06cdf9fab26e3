package consumer

import (
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/lessorhq/lessor/messages/record"
)

// tidying is the undoing of what is harmless. It is no worker's: in a mass expiry
// the workers are for the keys that are alive.
type tidying struct {
	slots   chan struct{} // of those who are at it
	waiting atomic.Int64  // for a slot, or having one
}

const (
	// tidyShare is how many workers for revocations there are for each slot.
	tidyShare = 2
	// maxTidying is how many messages may wait for a slot. More come again later:
	// each is a sign of life every few seconds.
	maxTidying = 1024
	// tidyTime is how many times longer than a worker a tidying may wait for AWS.
	tidyTime = 10
)

func newTidying(workers int) *tidying {
	return &tidying{slots: make(chan struct{}, max(1, workers/tidyShare))}
}

// isFull says whether no more may wait for a slot.
func (t *tidying) isFull() bool { return t.waiting.Load() >= maxTidying }

// isTidying says whether all that is left of a lease is to tidy up: a user with which
// nobody can do anything, or the Deny of a session that has expired.
func (c *Consumer) isTidying(rec held) bool {
	return rec.AccessEnded() || rec.SessionDenied() && !c.mustWait(rec)
}

// tidy goes on with the undoing of a lease that can harm nobody any more, when there
// is a slot, and answers m then. A stop does not wait for it: another replica goes on.
func (c *Consumer) tidy(m *inbound, o order, rec held, again bool) {
	if c.tidying.waiting.Add(1) > maxTidying {
		c.tidying.waiting.Add(-1)
		c.tidyLater(m, rec)
		return
	}
	c.background.Go(func() {
		defer c.tidying.waiting.Add(-1)
		select {
		case c.tidying.slots <- struct{}{}:
		case <-c.following.Done():
			m.later(c.cfg.RetryMin)
			return
		}
		defer func() { <-c.tidying.slots }()
		c.undoFor(c.following, m, o, rec, again)
	})
}

// tidyLater is for what comes when too much waits.
func (c *Consumer) tidyLater(m *inbound, rec held) {
	m.log.Debug().Msg("too many users wait to be tidied up; this one comes later")
	m.later(notYet(rec.Record))
}

// notYet is how long to wait with what AWS takes no calls for: the same for a lease
// each time, and spread over many, so that they don't come all at once.
func notYet(r record.Record) time.Duration {
	spread := float64(crc32.ChecksumIEEE([]byte(r.ID))) / (1 << 32)
	return record.MinTeardownWait + time.Duration(spread*float64(record.MinTeardownWait))
}
