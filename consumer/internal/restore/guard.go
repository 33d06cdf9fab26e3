package restore

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// GuardConfig is what a [Guard] needs. Every field must be set, except for Restored and
// Log.
type GuardConfig struct {
	State  *bucket.Bucket
	Leases *store.Leases
	// Restored says that the lease bucket was restored just now: the first Detect of a
	// start activates the guard.
	Restored bool
	// RetryMin is the wait between two looks at a bucket that seems to have been
	// restored.
	RetryMin time.Duration
	Now      func() time.Time
	Log      zerolog.Logger
	Meter    interface {
		// Held tells whether the guard is active.
		Held(bool)
	}
}

// Guard is the restore guard of an installation, which all replicas share. It is safe
// for concurrent use.
type Guard struct{ cfg GuardConfig }

// NewGuard returns the guard.
func NewGuard(cfg GuardConfig) *Guard { return &Guard{cfg: cfg} }

// state is an active guard in the state bucket.
//
//	{"v":1,"since":"2026-11-22T22:00:00Z","sequence":4711,"why":"…"}
type state struct {
	Version int       `json:"v"`
	Since   time.Time `json:"since"`
	// Sequence is the lease bucket's last one when the restore was detected: records up
	// to there come from the backup.
	Sequence uint64 `json:"sequence"`
	Why      string `json:"why"`
}

// Keys of the state bucket, and the version of what is stored there.
const (
	guardKey = "hold"
	markKey  = "mark"
	version  = 1
)

// errAgain means that the guard was activated again while an operator lifted it.
var errAgain = messages.Errorf(messages.CodeUnavailable, "the lease bucket was restored once more; look again what would end")

// Active reports whether the guard is active.
func (g *Guard) Active(ctx context.Context) (bool, error) {
	_, active, err := g.current(ctx)
	return active, err
}

// Blocks reports whether nothing may end because of this entry now: the guard is active,
// and the entry comes from the backup.
func (g *Guard) Blocks(ctx context.Context, e store.Entry) (bool, error) {
	s, active, err := g.current(ctx)
	return active && s.blocks(e), err
}

func (s state) blocks(e store.Entry) bool { return e.Revision <= s.Sequence }

// Why returns why the guard is active; "" if it is not.
func (g *Guard) Why(ctx context.Context) (string, error) {
	s, _, err := g.current(ctx)
	return s.Why, err
}

// current returns the active guard, or false.
func (g *Guard) current(ctx context.Context) (state, bool, error) {
	s, _, err := g.load(ctx)
	if errors.Is(err, bucket.ErrNotFound) {
		return state{}, false, nil
	}
	return s, err == nil, err
}

// load reads the guard. It returns [bucket.ErrNotFound] if it is not active, with the
// revision to activate it on. A guard that can't be read blocks everything.
func (g *Guard) load(ctx context.Context) (state, uint64, error) {
	e, err := g.cfg.State.Get(ctx, guardKey)
	if err != nil {
		return state{}, e.Revision, err
	}
	var s state
	if err := json.Unmarshal(e.Value, &s); err != nil || s.Version != version {
		s = state{Sequence: math.MaxUint64, Why: "what was written down about it can't be read by this broker"}
	}
	return s, e.Revision, nil
}

// activate activates the guard, or moves an active one on to this sequence.
func (g *Guard) activate(ctx context.Context, why string, sequence uint64) error {
	for {
		_, revision, err := g.load(ctx)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		data, err := json.Marshal(state{Version: version, Since: g.cfg.Now().UTC(), Sequence: sequence, Why: why})
		if err != nil {
			return err
		}
		if _, err = g.cfg.State.Put(ctx, guardKey, data, revision, 0); !errors.Is(err, bucket.ErrConflict) {
			return err
		}
	}
}

// lift ends the guard if it is still at that revision. It returns [errAgain] if it is
// not.
func (g *Guard) lift(ctx context.Context, revision uint64) error {
	now, err := g.position(ctx)
	if err == nil {
		err = g.saveMark(ctx, now) // otherwise the next Detect would activate it again
	}
	if err == nil {
		err = g.cfg.State.Delete(ctx, guardKey, revision)
	}
	if errors.Is(err, bucket.ErrConflict) {
		return errAgain.Because(err)
	}
	if err == nil {
		g.cfg.Meter.Held(false)
	}
	return err
}
