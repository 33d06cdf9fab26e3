package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

const connection = "default-us-east-1"

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// user is a user of the fake account. Without an owner it has no tags.
type user struct {
	created time.Time
	owner   *provider.Owner
}

// account is a fake AWS account with one page of users.
type account struct {
	provider.Account
	users   map[string]user
	refused map[string]bool // users that can't be deleted
}

func (a *account) ListUsers(context.Context, string, string) ([]provider.ListedUser, string, error) {
	var page []provider.ListedUser
	for name, u := range a.users {
		page = append(page, provider.ListedUser{Name: name, Path: "/lessor/", CreatedAt: u.created})
	}
	slices.SortFunc(page, func(a, b provider.ListedUser) int { return strings.Compare(a.Name, b.Name) })
	return page, "", nil
}

func (a *account) OwnerOf(_ context.Context, name string) (provider.Owner, bool, error) {
	if owner := a.users[name].owner; owner != nil {
		return *owner, true, nil
	}
	return provider.Owner{}, false, nil
}

func (a *account) Delete(_ context.Context, d provider.Deletion) error {
	if a.refused[d.User.Name] {
		return &provider.Error{Kind: provider.Denied, Op: "DeleteUser", Code: "AccessDenied", Err: errors.New("refused")}
	}
	delete(a.users, d.User.Name)
	return nil
}

// connections has one connection.
type connections struct{ account *account }

func (c connections) Names(context.Context) ([]string, error) { return []string{connection}, nil }

func (c connections) Stored(context.Context, string) (string, []string, error) {
	return "123456789012", []string{"/lessor/", "/lessor/ci/"}, nil
}

func (c connections) Reach(context.Context, string) (provider.Account, error) { return c.account, nil }

// failingEvents are events that can't be emitted.
type failingEvents struct{ Events }

func (failingEvents) Emit(context.Context, messages.LeaseName, messages.EventType, string, messages.EventData) error {
	return errors.New("NATS is away")
}

type meter struct{ removed, kept, held int }

func (m *meter) OrphanSwept(removed bool) {
	if removed {
		m.removed++
	} else {
		m.kept++
	}
}

func (m *meter) OrphansHeld(users int) { m.held = users }

// world is a sweeper and what it sees.
type world struct {
	t *testing.T
	*Sweeper
	nats    *natstest.Server
	account *account
	meter   *meter
	now     time.Time
	guarded bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, account: &account{users: map[string]user{}, refused: map[string]bool{}}, meter: &meter{}, now: start}
	w.nats = natstest.Start(t, func() time.Time { return w.now })
	w.Sweeper = w.replica()
	return w
}

func (w *world) replica() *Sweeper {
	return New(Config{
		Leases: w.nats.Leases, Connections: connections{w.account}, Events: w.nats.Events, State: w.nats.State, Installation: natstest.Installation,
		Guarded: func(context.Context) (bool, error) { return w.guarded, nil },
		Every:   time.Hour, Grace: 15 * time.Minute, MaxRemovals: 10, RemovalTimeout: time.Minute,
		Now: func() time.Time { return w.now }, Log: zerolog.Nop(), Meter: w.meter,
	})
}

// add adds a user to the account, tagged by an installation for a lease.
func (w *world) add(name, installation, lease string) {
	w.account.users[name] = user{created: w.now, owner: &provider.Owner{Installation: installation, Lease: lease, Attempt: 1}}
}

// issue writes the record of a live lease with that user.
func (w *world) issue(lease, username string) {
	w.t.Helper()
	name, err := messages.ParseLeaseName(lease)
	if err != nil {
		w.t.Fatal(err)
	}
	r := record.New(record.Plan{Name: name, User: record.User{Name: username}, TTL: messages.Duration(time.Hour)}, w.now, record.Timing{}.WithDefaults())
	if _, err := w.nats.Leases.Save(w.t.Context(), r, 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) one() messages.Sweep {
	w.t.Helper()
	report := w.One(w.t.Context(), connection)
	if report.Error != "" {
		w.t.Fatal(report.Error)
	}
	return report
}

// removed returns the names of the orphans that a sweep has removed.
func removed(s messages.Sweep) string {
	var names []string
	for _, o := range s.Orphans {
		if o.Removed {
			names = append(names, o.Username)
		}
	}
	return strings.Join(names, " ")
}

func TestSweepRemovesOrphansOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue("alice.ci.0000000001", "Kept")
	w.add("kept", natstest.Installation, "alice.ci.0000000001")
	w.add("second", natstest.Installation, "alice.ci.0000000001") // the lease has another user
	w.add("lost", natstest.Installation, "bob.ci.0000000001")     // the lease has no record
	w.add("retagged", natstest.Installation, "not a lease name")
	w.add("foreign", "another", "bob.ci.0000000002")
	w.account.users["untagged"] = user{created: w.now}
	w.now = w.now.Add(20 * time.Minute)
	w.add("young", natstest.Installation, "bob.ci.0000000003")

	s := w.one()
	if got := removed(s); got != "lost retagged second" || len(s.Orphans) != 3 || s.Users != 7 || s.AwaitsConsent || s.Account != "123456789012" {
		t.Fatalf("removed %q: %+v", got, s)
	}
	if len(w.account.users) != 4 || w.meter.removed != 3 {
		t.Errorf("left are %v, counted %+v", w.account.users, w.meter)
	}
	if e := w.nats.Emitted(t, messages.EventOrphanRemoved); len(e) != 3 {
		t.Errorf("%d events", len(e))
	}
}

