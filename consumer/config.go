package consumer

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Config is what a [Consumer] needs. Conn, Provider and Keys must be set.
type Config struct {
	// Conn is the connection to the broker's own NATS account. It stays the
	// caller's to close.
	Conn *nats.Conn
	// Namespace names the subjects, streams and buckets.
	Namespace messages.Namespace
	// Provider issues the credentials.
	Provider provider.Provider
	// Keys seal what waits in a record for its delivery.
	Keys *messages.Keyring
	// ProjectID is the external id with which the broker assumes roles where a
	// definition names none; "" is none.
	ProjectID string
	// Log is where the log goes; the zero value discards it.
	Log zerolog.Logger
	// Now is the clock for all decisions; nil is time.Now.
	Now func() time.Time
	// Rand makes user names and ids; nil is crypto/rand.Reader.
	Rand io.Reader
	// Timing is how long leases may stay where somebody must move them; zero
	// fields have the defaults of [record.Timing].
	Timing record.Timing
	// MinTTL is the shortest lease; 0 is one minute.
	MinTTL messages.Duration
	// Live tells how many live leases of a secret there are, and how many of them
	// are an identity's, for secrets that limit them; false while that is not
	// known, and then requests for such secrets wait. nil: it is never known.
	Live func(identity, secret string) (ofIdentity, ofSecret int, known bool)
	// Known says that a lease was alive a moment ago; false says nothing. It saves a
	// look at the bucket. nil: it is never known.
	Known func(messages.LeaseName) bool
	// Current says that, as far as is known, a lease's record is still as it was at that
	// revision. It saves a look at the bucket, and may be wrong: what is written by it
	// is compared. nil: it is never known.
	Current func(lease messages.LeaseName, revision uint64) bool
	// Waiting is told, again and again, what [New] and [Consumer.Start] wait for while
	// NATS is not all there; nil tells nobody.
	Waiting func(error)
	// Meter is told what happens; nil: nobody is.
	Meter Meter
	// Rate counts the requests of identities, for secrets that limit their rate. nil:
	// they are not counted, and requests for such secrets wait.
	Rate Rate
	// MaxRequestsPerMinute is for secrets that have none: how many leases of one of
	// them an identity may begin in a minute; 0 is no limit.
	MaxRequestsPerMinute int
	// Workers is how many messages of each verb are handled at once.
	Workers Workers
	// AckWait is how long JetStream waits for a sign of life from whoever
	// handles a message before it gives it to another; 0 is 15s, the most is
	// 30s.
	AckWait time.Duration
	// Replicas is how many copies JetStream keeps of streams and buckets; 0 is
	// 1 for new ones and leaves existing ones alone.
	Replicas int
	// GroupCommit is how many writes to one stream at the same time are committed
	// together ([DefaultGroup] is a good number); 0 is none. It is for a NATS that flushes
	// each write to the disk (its sync_interval is always), and costs more than it saves
	// with another. It needs nats-server 2.12.
	GroupCommit int
	// EventAge is how long events are kept; 0 is 90 days.
	EventAge time.Duration
	// TombstoneAge is how long ended leases are remembered, so that a repeated
	// request finds them; 0 is 24 hours.
	TombstoneAge time.Duration
	// NobodyWait is how long a delivery is tried again where NATS says that
	// nobody listens; 0 is 2s.
	NobodyWait time.Duration
	// ProbeEvery is the wait between two tries of a new key for ready_within;
	// 0 is 1s.
	ProbeEvery time.Duration
	// ChoresEvery is the wait between two rounds of what goes on without a message;
	// 0 is 2s.
	ChoresEvery time.Duration
	// PullHeartbeat is how often NATS says that a worker's pull still stands, at least
	// 500ms; 0 is 3s. Without such a sign for twice that long the worker pulls anew.
	PullHeartbeat time.Duration
	// Reserve is how many bytes are kept in the state bucket that nothing needs, to
	// make room for what ends leases when JetStream has none left; 0 is 1 MiB.
	Reserve int
	// SweepEvery is the wait between two sweeps of an account for users that no lease
	// knows; 0 is 1h.
	SweepEvery time.Duration
	// SweepGrace is how old a user must be before it can be one that no lease knows;
	// 0 is 15m.
	SweepGrace time.Duration
	// SweepMost is how many of them a sweep removes without a person's word; 0 is 10.
	SweepMost int
	// Restored says that the lease bucket was restored from a backup just now, where
	// that does not show: it is held until an operator lifts the hold.
	Restored bool
	// RetryMin and RetryMax bound the growing wait before a message is handled
	// again that can't be served yet; 0 is 1s and 30s.
	RetryMin, RetryMax time.Duration
}

