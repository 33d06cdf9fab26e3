package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

var timing = record.Timing{}.WithDefaults()

// sweeps is a sweeper that finds so many orphans in each of two accounts.
type sweeps struct {
	orphans int
	applied bool
}

func (s *sweeps) Run(_ context.Context, apply bool) ([]messages.Sweep, error) {
	s.applied = apply
	return []messages.Sweep{
		{Connection: "a", Orphans: make([]messages.Orphan, s.orphans)},
		{Connection: "b", Orphans: make([]messages.Orphan, s.orphans)},
	}, nil
}

type meter struct{ held bool }

func (m *meter) Held(held bool) { m.held = held }

// world is a guard, what lifts it, and what they see.
type world struct {
	t        *testing.T
	nats     *natstest.Server
	guard    *Guard
	restorer *Restorer
	sweeps   *sweeps
	meter    *meter
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, sweeps: &sweeps{}, meter: &meter{}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.nats = natstest.Start(t, w.clock)
	w.guard = w.newGuard(false)
	w.restorer = NewRestorer(RestorerConfig{
		Guard: w.guard, Leases: w.nats.Leases, Sweeper: w.sweeps, Events: w.nats.Events, Commands: w.nats.Commands,
		Timing: timing, Now: w.clock, Log: zerolog.Nop(),
	})
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) newGuard(restored bool) *Guard {
	return NewGuard(GuardConfig{
		State: w.nats.State, Leases: w.nats.Leases, Restored: restored, RetryMin: time.Millisecond, Now: w.clock, Log: zerolog.Nop(), Meter: w.meter,
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// issue writes the record of an active, settled lease.
func (w *world) issue(id, username string, ttl time.Duration) store.Entry {
	w.t.Helper()
	name := messages.LeaseName{Identity: "alice", Secret: "ci", ID: id}
	plan := record.Plan{Name: name, User: record.User{Name: username}, TTL: messages.Duration(ttl), MaxTTL: messages.Duration(24 * time.Hour)}
	r, err := record.New(plan, w.now, timing).Activate("AKIA"+username, &messages.Sealed{}, w.now, timing)
	w.ok(err)
	r, err = r.Deliver(w.now, timing)
	w.ok(err)
	e, err := w.nats.Leases.Save(w.t.Context(), r, 0)
	w.ok(err)
	return e
}

// recreate makes the lease bucket anew, as a restore does, with nothing in it.
func (w *world) recreate() {
	w.t.Helper()
	name := bucket.StreamName(w.nats.Namespace.LeaseBucket())
	s, err := w.nats.JS.Stream(w.t.Context(), name)
	w.ok(err)
	w.ok(w.nats.JS.DeleteStream(w.t.Context(), name))
	_, err = w.nats.JS.CreateStream(w.t.Context(), s.CachedInfo().Config)
	w.ok(err)
}

func (w *world) active() bool {
	w.t.Helper()
	active, err := w.guard.Active(w.t.Context())
	w.ok(err)
	return active
}

func TestGuardIsNotActiveWithoutReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.guard.Detect(t.Context(), true)) // a new installation
	w.issue("1", "one", time.Hour)
	w.ok(w.guard.Detect(t.Context(), false)) // the bucket has come further
	for _, damaged := range []string{`{"v":7}`, `nonsense`} {
		e, err := w.nats.State.Get(t.Context(), markKey)
		w.ok(err)
		_, err = w.nats.State.Put(t.Context(), markKey, []byte(damaged), e.Revision, 0)
		w.ok(err)
		w.ok(w.guard.Detect(t.Context(), true))
	}
	why, err := w.guard.Why(t.Context())
	if w.active() || w.meter.held || why != "" || err != nil {
		t.Fatalf("active: %q, %v", why, err)
	}
	if r, err := w.restorer.Apply(t.Context()); err != nil || r.Guarded || r.Applied || r.Sweeps != nil {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestGuardIsActiveAfterARestore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restored bool // the operator says so
		restore  func(*world)
		why      string
	}{
		"the bucket's stream is another": {false, (*world).recreate, "not the one that it was"},
		"the bucket has gone back": {false, func(w *world) {
			now, err := w.guard.position(w.t.Context())
			w.ok(err)
			now.Sequence += 7
			w.ok(w.guard.saveMark(w.t.Context(), now))
		}, "has gone back"},
		"the operator says so": {true, func(*world) {}, "--restored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ok(w.guard.Detect(t.Context(), true))
			c.restore(w)
			old := w.issue("1", "one", time.Hour)
			w.guard = w.newGuard(c.restored)
			w.ok(w.guard.Detect(t.Context(), true))
			later := w.issue("2", "two", time.Hour)
			w.guard = w.newGuard(false)
			w.ok(w.guard.Detect(t.Context(), true)) // another start finds nothing, and the guard stays
			why, err := w.guard.Why(t.Context())
			if !w.active() || !w.meter.held || err != nil || !strings.Contains(why, c.why) {
				t.Fatalf("active: %t, why: %q, %v", w.active(), why, err)
			}
			for e, want := range map[*store.Entry]bool{&old: true, &later: false} {
				if blocks, err := w.guard.Blocks(t.Context(), *e); blocks != want || err != nil {
					t.Errorf("blocks %s: %t, %v", e.Name(), blocks, err)
				}
			}
		})
	}
}

func TestGuardThatCannotBeReadBlocksEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.issue("1", "one", time.Hour)
	_, err := w.nats.State.Put(t.Context(), guardKey, []byte(`{"v":2}`), 0, 0)
	w.ok(err)
	if blocks, err := w.guard.Blocks(t.Context(), e); !blocks || err != nil {
		t.Fatalf("blocks: %t, %v", blocks, err)
	}
}

// The bucket is a backup's: it knows nothing of a renewal that is in the events.
func TestApplyGivesLeasesTheEndThatEventsStateAndResumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	renewed, expired, revoked := w.issue("1", "one", time.Hour), w.issue("2", "two", time.Hour), w.issue("3", "three", time.Hour)
	w.issue("4", "four", 20*time.Hour)
	for _, e := range []store.Entry{renewed, revoked} {
		r := e.Record
		r.ExpiresAt, r.Renewals = w.now.Add(10*time.Hour), 3
		w.ok(w.nats.Events.EmitLease(t.Context(), r, messages.EventRenewed))
	}
	w.ok(w.nats.Events.EmitLease(t.Context(), revoked.Record, messages.EventRevoked))
	w.ok(w.newGuard(true).Detect(t.Context(), true))
	w.now, w.sweeps.orphans = w.now.Add(2*time.Hour), 300

	r, err := w.restorer.Report(t.Context())
	w.ok(err)
	if !r.Guarded || r.Applied || r.Due != 3 || len(r.Leases) != 3 || r.Orphans != 600 || len(r.Sweeps[0].Orphans)+len(r.Sweeps[1].Orphans) != maxReported || w.sweeps.applied {
		t.Fatalf("%+v", r)
	}
	for i, want := range []time.Time{w.now.Add(8 * time.Hour), {}, {}} {
		if l := r.Leases[i]; !l.RenewedUntil.Equal(want) || l.Username == "" || l.ExpiresAt.IsZero() {
			t.Errorf("reported %+v", l)
		}
	}
	r, err = w.restorer.Apply(t.Context())
	w.ok(err)
	if r.Guarded || !r.Applied || r.Due != 3 || !w.sweeps.applied || w.active() || w.meter.held {
		t.Fatalf("%+v", r)
	}
	after, err := w.nats.Leases.Load(t.Context(), renewed.Name())
	w.ok(err)
	if !after.ExpiresAt.Equal(w.now.Add(8*time.Hour)) || after.Renewals != 3 {
		t.Errorf("the renewed lease: %+v", after)
	}
	reminders := w.nats.Stored(t, w.nats.Namespace.Stream(messages.VerbRevoke), w.nats.Namespace.Revoke(expired.Name()))
	if len(reminders) != 1 || reminders[0].Header.Get(messages.HeaderDue) == "" {
		t.Errorf("reminders: %+v", reminders)
	}
	w.ok(w.guard.Detect(t.Context(), true))
	if w.active() {
		t.Error("the guard is active again")
	}
}

// The bucket is restored once more while an operator lifts the guard.
func TestGuardIsNotLiftedAtAnotherRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.newGuard(true).Detect(t.Context(), true))
	_, revision, err := w.guard.load(t.Context())
	w.ok(err)
	w.ok(w.guard.activate(t.Context(), "once more", 1))
	if err := w.guard.lift(t.Context(), revision); !messages.IsCode(err, messages.CodeUnavailable) || !errors.Is(err, bucket.ErrConflict) || !w.active() {
		t.Fatalf("lifted: %v", err)
	}
}

func TestReportNamesSomeAndCountsAll(t *testing.T) {
	t.Parallel()
	blocked := make([]blockedLease, maxReported+1)
	for i := range blocked {
		blocked[i].ID = fmt.Sprint(i)
	}
	r := bounded(messages.Restore{}, blocked)
	if r.Due != maxReported+1 || len(r.Leases) != maxReported {
		t.Fatalf("%d due, %d named", r.Due, len(r.Leases))
	}
}

// eventsGone is an event stream that does not answer.
type eventsGone struct{}

func (eventsGone) Last(context.Context, messages.LeaseName, messages.EventType) (uint64, messages.Lease, error) {
	return 0, messages.Lease{}, jetstream.ErrNoStreamResponse
}

func TestGuardIsNotLiftedWithoutTheEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue("1", "one", time.Hour)
	w.ok(w.newGuard(true).Detect(t.Context(), true))
	w.now = w.now.Add(2 * time.Hour)
	w.restorer.cfg.Events = eventsGone{}
	if _, err := w.restorer.Apply(t.Context()); !errors.Is(err, jetstream.ErrNoStreamResponse) || !w.active() {
		t.Fatalf("%v", err)
	}
}
