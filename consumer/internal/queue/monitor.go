package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/health"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
)

// leaseBucketMissing means that the lease bucket of an existing installation is
// missing. A new, empty one would make the broker forget every user that it has to
// delete.
type leaseBucketMissing struct{}

func (leaseBucketMissing) Error() string {
	return "the lease bucket is missing, and with it the records of all leases: restore it from a backup or, if it is lost for good, " +
		"make an empty one in its place (nats kv add); until then no lease is made, and none ended"
}

// Is makes it count as a missing stream.
func (leaseBucketMissing) Is(target error) bool { return target == jetstream.ErrStreamNotFound }

// CheckLeaseBucket returns an error if the lease bucket is missing although the
// installation exists.
func (t *Topology) CheckLeaseBucket(ctx context.Context) error {
	_, err := bucket.Open(ctx, t.JS, t.Namespace.LeaseBucket())
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // it exists, or Ensure finds what is wrong
	}
	state, err := bucket.Open(ctx, t.JS, t.Namespace.StateBucket())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	exists, err := store.HasInstallation(ctx, state)
	if exists {
		return leaseBucketMissing{}
	}
	return err
}

// Monitor looks at the streams and consumers at intervals. It makes those again that
// are missing and can be made again, and reports the rest.
type Monitor struct {
	Topology *Topology
	Conn     *nats.Conn
	State    *bucket.Bucket
	Health   *health.Tracker
	Every    time.Duration
	Log      zerolog.Logger
}

// Run looks until ctx ends. What is missing is made again when it is missing for the
// second time: the server is still removing the files of what was just deleted, and
// would remove those of its successor.
func (m *Monitor) Run(ctx context.Context) {
	missing := map[string]bool{}
	for retry.Sleep(ctx, m.Every) == nil {
		if m.Conn.Status() == nats.CONNECTED { // otherwise nothing is known about them
			missing = m.look(ctx, missing)
		}
	}
}

// look looks once. It makes what was missing the last time, and returns what is
// missing now.
func (m *Monitor) look(ctx context.Context, before map[string]bool) map[string]bool {
	missing, well := map[string]bool{}, true
	check := func(place string, exists, make func() error) error {
		err := exists()
		if make != nil && (errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)) {
			missing[place] = true
			if before[place] {
				err = make()
			}
		}
		well = well && err == nil
		m.Health.Report(place, err)
		return err
	}
	for _, want := range m.Topology.streams() {
		var make func() error
		if !isBucket(want) {
			make = func() error { return m.makeStream(ctx, want) }
		}
		err := check("stream "+want.Name, func() error { return m.checkStream(ctx, want) }, make)
		if bucket.ProblemOf(err) == bucket.ProblemNoAnswer {
			return missing // each of the others would cost the same timeout
		}
	}
	for _, v := range Verbs {
		_ = check("consumer "+m.Topology.Namespace.Consumer(v), func() error { return m.checkConsumer(ctx, v) }, func() error {
			_, err := m.Topology.EnsureConsumer(ctx, v)
			return err
		})
	}
	if well && m.Health.WritesFail() {
		m.probeWrite(ctx)
	}
	return missing
}

// probeWrite finds out whether writes that failed would succeed now: it may be that
// no component repeats what failed.
func (m *Monitor) probeWrite(ctx context.Context) {
	const key = "probe"
	e, err := m.State.Get(ctx, key)
	if err == nil || errors.Is(err, bucket.ErrNotFound) {
		_, err = m.State.Put(ctx, key, []byte("written to see whether writes work"), e.Revision, 0)
	}
	if err == nil || errors.Is(err, bucket.ErrConflict) {
		m.Health.WritesWork()
	}
}

// checkStream returns what is wrong with a stream.
func (m *Monitor) checkStream(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := m.Topology.JS.Stream(ctx, want.Name)
	switch {
	case err == nil && isBucket(want) && !s.CachedInfo().Config.AllowMsgTTL:
		return m.Topology.adjust(ctx, s.CachedInfo().Config, want) // an operator has made it in place of a lost one
	case err == nil:
		return checkBucketLimits(s.CachedInfo().Config)
	case !errors.Is(err, jetstream.ErrStreamNotFound), !isBucket(want):
		return err
	case want.Name == bucket.StreamName(m.Topology.Namespace.LeaseBucket()):
		return leaseBucketMissing{}
	}
	return fmt.Errorf("restore it from a backup: %w", err)
}

// makeStream makes a work queue or the event stream again.
func (m *Monitor) makeStream(ctx context.Context, want jetstream.StreamConfig) error {
	made, err := m.Topology.ensureStream(ctx, want)
	if made {
		m.Log.Warn().Str("stream", want.Name).Msg("a stream was missing, with the messages in it, and is made again; requesters may repeat their requests")
	}
	return err
}

func (m *Monitor) checkConsumer(ctx context.Context, v messages.Verb) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := m.Topology.JS.Consumer(ctx, m.Topology.Namespace.Stream(v), m.Topology.Namespace.Consumer(v))
	return err
}
