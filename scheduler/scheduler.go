package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// Config is what a [Scheduler] needs. Conn must be set.
type Config struct {
	// Conn is the connection to the broker's own NATS account. It stays the
	// caller's to close.
	Conn *nats.Conn
	// Namespace names the subjects, streams and buckets.
	Namespace messages.Namespace
	// Log is where the log goes; the zero value discards it.
	Log zerolog.Logger
	// Now is the clock that due times are compared with; nil is time.Now.
	Now func() time.Time
	// Tick is how often the index is looked at; 0 is 200ms.
	Tick time.Duration
	// Patrol is the pause between two patrols, which compare the index with the
	// bucket; 0 is 5 minutes.
	Patrol time.Duration
	// Calendar is from how many leases on the calendar is kept; 0 is 50,000. Below that
	// the bucket is read in no time.
	Calendar int
	// CalendarEvery is how often the calendar is brought up to date where something has
	// changed; 0 is 10s.
	CalendarEvery time.Duration
	// RemindAgain is the wait before a reminder is repeated, which doubles up to
	// RemindLongest while the record does not change; 0 is 10s and 5 minutes.
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
	set(&c.Patrol, 5*time.Minute)
	set(&c.CalendarEvery, 10*time.Second)
	if c.Calendar == 0 {
		c.Calendar = 50_000
	}
	set(&c.RemindAgain, 10*time.Second)
	set(&c.RemindLongest, 5*time.Minute)
	return c
}

// What bounds the publishing of reminders.
const (
	// maxTake is how many reminders a tick publishes at most; what is left is
	// taken at once by the next.
	maxTake = 10_000
	// maxUnacknowledged is how many may be on their way to the stream.
	maxUnacknowledged = 16_384
	// publishTimeout is how long the stream may take to acknowledge one. Without
	// it a reminder whose acknowledgement is lost would keep its place for good.
	publishTimeout = 10 * time.Second
	// retryPublish is the wait after a reminder that did not get through.
	retryPublish = time.Second
	// complainEvery is how often the log says that reminders fail.
	complainEvery = time.Minute
)

// Scheduler reminds the workers of what is due. Any number of them may run.
type Scheduler struct {
	cfg    Config
	js     jetstream.JetStream
	index  *index
	rates  *rates
	cancel context.CancelFunc
	done   sync.WaitGroup

	generation uint32        // of the watch; its goroutine's alone
	revision   atomic.Uint64 // the last that the watch has told
	written    uint64        // up to where the calendar goes by this scheduler; its goroutine's alone
	loaded     atomic.Bool
	broken     atomic.Pointer[string] // why there is no watch now; nil: there is
	complained atomic.Pointer[time.Time]
}

// Start begins to remind. The lease bucket need not be there yet. Stop ends it.
func Start(cfg Config) (*Scheduler, error) {
	s := &Scheduler{cfg: cfg.withDefaults(), index: newIndex(), rates: newRates()}
	var err error
	s.js, err = jetstream.New(cfg.Conn,
		jetstream.WithPublishAsyncMaxPending(maxUnacknowledged),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
		jetstream.WithPublishAsyncErrHandler(s.notPublished),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() { s.follow(ctx) })
	s.done.Go(func() { s.tick(ctx) })
	s.done.Go(func() { s.keepCalendar(ctx) })
	return s, nil
}

// Stop ends the reminding, and returns when it has ended.
func (s *Scheduler) Stop() {
	s.cancel()
	s.done.Wait()
}

// Leases is how many live leases the scheduler knows.
func (s *Scheduler) Leases() int { return s.index.size() }

// Counts is how many live leases there are.
type Counts struct {
	Provisioning, Active int
	Revoking             int // those that fail included, and those that are only to be tidied up
	Failing              int // could not be revoked when it was last tried
	Unreadable           int // records that can't be read, whatever state they are in
}

// Counts counts the live leases, a moment ago.
func (s *Scheduler) Counts() Counts {
	n := s.index.standingNow()
	return Counts{
		Provisioning: n[provisioning], Active: n[active], Revoking: n[revoking] + n[tidying] + n[failing],
		Failing: n[failing], Unreadable: n[unreadable],
	}
}

