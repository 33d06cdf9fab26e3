package scheduler

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/messages/bucket"
)

// Forget removes a lease from the index.
func (s *Scheduler) Forget(lease string) { s.index.remove(lease) }

// Invent adds a lease to the index.
func (s *Scheduler) Invent(lease string, due time.Time, revision uint64) {
	s.index.set(lease, due, active, revision)
}

// Has reports whether the index has a lease.
func (s *Scheduler) Has(lease string) bool {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.index.entries[lease] != nil
}

// Update applies an entry of the bucket, as the watch does.
func (s *Scheduler) Update(e bucket.Entry) { s.update(e) }

// RunOnce makes one pass of the tick.
func (s *Scheduler) RunOnce(ctx context.Context) (more bool) { return s.runOnce(ctx) }

// Resync begins the watch anew and waits until it has reported everything.
func (s *Scheduler) Resync() {
	w := &s.watching
	begun := func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.loading {
			return time.Time{}
		}
		return w.begun
	}
	before := begun()
	s.resync <- struct{}{}
	for now := begun(); now.IsZero() || now.Equal(before); now = begun() {
		time.Sleep(time.Millisecond)
	}
}
