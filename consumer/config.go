package consumer

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/lease"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Config is what a [Consumer] needs. Conn, Provider and Keys must be set.
type Config struct {
	// Conn is the connection to the broker's own NATS account. The caller closes it.
	Conn *nats.Conn
	// Namespace names the subjects, streams and buckets.
	Namespace messages.Namespace
	// Provider issues the credentials.
	Provider provider.Provider
	// Keys seal what waits in a record for its delivery.
	Keys *messages.Keyring
	// ExternalID is sent when the broker assumes a role and the definition has no
	// external id; "" sends none.
	ExternalID string
	// Index is the scheduler's index of live leases. nil: their number is never
	// known, and requests for secrets with limits wait.
	Index Index
	// Meter counts what happens; nil counts nothing.
	Meter Meter
	// Log is where the log goes; the zero value discards it.
	Log zerolog.Logger
	// Now is the clock for all decisions; nil is time.Now.
	Now func() time.Time
	// Rand makes user names and ids; nil is crypto/rand.Reader.
	Rand io.Reader
	// Waiting is called, again and again, with what [New] and [Consumer.Start] wait
	// for while NATS is not ready; nil is not called.
	Waiting func(error)

	// Timing is how long a lease may stay in the states that the broker must end;
	// zero fields have the defaults of [record.Timing].
	Timing record.Timing
	// MinTTL is the shortest lease; 0 is 1m.
	MinTTL messages.Duration
	// MaxRequestsPerMinute is for secrets that define none: how many leases of one of
	// them an identity may begin in a minute; 0 is no limit.
	MaxRequestsPerMinute int
	// TombstoneAge is how long ended leases are kept, so that a repeated request
	// finds them; 0 is 24h.
	TombstoneAge time.Duration
	// NoRespondersWait is how long a delivery is repeated while NATS answers "no
	// responders"; 0 is 2s.
	NoRespondersWait time.Duration
	// ProbeEvery is the wait between two probes of a new key; 0 is 1s.
	ProbeEvery time.Duration
	// Restored says that the lease bucket was restored from a backup just now, if that
	// does not show by itself: the restore guard becomes active.
	Restored bool

	Workers Workers
	Streams Streams
	Sweep   Sweep

	// MaintainEvery is the wait between two rounds of the maintenance loop; 0 is 2s.
	MaintainEvery time.Duration
	// Reserve is the size of the free-space reserve in bytes; 0 is 1 MiB.
	Reserve int
	// RetryMin and RetryMax bound the growing wait before a message is redelivered
	// that can't be handled yet; 0 is 1s and 30s.
	RetryMin, RetryMax time.Duration
}

// Workers is how many messages of each verb are handled at once. A worker mostly
// waits for AWS. Zero fields have the defaults.
type Workers struct {
	Request int // 0 is 128
	Renew   int // 0 is 64
	Revoke  int // 0 is 128
	Confirm int // 0 is 16
	// MaxCleanups is how many cleanups may run, or wait to run, on goroutines of their
	// own; 0 is 1024, and below 0 is none: their messages are redelivered later.
	MaxCleanups int
}

// Streams is how streams and consumers are set up. Zero fields have the defaults.
type Streams struct {
	// Replicas is how many copies JetStream keeps of streams and buckets; 0 is 1 for
	// new ones and leaves existing ones as they are.
	Replicas int
	// MinBatch is from how many simultaneous writes to one stream on they are
	// committed as one batch ([DefaultMinBatch] is a good number); 0 is never. It is for
	// a NATS that flushes each write to the disk (sync_interval always), and needs
	// nats-server 2.12.
	MinBatch int
	// EventAge is how long events are kept; 0 is 90 days.
	EventAge time.Duration
	// AckWait is how long JetStream waits for a sign of progress before it
	// redelivers a message; 0 is 15s, the most is 30s.
	AckWait time.Duration
	// PullHeartbeat is how often NATS must say that a worker's pull still stands, at
	// least 500ms; 0 is 3s. Without that for twice as long the worker pulls anew.
	PullHeartbeat time.Duration
}

// Sweep is how orphans are searched for. Zero fields have the defaults.
type Sweep struct {
	Every time.Duration // between two sweeps of a connection; 0 is 1h
	Grace time.Duration // how old a user must be to count as an orphan; 0 is 15m
	Most  int           // orphans that a sweep removes without an operator's consent; 0 is 10
}

// DefaultMinBatch is the number of messages from which one batch is faster than single
// writes where NATS flushes each write.
const DefaultMinBatch = store.DefaultMinBatch

// Index is the scheduler's index of live leases, a moment old.
type Index interface {
	lease.Rate
	// Live returns how many live leases of a secret there are, and how many of them
	// are an identity's; known is false while they are being loaded.
	Live(identity, secret string) (ofIdentity, ofSecret int, known bool)
	// Known reports that a lease is live. False says nothing.
	Known(messages.LeaseName) bool
}

// noIndex is the index of a consumer without a scheduler.
type noIndex struct{}

func (noIndex) Admit(messages.LeaseName, uint64, int) (time.Duration, bool) { return 0, false }
func (noIndex) Room(string, string, int) (time.Duration, bool)              { return 0, false }
func (noIndex) Live(string, string) (int, int, bool)                        { return 0, 0, false }
func (noIndex) Known(messages.LeaseName) bool                               { return false }

func (c Config) withDefaults() (Config, error) {
	if c.Conn == nil || c.Provider == nil || c.Keys == nil {
		return c, fmt.Errorf("consumer: Conn, Provider and Keys must be set")
	}
	if c.Streams.AckWait > 30*time.Second {
		return c, fmt.Errorf("consumer: AckWait is %s, the most is 30s", c.Streams.AckWait)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Meter == nil {
		c.Meter = noMeter{}
	}
	if c.Index == nil {
		c.Index = noIndex{}
	}
	if c.Waiting == nil {
		c.Waiting = func(error) {}
	}
	c.Timing = c.Timing.WithDefaults()
	c.MinTTL = cmp.Or(c.MinTTL, messages.Duration(time.Minute))
	c.TombstoneAge = cmp.Or(c.TombstoneAge, 24*time.Hour)
	c.NoRespondersWait = cmp.Or(c.NoRespondersWait, 2*time.Second)
	c.ProbeEvery = cmp.Or(c.ProbeEvery, time.Second)
	c.Workers.Request = cmp.Or(c.Workers.Request, 128)
	c.Workers.Renew = cmp.Or(c.Workers.Renew, 64)
	c.Workers.Revoke = cmp.Or(c.Workers.Revoke, 128)
	c.Workers.Confirm = cmp.Or(c.Workers.Confirm, 16)
	c.Workers.MaxCleanups = cmp.Or(c.Workers.MaxCleanups, 1024)
	c.Streams.EventAge = cmp.Or(c.Streams.EventAge, 90*24*time.Hour)
	c.Streams.AckWait = cmp.Or(c.Streams.AckWait, 15*time.Second)
	c.Streams.PullHeartbeat = cmp.Or(c.Streams.PullHeartbeat, 3*time.Second)
	c.Sweep.Every = cmp.Or(c.Sweep.Every, time.Hour)
	c.Sweep.Grace = cmp.Or(c.Sweep.Grace, 15*time.Minute)
	c.Sweep.Most = cmp.Or(c.Sweep.Most, 10)
	c.MaintainEvery = cmp.Or(c.MaintainEvery, 2*time.Second)
	c.Reserve = cmp.Or(c.Reserve, 1<<20)
	c.RetryMin = cmp.Or(c.RetryMin, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, 30*time.Second)
	return c, nil
}