func TestUnreadableRecordKeepsUsersThatItMayHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.nats.Leases.Put(t.Context(), "alice.ci.0000000001", []byte(`{"v":99}`), 0, 0); err != nil {
		t.Fatal(err)
	}
	w.add("hers", natstest.Installation, "alice.ci.0000000001")
	w.add("retagged", natstest.Installation, "not a lease name")
	w.add("lost", natstest.Installation, "bob.ci.0000000001")
	w.now = w.now.Add(time.Hour)
	if s := w.one(); removed(s) != "lost" || len(s.Orphans) != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestManyOrphansWaitForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 11 {
		w.add(fmt.Sprintf("lost%02d", i), natstest.Installation, "bob.ci.0000000001")
	}
	w.now = w.now.Add(time.Hour)
	w.RunDue(t.Context())
	if len(w.account.users) != 11 || w.meter.held != 11 {
		t.Fatalf("%d users left, %+v", len(w.account.users), w.meter)
	}
	w.RunDue(t.Context()) // not due: the count of the last sweep stands
	if w.meter.held != 11 {
		t.Fatalf("%+v", w.meter)
	}
	if s := w.one(); !s.AwaitsConsent || len(s.Orphans) != 11 {
		t.Fatalf("%+v", s)
	}
	s, err := w.Run(t.Context(), true)
	if err != nil || len(s) != 1 || s[0].AwaitsConsent || len(w.account.users) != 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestGuardKeepsASingleOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add("lost", natstest.Installation, "bob.ci.0000000001")
	w.now, w.guarded = w.now.Add(time.Hour), true
	if s := w.one(); !s.AwaitsConsent || removed(s) != "" {
		t.Fatalf("%+v", s)
	}
	w.guarded = false
	if s := w.one(); s.AwaitsConsent || removed(s) != "lost" {
		t.Fatalf("%+v", s)
	}
}

func TestOrphanThatAWSKeepsIsReportedAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add("lost", natstest.Installation, "bob.ci.0000000001")
	w.add("other", natstest.Installation, "bob.ci.0000000002")
	w.account.refused["lost"] = true
	w.now = w.now.Add(time.Hour)
	s := w.one()
	if removed(s) != "other" || len(s.Orphans) != 2 || !strings.Contains(s.Orphans[0].Error, "AccessDenied") || w.meter.kept != 1 {
		t.Fatalf("%+v, %+v", s, w.meter)
	}
	w.account.refused["lost"] = false
	if s := w.one(); removed(s) != "lost" {
		t.Fatalf("%+v", s)
	}
}

// The replica that removes a user can't emit the event. Another one does, once.
func TestNextSweepEmitsTheEventOfARemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add("Lost", natstest.Installation, "bob.ci.0000000001")
	w.now = w.now.Add(time.Hour)
	w.journal.events = failingEvents{w.nats.Events}
	if s := w.one(); removed(s) != "Lost" {
		t.Fatalf("%+v", s)
	}
	if e := w.nats.Emitted(t, messages.EventOrphanRemoved); len(e) != 0 {
		t.Fatalf("%+v", e)
	}
	w.Sweeper = w.replica()
	for range 2 {
		w.one()
		e := w.nats.Emitted(t, messages.EventOrphanRemoved)
		if len(e) != 1 || e[0].Data.Lease.Username != "Lost" || e[0].Subject != "bob.ci.0000000001" {
			t.Fatalf("%+v", e)
		}
	}
}

// What a crash leaves of a removal is no removal: the user is still listed.
func TestRemovalIsNotEmittedWhileTheUserExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add("lost", natstest.Installation, "bob.ci.0000000001")
	if _, err := w.journal.begin(t.Context(), connection, removal{Username: "LOST", Lease: "bob.ci.0000000001"}); err != nil {
		t.Fatal(err)
	}
	w.one() // it is too young to be removed
	if e := w.nats.Emitted(t, messages.EventOrphanRemoved); len(e) != 0 {
		t.Fatalf("%+v", e)
	}
}

func TestReplicasShareTheSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.Sweeper, w.replica()
	for _, c := range []struct {
		name    string
		wait    time.Duration
		sweeper *Sweeper
		claimed bool
	}{
		{"the first", 0, first, true},
		{"another one meanwhile", 0, second, false},
		{"another one after the first was interrupted", maxSweep, second, true},
		{"the first meanwhile", time.Minute, first, false},
	} {
		w.now = w.now.Add(c.wait)
		if claimed, _ := c.sweeper.claim(t.Context(), connection); claimed != c.claimed {
			t.Fatalf("%s: claimed: %t", c.name, claimed)
		}
	}
	second.finish(t.Context(), connection, 3)
	w.now = w.now.Add(59 * time.Minute)
	if claimed, held := first.claim(t.Context(), connection); claimed || held != 3 {
		t.Fatalf("claimed before it was due: %t, %d held", claimed, held)
	}
	w.now = w.now.Add(time.Minute)
	if claimed, held := first.claim(t.Context(), connection); !claimed || held != 3 {
		t.Fatalf("not claimed when it was due: %d held", held)
	}
}

func TestDroppedConnectionIsNotReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Connections = dropped{connections{w.account}}
	if s, err := w.Run(t.Context(), false); err != nil || s == nil || len(s) != 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

type dropped struct{ connections }

func (dropped) Stored(context.Context, string) (string, []string, error) {
	return "", nil, bucket.ErrNotFound
}