// DefaultGroup is from how many messages on a batch is better than as many writes, as
// measured where each is flushed ("lessor bench --durable").
const DefaultGroup = 16

// Rate counts the leases that identities have begun in the last minute, at all
// replicas: the scheduler does.
type Rate interface {
	// Admit counts one more, unless there have been as many as may be: then it
	// returns how long to wait. The message is the one that asks, by its sequence:
	// handled again it counts once. It is false while the count is not known.
	Admit(lease messages.LeaseName, message uint64, most int) (wait time.Duration, known bool)
	// Room is Admit for who only wants to know.
	Room(identity, secret string, most int) (wait time.Duration, known bool)
}

// noRate is the Rate of who has none.
type noRate struct{}

func (noRate) Admit(messages.LeaseName, uint64, int) (time.Duration, bool) { return 0, false }
func (noRate) Room(string, string, int) (time.Duration, bool)              { return 0, false }

// Workers is how many messages of each verb are handled at once. They wait for
// AWS rather than use the CPU. Zero fields have the defaults.
type Workers struct {
	Request int // 0 is 128
	Renew   int // 0 is 64
	Revoke  int // 0 is 128
	Confirm int // 0 is 16
}

// frontDoorDeadline is how long the front door lets a request wait. The mapping
// of a service import's reply lives for two minutes (nats-server,
// DEFAULT_SERVICE_EXPORT_RESPONSE_THRESHOLD); later nobody could get an answer.
const frontDoorDeadline = 100 * time.Second

// youngUser is how old an IAM user must be before "not found" means that it is
// gone: IAM is eventually consistent.
const youngUser = 2 * time.Minute

func (c Config) withDefaults() (Config, error) {
	if c.Conn == nil || c.Provider == nil || c.Keys == nil {
		return c, fmt.Errorf("consumer: Conn, Provider and Keys must be set")
	}
	if c.AckWait > 30*time.Second {
		return c, fmt.Errorf("consumer: AckWait is %s, the most is 30s", c.AckWait)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Meter == nil {
		c.Meter = unmetered{}
	}
	if c.Live == nil {
		c.Live = func(string, string) (int, int, bool) { return 0, 0, false }
	}
	if c.Known == nil {
		c.Known = func(messages.LeaseName) bool { return false }
	}
	if c.Current == nil {
		c.Current = func(messages.LeaseName, uint64) bool { return false }
	}
	if c.Waiting == nil {
		c.Waiting = func(error) {}
	}
	if c.Rate == nil {
		c.Rate = noRate{}
	}
	c.Timing = c.Timing.WithDefaults()
	orElse(&c.PullHeartbeat, 3*time.Second)
	orElse(&c.Reserve, 1<<20)
	orElse(&c.MinTTL, messages.Duration(time.Minute))
	orElse(&c.Workers.Request, 128)
	orElse(&c.Workers.Renew, 64)
	orElse(&c.Workers.Revoke, 128)
	orElse(&c.Workers.Confirm, 16)
	orElse(&c.AckWait, 15*time.Second)
	orElse(&c.EventAge, 90*24*time.Hour)
	orElse(&c.TombstoneAge, 24*time.Hour)
	orElse(&c.NobodyWait, 2*time.Second)
	orElse(&c.ProbeEvery, time.Second)
	orElse(&c.ChoresEvery, 2*time.Second)
	orElse(&c.SweepEvery, time.Hour)
	orElse(&c.SweepGrace, 15*time.Minute)
	orElse(&c.SweepMost, 10)
	orElse(&c.RetryMin, time.Second)
	orElse(&c.RetryMax, 30*time.Second)
	return c, nil
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
