package restore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// RestorerConfig is what a [Restorer] needs. Every field must be set, except for Log.
type RestorerConfig struct {
	Guard  *Guard
	Leases *store.Leases
	// Sweeper sweeps all accounts; with apply it removes all orphans.
	Sweeper interface {
		Run(ctx context.Context, apply bool) ([]messages.Sweep, error)
	}
	// Events returns the sequence of the last event of a type about a lease, and the
	// lease in it; zero values if there is none.
	Events interface {
		Last(ctx context.Context, name messages.LeaseName, t messages.EventType) (sequence uint64, lease messages.Lease, err error)
	}
	// Commands reminds the workers of a lease that is due.
	Commands interface {
		Remind(ctx context.Context, name messages.LeaseName, due time.Time) error
	}
	Timing record.Timing
	Now    func() time.Time
	Log    zerolog.Logger
}

// Restorer lifts the restore guard, as an operator decides.
type Restorer struct{ cfg RestorerConfig }

// NewRestorer returns a restorer.
func NewRestorer(cfg RestorerConfig) *Restorer { return &Restorer{cfg: cfg} }

// Report returns what the guard blocks: the leases that have ended by their records from
// the backup, and the orphans. It returns the zero value if the guard is not active.
func (r *Restorer) Report(ctx context.Context) (messages.Restore, error) { return r.run(ctx, false) }

// Apply gives leases from the backup the later ends that events state, lifts the guard,
// reminds the workers of what is due, and removes all orphans. It returns an error of the
// code [messages.CodeUnavailable] if the bucket is restored once more meanwhile.
func (r *Restorer) Apply(ctx context.Context) (messages.Restore, error) { return r.run(ctx, true) }

func (r *Restorer) run(ctx context.Context, apply bool) (messages.Restore, error) {
	s, revision, err := r.cfg.Guard.load(ctx)
	if errors.Is(err, bucket.ErrNotFound) {
		return messages.Restore{}, nil
	}
	if err != nil {
		return messages.Restore{}, err
	}
	report := messages.Restore{Guarded: true, Since: s.Since, Why: s.Why}
	blocked, err := r.blockedLeases(ctx, s)
	if err != nil {
		return messages.Restore{}, err
	}
	if apply {
		if err := r.resume(ctx, blocked, revision); err != nil {
			return messages.Restore{}, err
		}
		report.Guarded, report.Applied = false, true
	}
	if report.Sweeps, err = r.cfg.Sweeper.Run(ctx, apply); err != nil {
		return messages.Restore{}, err
	}
	return bounded(report, blocked), nil
}

// blockedLease is a lease that has ended by its record from the backup.
type blockedLease struct {
	store.Entry
	// renewed is the lease as the last event about a renewal states it; nil if no event
	// states a later end.
	renewed *messages.Lease
}

// blockedLeases returns the leases that the guard blocks, in the order of their names.
func (r *Restorer) blockedLeases(ctx context.Context, s state) ([]blockedLease, error) {
	var blocked []blockedLease
	err := r.cfg.Leases.VisitLive(ctx, ">", func(_ string, e store.Entry, err error) {
		if err == nil && s.blocks(e) && e.Action(r.cfg.Now()).EndsLease() {
			blocked = append(blocked, blockedLease{Entry: e})
		}
	})
	if err != nil {
		return nil, err
	}
	for i := range blocked {
		if blocked[i].renewed, err = r.renewedSince(ctx, blocked[i].Entry); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(blocked, func(a, b blockedLease) int { return strings.Compare(a.Name().String(), b.Name().String()) })
	return blocked, nil
}

// renewedSince looks in the events for an end of the lease that is later than its
// record's, if the lease has not been revoked after it. It returns nil if there is none.
func (r *Restorer) renewedSince(ctx context.Context, e store.Entry) (*messages.Lease, error) {
	if e.State != messages.StateActive {
		return nil, nil
	}
	renewed, lease, err := r.last(ctx, e.Name(), messages.EventRenewed)
	if err != nil || renewed == 0 {
		return nil, err
	}
	revoked, _, err := r.last(ctx, e.Name(), messages.EventRevoked)
	if err != nil || revoked > renewed {
		return nil, err
	}
	if !lease.ExpiresAt.After(e.ExpiresAt) || lease.Username != e.User.Name {
		return nil, nil
	}
	return &lease, nil
}

// last is Events.Last, except that an event that can't be read states nothing.
func (r *Restorer) last(ctx context.Context, name messages.LeaseName, t messages.EventType) (uint64, messages.Lease, error) {
	sequence, lease, err := r.cfg.Events.Last(ctx, name, t)
	if sequence > 0 {
		return sequence, lease, nil
	}
	return 0, lease, err
}

// resume gives the leases the ends that events state, lifts the guard at that revision,
// and reminds the workers of what is due then.
func (r *Restorer) resume(ctx context.Context, blocked []blockedLease, revision uint64) error {
	for _, l := range blocked {
		if err := r.giveEnd(ctx, l); err != nil {
			return err
		}
	}
	if err := r.cfg.Guard.lift(ctx, revision); err != nil {
		return err
	}
	r.cfg.Log.Warn().Int("leases", len(blocked)).Msg("an operator lifts the restore guard")
	for _, l := range blocked {
		if err := r.cfg.Commands.Remind(ctx, l.Name(), l.Due); err != nil {
			return nil // the scheduler reminds of them within some minutes
		}
	}
	return nil
}

// giveEnd gives a lease the end that an event states, if one does.
func (r *Restorer) giveEnd(ctx context.Context, l blockedLease) error {
	if l.renewed == nil {
		return nil
	}
	next, err := l.Restored(l.renewed.ExpiresAt, l.renewed.Renewals, r.cfg.Timing)
	if err != nil {
		return err
	}
	if _, err := r.cfg.Leases.Save(ctx, next, l.Revision); err != nil && !errors.Is(err, bucket.ErrConflict) {
		return err // a conflict means that it has been renewed or revoked just now
	}
	r.cfg.Log.Warn().Str("lease", l.Name().String()).Time("expired_at", l.ExpiresAt).Time("expires_at", next.ExpiresAt).
		Msg("a lease from the backup gets the later end that an event states")
	return nil
}

// maxReported is how many leases, and how many orphans, a report names.
const maxReported = 500

// bounded adds the first of the blocked leases to a report, and drops orphans beyond
// what it may name. The numbers count all of them.
func bounded(report messages.Restore, blocked []blockedLease) messages.Restore {
	report.Due = len(blocked)
	for _, l := range blocked[:min(len(blocked), maxReported)] {
		restored := messages.RestoredLease{Name: l.Name().String(), Username: l.User.Name, State: l.State, ExpiresAt: l.ExpiresAt}
		if l.renewed != nil {
			restored.RenewedUntil = l.renewed.ExpiresAt
		}
		report.Leases = append(report.Leases, restored)
	}
	room := maxReported
	for i := range report.Sweeps {
		s := &report.Sweeps[i]
		report.Orphans += len(s.Orphans)
		s.Orphans = s.Orphans[:min(len(s.Orphans), room)]
		room -= len(s.Orphans)
	}
	return report
}
