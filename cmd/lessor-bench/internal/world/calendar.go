package world

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/scheduler"
)

// WriteCalendar has a scheduler write what it would have written by now, had it been
// there. By its clock nothing is due.
func (w *World) WriteCalendar(ctx context.Context) error {
	js, err := jetstream.New(w.Conn)
	if err != nil {
		return err
	}
	leases, err := js.Stream(ctx, "KV_"+w.NS.LeaseBucket())
	if err != nil {
		return err
	}
	state, err := js.KeyValue(ctx, w.NS.StateBucket())
	if err != nil {
		return err
	}
	s, err := scheduler.Start(scheduler.Config{
		Conn: w.Conn, Namespace: w.NS, Calendar: 1, CalendarEvery: 100 * time.Millisecond,
		Now: func() time.Time { return time.Now().Add(-time.Hour) },
	})
	if err != nil {
		return err
	}
	defer s.Stop()
	return poll.Until(ctx, Poll, func() (bool, error) {
		mark, err := state.Get(ctx, scheduler.CalendarMark)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return false, nil
		}
		return err == nil && string(mark.Value()) == strconv.FormatUint(leases.CachedInfo().State.LastSeq, 10), err
	})
}
