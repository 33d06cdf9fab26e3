package events

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// markEvery is how often the position of the event stream is marked. Events that are
// cut off its end since the last mark are not missed.
const markEvery = time.Minute

// Marks writes signed marks of how far the event stream has come into the state
// bucket. One goroutine uses it.
type Marks struct {
	log   *Log
	state *bucket.Bucket
	last  time.Time // when this broker has written one, by its own clock
}

// NewMarks returns the marks of a log.
func NewMarks(l *Log, state *bucket.Bucket) *Marks { return &Marks{log: l, state: state} }

// Update writes a mark, unless this or another replica has just done so.
func (m *Marks) Update(ctx context.Context) error {
	e, err := m.state.Get(ctx, messages.AuditMarksKey)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return err
	}
	var marks messages.AuditMarks
	if err == nil {
		if marks, err = messages.DecodeAuditMarks(e.Value); err != nil {
			return err
		}
	}
	// Marks have the server's time, which may be far from this broker's clock.
	now := m.log.Now()
	if n := len(marks.Marks); n > 0 && (now.Sub(marks.Marks[n-1].At) < markEvery || now.Sub(m.last) < markEvery) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	stream, err := m.log.JS.Stream(ctx, m.log.Namespace.EventStream())
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	data, err := json.Marshal(m.log.Keys.AddMark(marks, info.TimeStamp, info.State.LastSeq))
	if err != nil {
		return err
	}
	_, err = m.state.Put(ctx, messages.AuditMarksKey, data, e.Revision, 0)
	if errors.Is(err, bucket.ErrConflict) {
		err = nil // another replica was faster
	}
	if err == nil {
		m.last = now
	}
	return err
}
