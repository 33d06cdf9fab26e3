package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages/bucket"
)

// claim is the state of a connection's sweeps in the state bucket.
//
//	{"begun":"2026-11-22T22:00:00Z","ended":"…","awaiting":12}
type claim struct {
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended,omitzero"`     // before Begun: a sweep is in progress, or was interrupted
	Awaiting int       `json:"awaiting,omitempty"` // orphans that the last sweep left to an operator
}

const claimPrefix = "sweep." // the connection's name follows

// maxSweep is how long a sweep that does not end keeps other replicas from starting
// one.
const maxSweep = 15 * time.Minute

// claim starts a sweep of a connection if one is due and no other replica has started
// it. It also returns how many orphans the last sweep left to an operator.
func (s *Sweeper) claim(ctx context.Context, connection string) (claimed bool, awaiting int) {
	e, err := s.cfg.State.Get(ctx, claimPrefix+connection)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return false, 0
	}
	var c claim
	_ = json.Unmarshal(e.Value, &c) // a claim that can't be read is replaced
	now := s.cfg.Now()
	if now.Sub(c.Ended) < s.cfg.Every || now.Sub(c.Begun) < min(maxSweep, s.cfg.Every) {
		return false, c.Awaiting
	}
	c.Begun = now.UTC()
	return s.saveClaim(ctx, connection, c, e.Revision) == nil, c.Awaiting
}

// finish writes that a sweep has ended. If that fails the connection is swept again.
func (s *Sweeper) finish(ctx context.Context, connection string, awaiting int) {
	e, err := s.cfg.State.Get(ctx, claimPrefix+connection)
	var c claim
	if err != nil || json.Unmarshal(e.Value, &c) != nil {
		return
	}
	c.Ended, c.Awaiting = s.cfg.Now().UTC(), awaiting
	if err := s.saveClaim(ctx, connection, c, e.Revision); err != nil {
		s.cfg.Log.Warn().Err(err).Str("connection", connection).Msg("the end of a sweep could not be written down; the sweep is repeated")
	}
}

func (s *Sweeper) saveClaim(ctx context.Context, connection string, c claim, revision uint64) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = s.cfg.State.Put(ctx, claimPrefix+connection, data, revision, 0)
	return err
}
