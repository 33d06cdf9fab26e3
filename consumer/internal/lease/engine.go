package lease

import (
	"context"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Settings are what all parts of the engine have in common. All fields must be set,
// except for those whose comment says what zero means.
type Settings struct {
	Namespace    messages.Namespace
	Installation string
	Keys         *messages.Keyring // seal what waits in a record for its delivery
	Timing       record.Timing
	MinTTL       messages.Duration
	// ExternalID is the external id for roles whose definition names none; "" is none.
	ExternalID string
	// NoRespondersWait is how long a delivery is repeated while NATS answers "no
	// responders".
	NoRespondersWait time.Duration
	// ProbeEvery is the wait between two probes of a new key for ready_within.
	ProbeEvery time.Duration
	// RetryMin and RetryMax bound the waits between retries.
	RetryMin, RetryMax time.Duration
	Now                func() time.Time
	Rand               io.Reader
	Log                zerolog.Logger
	Meter              Meter
}

// Meter counts what the engine does. Its methods are called by many goroutines.
type Meter interface {
	// Undelivered counts a lease whose delivery was not settled.
	Undelivered()
	// RevocationFailed counts a failed teardown.
	RevocationFailed()
	// Expired counts a lease that expired and is torn down; late is the time from
	// its end to the deletion of its key.
	Expired(late time.Duration)
}

// Guard keeps leases from ending because of records that come from a backup.
type Guard interface {
	Blocks(context.Context, store.Entry) (bool, error)
}

// Parts are what the engine works with.
type Parts struct {
	Conn     *nats.Conn
	Leases   *store.Leases
	Events   *events.Log
	Provider provider.Provider
	Accounts *connection.Registry
	Secrets  *secrets.Registry
	Outbox   *queue.Outbox
	Reserve  *store.Reserve
	Limits   Limits
	Guard    Guard
	Lifetime *queue.Lifetime
	// CleanupSlots is how many cleanups run at once, and MaxCleanups how many may run
	// or wait for a slot. More are redelivered later: each waiting one costs a sign of
	// progress every few seconds.
	CleanupSlots, MaxCleanups int
}

// Engine is the handlers of the verbs and what they share.
type Engine struct {
	Requests      *Requests
	Renewals      *Renewals
	Revocations   *Revocations
	Confirmations *Confirmations
	Teardown      *Teardown
	DryRuns       *DryRuns

	publisher *publisher
}

// New returns an engine. Its deliveries subscribe to the confirm subjects until
// [Engine.Close].
func New(s Settings, p Parts) (*Engine, error) {
	publisher, err := newPublisher(p.Conn, s.Namespace)
	if err != nil {
		return nil, err
	}
	teardown := &Teardown{Settings: s, leases: p.Leases, events: p.Events, accounts: p.Accounts, cleanups: newCleanups(p.CleanupSlots, p.MaxCleanups)}
	sync := &denySync{Settings: s, leases: p.Leases, accounts: p.Accounts}
	deliveries := &Deliveries{
		Settings: s, leases: p.Leases, events: p.Events, accounts: p.Accounts, publisher: publisher,
		pending: pendingMessages{s, p.Outbox}, teardown: teardown, lifetime: p.Lifetime, replier: queue.Replier{Conn: p.Conn},
	}
	planner := &planner{Settings: s, accounts: p.Accounts, limits: p.Limits}
	return &Engine{
		Requests: &Requests{
			Settings: s, leases: p.Leases, events: p.Events, secrets: p.Secrets, reserve: p.Reserve, planner: planner, teardown: teardown, deliveries: deliveries,
			provisioner: &provisioner{Settings: s, leases: p.Leases, accounts: p.Accounts, secrets: p.Secrets, sync: sync, lifetime: p.Lifetime},
		},
		Renewals:      &Renewals{Settings: s, leases: p.Leases, events: p.Events, sync: sync},
		Revocations:   &Revocations{Settings: s, leases: p.Leases, events: p.Events, guard: p.Guard, pending: pendingMessages{s, p.Outbox}, teardown: teardown},
		Confirmations: &Confirmations{Settings: s, leases: p.Leases, events: p.Events},
		Teardown:      teardown,
		DryRuns:       &DryRuns{Settings: s, leases: p.Leases, accounts: p.Accounts, provider: p.Provider, teardown: teardown},
		publisher:     publisher,
	}, nil
}

// Close ends the subscription of the deliveries.
func (e *Engine) Close() { e.publisher.close() }

// youngUser is how old an IAM user must be before "not found" means that it is
// deleted: IAM is eventually consistent.
const youngUser = 2 * time.Minute

// isYoung reports whether AWS may not show the lease's user yet.
func (s Settings) isYoung(r record.Record) bool { return s.Now().Sub(r.StartedAt) < youngUser }

// owner is what a lease's user is tagged with.
func (s Settings) owner(r record.Record) provider.Owner {
	return provider.Owner{Installation: s.Installation, Lease: r.Name().String(), Attempt: r.Attempt}
}

// isLate reports whether a deadline (zero: none) has passed.
func (s Settings) isLate(deadline time.Time) bool {
	return !deadline.IsZero() && !s.Now().Before(deadline)
}

// creation is what the provider needs to make the lease's user.
func (s Settings) creation(e store.Entry, stillCurrent func(context.Context) error) provider.Creation {
	return provider.Creation{
		User: e.User, Owner: s.owner(e.Record), DenyAfter: e.DenyAfter(), For: e.ExpiresAt.Sub(s.Now()), StillCurrent: stillCurrent,
	}
}
