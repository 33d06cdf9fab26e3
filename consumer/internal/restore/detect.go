package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// mark is how far the lease bucket has come.
//
//	{"v":1,"created":"2026-11-01T08:00:00Z","sequence":5200}
type mark struct {
	Version  int       `json:"v"`
	Created  time.Time `json:"created"`  // the bucket's stream
	Sequence uint64    `json:"sequence"` // the last one in it
}

// Detect activates the guard if the lease bucket was restored, and moves the mark. It
// is called at a start, before any message is handled, and at intervals from then on.
func (g *Guard) Detect(ctx context.Context, starting bool) error {
	why, now, err := g.confirmed(ctx)
	if err != nil {
		return err
	}
	if starting && g.cfg.Restored {
		why = "an operator said that the lease bucket was restored from a backup (--restored)"
	}
	if why != "" {
		if err := g.activate(ctx, why, now.Sequence); err != nil {
			return err
		}
	}
	s, active, err := g.current(ctx)
	if err != nil {
		return err
	}
	g.cfg.Meter.Held(active)
	if active && (starting || why != "") {
		g.cfg.Log.Error().Str("why", s.Why).Time("since", s.Since).Uint64("sequence", s.Sequence).
			Msg("the lease bucket was restored: no lease from the backup expires, and no orphan is removed, until an operator allows it; see \"lessor restore\"")
	}
	return g.saveMark(ctx, now)
}

// looks is how often in a row the bucket must seem to have been restored: a server that
// has just lost the leadership of a stream may answer once with an old state.
const looks = 5

// confirmed looks several times whether the lease bucket was restored. It returns why it
// seems so; "" if one of the looks finds nothing.
func (g *Guard) confirmed(ctx context.Context) (why string, now mark, err error) {
	for look := range looks {
		if look > 0 {
			if err := retry.Sleep(ctx, g.cfg.RetryMin); err != nil {
				return "", now, err
			}
		}
		if why, now, err = g.look(ctx); err != nil || why == "" {
			return "", now, err
		}
	}
	return why, now, nil
}

// look compares the lease bucket with the mark. It returns why the bucket seems to have
// been restored; "" if it does not. The mark is read first: the bucket can only have
// come further by the time that it is asked.
func (g *Guard) look(ctx context.Context) (why string, now mark, err error) {
	was, known, _, err := g.loadMark(ctx)
	if err != nil {
		return "", was, err
	}
	now, err = g.position(ctx)
	switch {
	case err != nil || !known:
		return "", now, err
	case !now.Created.Equal(was.Created):
		return fmt.Sprintf("the lease bucket is not the one that it was: it was made at %s, and that at %s",
			now.Created.Format(time.RFC3339), was.Created.Format(time.RFC3339)), now, nil
	case now.Sequence < was.Sequence:
		return fmt.Sprintf("the lease bucket has gone back: its last change is number %d, and it had been at %d", now.Sequence, was.Sequence), now, nil
	}
	return "", now, nil
}

// position returns how far the lease bucket has come.
func (g *Guard) position(ctx context.Context) (mark, error) {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	info, err := g.cfg.Leases.Stream.Info(ctx)
	if err != nil {
		return mark{}, fmt.Errorf("lease bucket: %w", err)
	}
	return mark{Version: version, Created: info.Created.UTC(), Sequence: info.State.LastSeq}, nil
}

// loadMark reads the mark. One that can't be read counts as none.
func (g *Guard) loadMark(ctx context.Context) (m mark, known bool, revision uint64, err error) {
	e, err := g.cfg.State.Get(ctx, markKey)
	if errors.Is(err, bucket.ErrNotFound) {
		return mark{}, false, e.Revision, nil
	}
	if err == nil {
		known = json.Unmarshal(e.Value, &m) == nil && m.Version == version
	}
	return m, known, e.Revision, err
}

// saveMark moves the mark.
func (g *Guard) saveMark(ctx context.Context, now mark) error {
	was, known, revision, err := g.loadMark(ctx)
	if err != nil || known && was == now {
		return err
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	_, err = g.cfg.State.Put(ctx, markKey, data, revision, 0)
	if errors.Is(err, bucket.ErrConflict) {
		return nil // another replica's mark is as good
	}
	return err
}
