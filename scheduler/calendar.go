package scheduler

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// A broker that starts reads the lease bucket as NATS has it, the oldest record first,
// tombstones and all: with a million leases that takes seconds, and what fell due
// meanwhile may come last. So that it is served at once there is a calendar. It says
// when leases are due, in pages of a few minutes of due time each, beside what else the
// installation knows of itself:
//
//	due.<page>.<any>  lines "<Unix seconds> <lease>", of leases that are due in that page
//	due-mark          the revision of the lease bucket up to which the calendar goes
//
// The calendar is a hint and no more: who is reminded looks at the record. What is wrong
// in it is corrected when the bucket has been read, and without it that is what one has
// to wait for. Below many leases there is none.
const (
	page        = 10 * time.Minute
	pageKept    = time.Hour // when it is over, for what could not be done in time
	pageBytes   = 512 << 10 // of one message
	calendarKey = "due"
	// recallAhead is how far ahead a start looks into the calendar: longer than it takes
	// to read the bucket.
	recallAhead = 2 * time.Minute
	// recallTimeout is how long a start waits for the calendar.
	recallTimeout = 5 * time.Second
)

// CalendarMark is the key of the state bucket whose value is the revision of the lease
// bucket up to which the calendar goes.
const CalendarMark = "due-mark"

// pageOf is the number of the page with a time.
func pageOf(t time.Time) int64 { return t.UnixMilli() / page.Milliseconds() }

// recall takes in what the calendar says is due, and the records since it was written.
func (s *Scheduler) recall(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	begun := time.Now()
	err := s.recallAll(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrKeyNotFound) {
		s.cfg.Log.Debug().Err(err).Msg("reading the calendar failed; what is due shows when the leases are loaded")
		return
	}
	s.cfg.Log.Debug().Int("leases", s.Leases()).Dur("took", time.Since(begun)).Msg("the calendar is read")
}

func (s *Scheduler) recallAll(ctx context.Context) error {
	state, err := s.js.KeyValue(ctx, s.cfg.Namespace.StateBucket())
	if err != nil {
		return err
	}
	mark, err := s.readMark(ctx)
	if err != nil {
		return err
	}
	due := map[string]int64{}
	err = initial(ctx, state, []string{calendarKey + ".*.*"}, func(e jetstream.KeyValueEntry) {
		readPage(e.Value(), s.cfg.Now().Add(recallAhead).Unix(), due)
	})
	for name, at := range due {
		s.index.suggest(name, time.Unix(at, 0))
	}
	if err != nil {
		return err
	}
	leases, err := s.js.KeyValue(ctx, s.cfg.Namespace.LeaseBucket())
	if err != nil {
		return err
	}
	return initial(ctx, leases, nil, s.learn, jetstream.ResumeFromRevision(mark+1))
}

// initial hands over what keys say now.
func initial(ctx context.Context, kv jetstream.KeyValue, keys []string, take func(jetstream.KeyValueEntry), opts ...jetstream.WatchOpt) error {
	w, err := kv.WatchFiltered(ctx, keys, opts...)
	if err != nil {
		return err
	}
	defer leave(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				return nil
			}
			take(e)
		}
	}
}

// readPage takes in what a page says is due before a time. A later one may say that a
// lease is due after it.
func readPage(lines []byte, before int64, due map[string]int64) {
	for line := range bytes.Lines(lines) {
		at, name, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		n, err := strconv.ParseInt(string(at), 10, 64)
		if err != nil {
			continue
		}
		if n >= before {
			delete(due, string(name))
		} else if _, err := messages.ParseLeaseName(string(name)); err == nil {
			due[string(name)] = n
		}
	}
}

// keepCalendar writes down what has changed, again and again.
func (s *Scheduler) keepCalendar(ctx context.Context) {
	t := time.NewTicker(s.cfg.CalendarEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !s.loaded.Load() || s.Leases() < s.cfg.Calendar {
			s.index.appointAnew()
			continue
		}
		if err := s.writeCalendar(ctx); err != nil {
			s.index.appointAnew()
			s.cfg.Log.Debug().Err(err).Msg("writing the calendar failed; trying again")
		}
	}
}

// writeCalendar adds what has changed since the calendar was written, by whichever
// replica. Pages that are over go by themselves.
func (s *Scheduler) writeCalendar(ctx context.Context) error {
	revision := s.revision.Load()
	if revision == s.written {
		return nil // nothing has changed
	}
	mark, err := s.readMark(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return err
	}
	if mark > revision {
		mark = 0 // of a bucket that is no more
	}
	for number, lines := range pages(s.index.appointments(mark)) {
		for len(lines) > 0 {
			end := len(lines)
			if end > pageBytes {
				end = bytes.LastIndexByte(lines[:pageBytes], '\n') + 1
			}
			if err := s.writeState(ctx, fmt.Sprintf("%s.%d.%s", calendarKey, number, rand.Text()), lines[:end], jetstream.WithMsgTTL(s.pageTTL(number))); err != nil {
				return err
			}
			lines = lines[end:]
		}
	}
	if err := s.writeState(ctx, CalendarMark, strconv.AppendUint(nil, revision, 10)); err != nil {
		return err
	}
	s.written = revision
	return nil
}

// pageTTL is how long a page is of use, in whole seconds as NATS takes it.
func (s *Scheduler) pageTTL(number int64) time.Duration {
	over := time.UnixMilli((number + 1) * page.Milliseconds())
	return max(over.Sub(s.cfg.Now()), 0).Round(time.Second) + pageKept
}

// pages sorts appointments by their page.
func pages(all []appointment) map[int64][]byte {
	byPage := map[int64][]byte{}
	for _, a := range all {
		lines := strconv.AppendInt(byPage[pageOf(a.due)], a.due.Unix(), 10)
		lines = append(append(lines, ' '), a.name...)
		byPage[pageOf(a.due)] = append(lines, '\n')
	}
	return byPage
}

// readMark returns the revision of the lease bucket up to which the calendar goes. The
// error is [jetstream.ErrKeyNotFound] where there is no calendar.
func (s *Scheduler) readMark(ctx context.Context) (uint64, error) {
	stream, err := s.js.Stream(ctx, "KV_"+s.cfg.Namespace.StateBucket())
	if err != nil {
		return 0, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, "$KV."+s.cfg.Namespace.StateBucket()+"."+CalendarMark)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, jetstream.ErrKeyNotFound
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(m.Data), 10, 64)
}

func (s *Scheduler) writeState(ctx context.Context, key string, value []byte, opts ...jetstream.PublishOpt) error {
	ctx, cancel := context.WithTimeout(ctx, patrolTimeout)
	defer cancel()
	_, err := s.js.Publish(ctx, "$KV."+s.cfg.Namespace.StateBucket()+"."+key, value, opts...)
	return err
}