// Live is how many leases of a secret are alive, and how many of them are an
// identity's, a moment ago: one whose key is dead, and which is only to be tidied up,
// is not. It is false while the leases are being loaded.
func (s *Scheduler) Live(identity, secret string) (ofIdentity, ofSecret int, loaded bool) {
	ofIdentity, ofSecret = s.index.live(identity, secret)
	return ofIdentity, ofSecret, s.loaded.Load()
}

// Known says that a lease was alive a moment ago, by a record that can be read. False
// says nothing.
func (s *Scheduler) Known(name messages.LeaseName) bool {
	return s.index.readable(name.String()) && s.Healthy() == nil
}

// Current says that a live lease's record is the one of that revision, as far as the
// watch has told: it has told of that one, or of nothing so late. False says nothing.
func (s *Scheduler) Current(name messages.LeaseName, revision uint64) bool {
	told := s.revision.Load() // before the index is asked: what is told meanwhile is in it
	known, ok := s.index.revisionOf(name.String())
	return (ok && known == revision || known < revision && told < revision) && s.Healthy() == nil
}

// Healthy returns nil if the scheduler knows all leases and hears of their
// changes, or else what is wrong.
func (s *Scheduler) Healthy() error {
	if why := s.broken.Load(); why != nil {
		return errors.New("scheduler: " + *why)
	}
	if !s.loaded.Load() {
		return fmt.Errorf("scheduler: still loading leases, %d so far", s.Leases())
	}
	return nil
}

// tick looks at the index again and again.
func (s *Scheduler) tick(ctx context.Context) {
	t := time.NewTicker(s.cfg.Tick)
	defer t.Stop()
	for {
		for s.runOnce(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// runOnce publishes a reminder for each lease that is due now, as far as there is room
// on the way to the stream, and says whether there may be more. Without NATS it leaves
// them where they are: when it is back, the longest due goes first.
func (s *Scheduler) runOnce(ctx context.Context) (more bool) {
	if s.cfg.Conn.Status() != nats.CONNECTED {
		return false
	}
	limit := min(maxTake, maxUnacknowledged-s.js.PublishAsyncPending())
	if limit <= 0 {
		return false
	}
	due := s.index.take(s.cfg.Now(), limit, s.again)
	for _, r := range due {
		if ctx.Err() != nil {
			return false
		}
		s.remind(r)
	}
	return len(due) == limit
}

// again is the wait before a lease is reminded of again.
func (s *Scheduler) again(reminders int) time.Duration {
	wait := s.cfg.RemindAgain
	for n := 1; n < reminders && wait < s.cfg.RemindLongest; n++ {
		wait *= 2
	}
	return min(wait, s.cfg.RemindLongest)
}

func (s *Scheduler) remind(r reminder) {
	name, err := messages.ParseLeaseName(r.name)
	if err != nil {
		return // learn lets none in
	}
	msg := nats.NewMsg(s.cfg.Namespace.Revoke(name))
	msg.Header.Set(messages.HeaderDue, r.due.UTC().Format(time.RFC3339))
	if _, err := s.js.PublishMsgAsync(msg); err != nil {
		s.complain(err, r.name)
		s.index.hurry(r.name, s.cfg.Now().Add(retryPublish))
		return
	}
	s.cfg.Log.Debug().Str("lease", r.name).Time("due", r.due).Int("reminders_before", r.last).Msg("reminded")
}

// notPublished hears of reminders that the stream did not take. That one is
// pending already is as good.
func (s *Scheduler) notPublished(_ jetstream.JetStream, msg *nats.Msg, err error) {
	var api *jetstream.APIError
	if errors.As(err, &api) && strings.Contains(api.Description, "per subject") {
		return
	}
	name := strings.Join(s.cfg.Namespace.Tokens(msg.Subject, 1), ".")
	s.complain(err, name)
	s.index.hurry(name, s.cfg.Now().Add(retryPublish))
}

// complain logs that a reminder failed: one in a while, since they fail all at once
// and again and again.
func (s *Scheduler) complain(err error, lease string) {
	last, now := s.complained.Load(), time.Now()
	level := zerolog.DebugLevel
	if (last == nil || now.Sub(*last) > complainEvery) && s.complained.CompareAndSwap(last, &now) {
		level = zerolog.WarnLevel
	}
	s.cfg.Log.WithLevel(level).Err(err).Str("lease", lease).Msg("a reminder did not get through; trying again, as with all that are due")
}
