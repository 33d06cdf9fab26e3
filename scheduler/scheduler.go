package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// Config configures a [Scheduler]. Conn is required.
type Config struct {
	// Conn is the connection to the broker's NATS account. The caller closes it.
	Conn *nats.Conn
	// Namespace names the subjects, streams and buckets.
	Namespace messages.Namespace
	// Log receives the log; the zero value discards it.
	Log zerolog.Logger
	// Now is the clock that due times are compared with; nil is time.Now.
	Now func() time.Time
	// Tick is how often reminders are published; 0 is 200ms.
	Tick time.Duration
	// Resync is how often the lease bucket is read again. It is the mean; where
	// reading takes long the scheduler waits longer. 0 is 5 minutes.
	Resync time.Duration
	// Check is how often the scheduler looks whether the lease bucket has been
	// replaced or restored; 0 is 10s.
	Check time.Duration
	// RemindAgain is the wait before a reminder is repeated. It doubles each time, up
	// to RemindLongest, until the record changes. 0 is 10s and 5 minutes.
	RemindAgain, RemindLongest time.Duration
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	set(&c.Tick, 200*time.Millisecond)
	set(&c.Resync, 5*time.Minute)
	set(&c.Check, 10*time.Second)
	set(&c.RemindAgain, 10*time.Second)
	set(&c.RemindLongest, 5*time.Minute)
	return c
}

// Scheduler indexes the leases and publishes reminders. It is safe for concurrent
// use.
type Scheduler struct {
	cfg    Config
	js     jetstream.JetStream
	index  *index
	rates  *rates
	cancel context.CancelFunc
	done   sync.WaitGroup

	resync     chan struct{} // ends the present watch
	watching   watching
	loaded     atomic.Bool            // the index has had everything once
	broken     atomic.Pointer[string] // why the watch does not work; nil: it does
	complained atomic.Pointer[time.Time]
}

// New returns a scheduler that knows no leases yet. It does not use the connection
// before Start.
func New(cfg Config) (*Scheduler, error) {
	s := &Scheduler{cfg: cfg.withDefaults(), index: newIndex(), rates: newRates(), resync: make(chan struct{}, 1)}
	var err error
	s.js, err = jetstream.New(cfg.Conn,
		jetstream.WithPublishAsyncMaxPending(maxUnacknowledged),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
		jetstream.WithPublishAsyncErrHandler(s.notPublished),
	)
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	return s, nil
}

// Start begins to load the leases and to publish reminders, and returns at once. The
// lease bucket need not exist yet. Start may be called once.
func (s *Scheduler) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() { s.watch(ctx) })
	s.done.Go(func() { s.resyncs(ctx) })
	s.done.Go(func() { s.tick(ctx) })
}

// Stop ends what Start began and waits for it. It does nothing if the scheduler was
// not started.
func (s *Scheduler) Stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.done.Wait()
}

// Healthy returns nil if the scheduler has loaded all leases and its watch works, and
// otherwise what is wrong.
func (s *Scheduler) Healthy() error {
	if why := s.broken.Load(); why != nil {
		return errors.New("scheduler: " + *why)
	}
	if !s.loaded.Load() {
		return fmt.Errorf("scheduler: still loading leases, %d so far", s.Leases())
	}
	return nil
}

// Leases returns how many live leases the index has. Records that can't be read are
// not among them.
func (s *Scheduler) Leases() int { return s.index.scheduled() }

// Counts is how many live leases there are.
type Counts struct {
	Provisioning, Active int
	Revoking             int // includes those that fail, and those of which only cleanup is left
	Failing              int // the last teardown failed
	Unreadable           int // the record can't be read; the state is not known
}

// Counts returns how many live leases there are, as far as the index knows.
func (s *Scheduler) Counts() Counts {
	n := s.index.classCounts()
	return Counts{
		Provisioning: n[provisioning], Active: n[active], Revoking: n[revoking] + n[cleanup] + n[failing],
		Failing: n[failing], Unreadable: n[unreadable],
	}
}

// Live returns how many live leases a secret has, and how many of these are an
// identity's, as far as the index knows. A lease of which only cleanup is left does
// not count. Loaded is false until all leases are loaded.
func (s *Scheduler) Live(identity, secret string) (ofIdentity, ofSecret int, loaded bool) {
	ofIdentity, ofSecret = s.index.live(identity, secret)
	return ofIdentity, ofSecret, s.loaded.Load()
}

// Known reports whether a lease was alive a moment ago, and its record can be read.
// False means nothing: the index may be behind.
func (s *Scheduler) Known(name messages.LeaseName) bool {
	return s.index.readable(name.String()) && s.Healthy() == nil
}
