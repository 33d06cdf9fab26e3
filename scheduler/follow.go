package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// Bounds of the wait before a watch that broke is begun anew.
const (
	minRewatch = 250 * time.Millisecond
	maxRewatch = 5 * time.Second
)

// follow keeps the index up to date, by one watch after another.
func (s *Scheduler) follow(ctx context.Context) {
	wait := minRewatch
	for ctx.Err() == nil {
		err := s.watch(ctx)
		if err == nil {
			wait = minRewatch // its time was over
			continue
		}
		if ctx.Err() != nil {
			return
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

// watch reads the whole bucket and then what changes, for as long as a reload is
// not due. Each watch is a generation: when one has read everything, what it has
// not seen is not there any more.
func (s *Scheduler) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := s.js.KeyValue(ctx, s.cfg.Namespace.LeaseBucket())
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer leave(w)
	s.generation++
	reload := time.NewTimer(s.cfg.Reload)
	defer reload.Stop()
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-reload.C:
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				forgotten := s.index.keepOnly(s.generation)
				s.loaded.Store(true)
				s.broken.Store(nil)
				s.cfg.Log.Debug().Int("leases", s.index.size()).Int("forgotten", forgotten).
					Dur("took", time.Since(begun)).Msg("leases loaded")
				continue
			}
			s.learn(e)
		}
	}
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
	if e.Operation() != jetstream.KeyValuePut {
		s.index.remove(e.Key())
		return
	}
	// A watch that is begun anew tells everything again: what has not changed is not
	// read again.
	if s.index.knows(e.Key(), e.Revision(), s.generation) {
		return
	}
	r, err := messages.DecodeRecordAt(e.Key(), e.Value())
	if err != nil {
		if s.index.setAside(e.Key(), e.Revision(), s.generation) {
			s.cfg.Log.Error().Err(err).Str("lease", clip(e.Key())).Uint64("revision", e.Revision()).
				Msg("a record that can't be read is set aside")
		}
		return
	}
	s.rates.note(r.Name(), r.Origin.Sequence, r.StartedAt, s.cfg.Now())
	if r.Due.IsZero() {
		s.index.remove(e.Key())
		return
	}
	s.index.set(e.Key(), r.Due, standingOf(r), e.Revision(), s.generation)
}

// clip keeps short what may be any key.
func clip(key string) string {
	if len(key) > 200 {
		return key[:200] + "…"
	}
	return key
}

func standingOf(r messages.Record) standing {
	switch {
	case r.Failing():
		return failing
	case r.Cut() || r.Harmless():
		return tidying
	case r.State == messages.StateProvisioning:
		return provisioning
	case r.State == messages.StateActive:
		return active
	}
	return revoking
}
