package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Bounds of the wait before a watch that broke is begun anew.
const (
	minRewatch = 250 * time.Millisecond
	maxRewatch = 5 * time.Second
)

// errAstray is why a watch is begun anew where the index does not say what the bucket
// does.
var errAstray = errors.New("the index is not as the bucket")

// follow keeps the index up to date, by one watch after another.
func (s *Scheduler) follow(ctx context.Context) {
	s.recall(ctx)
	wait := minRewatch
	for ctx.Err() == nil {
		err := s.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAstray) {
			wait = minRewatch
			continue
		}
		why := err.Error()
		level := zerolog.WarnLevel
		if s.broken.Swap(&why) != nil {
			level = zerolog.DebugLevel // it has been told
		}
		s.cfg.Log.WithLevel(level).Err(err).Dur("again_in", wait).Msg("watching the leases failed; trying again")
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRewatch)
	}
}

// watch reads the whole bucket and then what changes, until a patrol finds that the
// index has gone astray. Each watch is a generation: when one has read everything, what
// it has not seen is not there any more.
func (s *Scheduler) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var patrols sync.WaitGroup
	defer patrols.Wait()
	defer cancel()
	kv, err := s.js.KeyValue(ctx, s.cfg.Namespace.LeaseBucket())
	if err != nil {
		return err
	}
	was, err := s.lookAt(ctx)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer leave(w)
	s.generation++
	s.revision.Store(min(s.revision.Load(), was.State.LastSeq)) // it may have gone back
	astray := make(chan struct{})
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-astray:
			return errAstray
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				s.know(begun)
				patrols.Go(func() { s.patrols(ctx, was.Created, astray) })
				continue
			}
			s.learn(e)
		}
	}
}

// know says that the index has all that the bucket has.
func (s *Scheduler) know(begun time.Time) {
	forgotten := s.index.keepOnly(s.generation)
	s.loaded.Store(true)
	s.broken.Store(nil)
	s.cfg.Log.Debug().Int("leases", s.index.size()).Int("forgotten", forgotten).
		Dur("took", time.Since(begun)).Msg("leases loaded")
}

// leave ends a watch. What it still has to tell is read off: nats.go would wait
// for that for good.
func leave(w jetstream.KeyWatcher) {
	_ = w.Stop() // ends with its context anyway
	go func() {
		for range w.Updates() {
		}
	}()
}

// learn takes in what a key says now.
func (s *Scheduler) learn(e jetstream.KeyValueEntry) {
	defer func() { s.revision.Store(max(s.revision.Load(), e.Revision())) }()
	if e.Operation() != jetstream.KeyValuePut {
		s.index.remove(e.Key())
		return
	}
	// A watch that is begun anew tells everything again: what has not changed is not
	// read again. The first tells nothing twice.
	if s.generation > 1 && s.index.knows(e.Key(), e.Revision(), s.generation) {
		return
	}
	g, err := record.Summarize(e.Key(), e.Value())
	if err != nil {
		if s.index.setAside(e.Key(), e.Revision(), s.generation) {
			s.cfg.Log.Error().Err(err).Str("lease", clip(e.Key())).Uint64("revision", e.Revision()).
				Msg("a record that can't be read is set aside")
		}
		return
	}
	s.rates.note(g.Name, g.Sequence, g.StartedAt, s.cfg.Now())
	if g.Due.IsZero() {
		s.index.remove(e.Key())
		return
	}
	s.index.set(e.Key(), g.Due, standingOf(g), e.Revision(), s.generation)
}

// clip keeps short what may be any key.
func clip(key string) string {
	if len(key) > 200 {
		return key[:200] + "…"
	}
	return key
}

func standingOf(g record.Summary) standing {
	switch {
	case g.Failing:
		return failing
	case g.AccessEnded:
		return tidying
	case g.State == messages.StateProvisioning:
		return provisioning
	case g.State == messages.StateActive:
		return active
	}
	return revoking
}
