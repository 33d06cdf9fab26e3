package scheduler

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// Bounds of the time until a resync.
const (
	// resyncFactor is how many times longer than it takes to read the bucket the
	// scheduler waits, at least, before it reads it again.
	resyncFactor = 100
	// maxResync bounds that wait.
	maxResync = time.Hour
	// maxSilence is how long a watch that has not reported everything may report
	// nothing. Messages that it has announced may have been purged.
	maxSilence = 30 * time.Second
)

// streamState is what is known of the stream of the lease bucket.
type streamState struct {
	created time.Time // zero before the first watch
	last    uint64    // the highest revision that it was seen to have
}

// replacedBy reports whether the bucket with that stream is not the one that was known:
// it was deleted and made again, or restored. It is false if none was known.
func (b streamState) replacedBy(info *jetstream.StreamInfo) bool {
	return !b.created.IsZero() && (!info.Created.Equal(b.created) || info.State.LastSeq < b.last)
}

// watching is the state of the present watch.
type watching struct {
	mu       sync.Mutex
	stream   streamState
	begun    time.Time
	loading  bool      // it has not reported everything yet
	resyncAt time.Time // while loading: unless it reports something before
}

// saw notes a revision that the watch has reported.
func (w *watching) saw(revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stream.last = max(w.stream.last, revision)
	if w.loading {
		w.resyncAt = time.Now().Add(maxSilence)
	}
}

// watch keeps the index up to date until ctx ends.
func (s *Scheduler) watch(ctx context.Context) {
	bucket.Watcher{
		Bucket: s.cfg.Namespace.LeaseBucket(),
		Begin:  s.watchBegins, Update: s.update, Loaded: s.watchLoaded, Broken: s.watchBroke,
		Check: s.cfg.Check, Resync: s.resync,
	}.Run(ctx, s.js)
}

// watchBegins begins a generation of the index. In another bucket, or one that was
// restored, equal revisions do not mean equal records: then every record is read.
func (s *Scheduler) watchBegins(info *jetstream.StreamInfo) {
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream.replacedBy(info) {
		s.index.invalidate()
	}
	w.stream = streamState{created: info.Created, last: info.State.LastSeq}
	w.begun, w.loading, w.resyncAt = time.Now(), true, time.Now().Add(maxSilence)
	s.index.beginGeneration()
}

// watchLoaded is called when the watch has reported everything.
func (s *Scheduler) watchLoaded() {
	dropped := s.index.dropUnseen()
	w := &s.watching
	w.mu.Lock()
	took := time.Since(w.begun)
	w.loading, w.resyncAt = false, time.Now().Add(s.untilResync(took))
	w.mu.Unlock()
	s.loaded.Store(true)
	s.broken.Store(nil)
	s.cfg.Log.Debug().Int("leases", s.Leases()).Int("dropped", dropped).Dur("took", took).Msg("leases loaded")
}

// untilResync returns the wait before the next resync, if the last took that long.
// It is random, so that replicas do not read at the same time.
func (s *Scheduler) untilResync(took time.Duration) time.Duration {
	wait := max(s.cfg.Resync, min(resyncFactor*took, maxResync))
	return wait*3/4 + rand.N(wait/2) // #nosec G404 -- it need not be unpredictable
}

// watchBroke is called when a watch has failed.
func (s *Scheduler) watchBroke(err error, wait time.Duration) {
	why := err.Error()
	level := zerolog.WarnLevel
	if s.broken.Swap(&why) != nil {
		level = zerolog.DebugLevel // it failed before, too
	}
	s.cfg.Log.WithLevel(level).Err(err).Dur("again_in", wait).Msg("watching the leases failed; trying again")
}

// update applies an entry of the bucket to the index.
func (s *Scheduler) update(e bucket.Entry) {
	s.watching.saw(e.Revision)
	if e.Deleted {
		s.index.remove(e.Key)
		return
	}
	if s.index.markSeen(e.Key, e.Revision) {
		return
	}
	r, err := record.Summarize(e.Key, e.Header, e.Value)
	if err != nil {
		s.index.setAside(e.Key, e.Revision)
		s.cfg.Log.Error().Err(err).Str("lease", e.Key).Uint64("revision", e.Revision).
			Msg("a record that can't be read is set aside")
		return
	}
	s.rates.note(r.Name, r.Sequence, r.StartedAt, s.cfg.Now())
	if r.Due.IsZero() {
		s.index.remove(e.Key)
		return
	}
	s.index.set(e.Key, r.Due, classOf(r), e.Revision)
}

func classOf(r record.Summary) class {
	switch {
	case r.Failing:
		return failing
	case r.AccessEnded:
		return cleanup
	case r.State == messages.StateProvisioning:
		return provisioning
	case r.State == messages.StateActive:
		return active
	}
	return revoking
}

// resyncs has the watch begun anew when it is time.
func (s *Scheduler) resyncs(ctx context.Context) {
	t := time.NewTicker(min(s.cfg.Check, s.cfg.Resync))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !s.outOfDate() {
			continue
		}
		select {
		case s.resync <- struct{}{}:
		default: // the last one has not been received
		}
	}
}

// outOfDate reports whether it is time to begin the watch anew.
func (s *Scheduler) outOfDate() bool {
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.stream.created.IsZero() && time.Now().After(w.resyncAt)
}
