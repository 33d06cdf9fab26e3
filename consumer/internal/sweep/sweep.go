package sweep

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// Connections reaches the AWS accounts.
type Connections interface {
	// Names returns the names of all stored connections.
	Names(ctx context.Context) ([]string, error)
	// Stored returns what is stored about a connection: the account's number ("" until
	// AWS has been asked), and the paths that users of leases have ever had. It returns
	// [bucket.ErrNotFound] if the connection has been dropped.
	Stored(ctx context.Context, name string) (account string, paths []string, err error)
	// Reach connects.
	Reach(ctx context.Context, name string) (provider.Account, error)
}

// Events emits the events about removed users.
type Events interface {
	Emit(ctx context.Context, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error
	// Last returns the last event of a type about a lease; zero values if there is none.
	Last(ctx context.Context, name messages.LeaseName, t messages.EventType) (sequence uint64, lease messages.Lease, err error)
}

// Meter counts orphans.
type Meter interface {
	// OrphanSwept counts an orphan that a sweep tried to remove.
	OrphanSwept(removed bool)
	// OrphansHeld sets how many orphans wait for an operator's decision.
	OrphansHeld(users int)
}

// Config is what a [Sweeper] needs. Every field must be set, except for Log.
type Config struct {
	Leases       *store.Leases
	Connections  Connections
	Events       Events
	State        *bucket.Bucket
	Installation string // the id in the tags of this installation's users
	// Guarded reports whether the restore guard is active: no orphan is removed then.
	Guarded func(context.Context) (bool, error)
	// Every is the time between two sweeps of a connection.
	Every time.Duration
	// Grace is how old a user must be before it can be an orphan.
	Grace time.Duration
	// MaxRemovals is how many orphans a sweep removes without an operator's consent. If
	// there are more, it removes none.
	MaxRemovals int
	// RemovalTimeout bounds the removal of one user.
	RemovalTimeout time.Duration
	Now            func() time.Time
	Log            zerolog.Logger
	Meter          Meter
}

// Sweeper sweeps the connections of an installation. Any number of replicas may have
// one. It is safe for concurrent use.
type Sweeper struct {
	cfg     Config
	journal journal
}

// New returns a sweeper.
func New(cfg Config) *Sweeper {
	return &Sweeper{cfg: cfg, journal: journal{state: cfg.State, events: cfg.Events, log: cfg.Log}}
}

// RunDue sweeps every connection whose last sweep is old enough and that no other
// replica sweeps. Failures are logged; such a sweep is due again later.
func (s *Sweeper) RunDue(ctx context.Context) {
	names, err := s.cfg.Connections.Names(ctx)
	if err != nil {
		s.cfg.Log.Warn().Err(err).Msg("the sweep could not list the connections; trying again")
		return
	}
	awaiting := 0
	for _, name := range names {
		claimed, before := s.claim(ctx, name)
		if ctx.Err() != nil || !claimed {
			awaiting += before
			continue
		}
		report := s.One(ctx, name)
		if report.Error != "" {
			awaiting += before
			continue
		}
		awaiting += awaitConsent(report)
		s.finish(ctx, name, awaitConsent(report))
	}
	if ctx.Err() == nil {
		s.cfg.Meter.OrphansHeld(awaiting)
	}
}

// Run sweeps every connection now, as an operator asks for. With apply it removes all
// orphans, however many there are and also while the restore guard is active. What fails
// in one account is the Error of its report.
func (s *Sweeper) Run(ctx context.Context, apply bool) ([]messages.Sweep, error) {
	names, err := s.cfg.Connections.Names(ctx)
	if err != nil {
		return nil, err
	}
	sweeps := []messages.Sweep{}
	for _, name := range names {
		if _, _, err := s.cfg.Connections.Stored(ctx, name); errors.Is(err, bucket.ErrNotFound) {
			continue // dropped
		}
		s.cfg.Log.Info().Str("connection", name).Bool("apply", apply).Msg("an operator asked for a sweep")
		report := s.report(ctx, name, apply)
		if report.Error == "" {
			s.finish(ctx, name, awaitConsent(report))
		}
		sweeps = append(sweeps, report)
	}
	return sweeps, nil
}

// One sweeps one connection now. Many orphans at once are left alone.
func (s *Sweeper) One(ctx context.Context, connection string) messages.Sweep {
	return s.report(ctx, connection, false)
}

// awaitConsent is how many orphans a sweep has left to an operator.
func awaitConsent(report messages.Sweep) int {
	if !report.AwaitsConsent {
		return 0
	}
	return len(report.Orphans)
}

// report sweeps one connection and reports what came of it.
func (s *Sweeper) report(ctx context.Context, connection string, apply bool) messages.Sweep {
	report := messages.Sweep{Connection: connection}
	if err := s.sweep(ctx, &report, apply); err != nil {
		s.cfg.Log.Warn().Err(err).Str("connection", connection).Msg("a sweep failed; trying again later")
		report.Error = safeText(err)
	}
	return report
}

// sweep compares one account with the leases and removes the orphans.
func (s *Sweeper) sweep(ctx context.Context, report *messages.Sweep, apply bool) error {
	var paths []string
	var err error
	if report.Account, paths, err = s.cfg.Connections.Stored(ctx, report.Connection); err != nil {
		return err
	}
	account, err := s.cfg.Connections.Reach(ctx, report.Connection)
	if err != nil {
		return err
	}
	before := s.cfg.Now().Add(-s.cfg.Grace)
	known, err := s.cfg.Leases.Users(ctx)
	if err != nil {
		return err
	}
	pending, err := s.journal.pending(ctx, report.Connection) // before AWS is asked which users exist
	if err != nil {
		return err
	}
	orphans, listed, err := s.findOrphans(ctx, account, paths, known, before)
	report.Users = len(listed)
	if err != nil {
		return err
	}
	if err := s.journal.emitRemoved(ctx, report.Connection, pending, listed); err != nil {
		return err
	}
	return s.removeAll(ctx, account, orphans, report, apply)
}

// removeAll removes the orphans of a sweep, or leaves them to an operator.
func (s *Sweeper) removeAll(ctx context.Context, account provider.Account, orphans []orphan, report *messages.Sweep, apply bool) error {
	// The guard is read last, so that the leases that were read are not older than it.
	guarded, err := s.cfg.Guarded(ctx)
	if err != nil {
		return err
	}
	report.AwaitsConsent = (len(orphans) > s.cfg.MaxRemovals || guarded && len(orphans) > 0) && !apply
	for _, o := range orphans {
		found := messages.Orphan{Username: o.user.Name, Lease: o.owner.Lease, CreatedAt: o.user.CreatedAt}
		if !report.AwaitsConsent {
			if err := s.remove(ctx, report.Connection, account, o); err != nil {
				s.cfg.Log.Warn().Err(err).Str("username", o.user.Name).Msg("an orphan could not be removed; trying again later")
				found.Error = safeText(err)
			}
			found.Removed = found.Error == ""
			s.cfg.Meter.OrphanSwept(found.Removed)
		}
		report.Orphans = append(report.Orphans, found)
	}
	if report.AwaitsConsent && !guarded {
		s.cfg.Log.Error().Str("connection", report.Connection).Str("account", report.Account).Int("users", len(orphans)).
			Msg("so many orphans at once are suspicious, and are left alone: was the lease bucket restored from a backup? See \"lessor sweep\"")
	}
	return nil
}

// safeText is an error without AWS's own words, for reports and events.
func safeText(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return provider.AsError(err).Safe()
}
