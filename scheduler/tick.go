package scheduler

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Bounds of publishing.
const (
	// maxTake is how many reminders one pass publishes. It keeps a pass short; the
	// tick makes one pass after the other until nothing is due.
	maxTake = 250
	// maxUnacknowledged is how many reminders may wait for the stream's
	// acknowledgement.
	maxUnacknowledged = 16_384
	// publishTimeout is how long the stream may take to acknowledge a reminder.
	publishTimeout = 10 * time.Second
	// retryPublish is the wait after a reminder that was not stored.
	retryPublish = time.Second
	// complainEvery is how often the log has a warning that reminders fail.
	complainEvery = time.Minute
)

// tick publishes what is due, at each tick of the clock.
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

// runOnce publishes reminders for leases that are due, the longest due first, and
// reports whether there may be more. Without a connection it leaves them in the
// index.
func (s *Scheduler) runOnce(ctx context.Context) (more bool) {
	if s.cfg.Conn.Status() != nats.CONNECTED {
		return false
	}
	limit := min(maxTake, maxUnacknowledged-s.js.PublishAsyncPending())
	if limit <= 0 {
		return false
	}
	due := s.index.take(s.cfg.Now(), limit, s.remindAgain)
	for _, r := range due {
		if ctx.Err() != nil {
			return false
		}
		s.remind(r)
	}
	return len(due) == limit
}

// remindAgain returns the wait after that many reminders of a record.
func (s *Scheduler) remindAgain(reminders int) time.Duration {
	wait := s.cfg.RemindAgain
	for n := 1; n < reminders && wait < s.cfg.RemindLongest; n++ {
		wait *= 2
	}
	return min(wait, s.cfg.RemindLongest)
}

// remind publishes a reminder. It does not wait for the stream to store it.
func (s *Scheduler) remind(r dueLease) {
	name, err := messages.ParseLeaseName(r.lease)
	if err != nil {
		return // update sets such keys aside
	}
	msg := nats.NewMsg(s.cfg.Namespace.Revoke(name))
	msg.Header.Set(messages.HeaderDue, r.due.UTC().Format(time.RFC3339))
	if _, err := s.js.PublishMsgAsync(msg); err != nil {
		s.publishFailed(err, r.lease)
		return
	}
	s.cfg.Log.Debug().Str("lease", r.lease).Time("due", r.due).Int("reminders_before", r.before).Msg("reminder published")
}

// notPublished is called for each reminder that the stream did not store. That an
// earlier one is still pending is no failure.
func (s *Scheduler) notPublished(_ jetstream.JetStream, msg *nats.Msg, err error) {
	if !bucket.IsSubjectFull(err) {
		s.publishFailed(err, strings.Join(s.cfg.Namespace.Tokens(msg.Subject, 1), "."))
	}
}

func (s *Scheduler) publishFailed(err error, lease string) {
	s.complain(err, lease)
	s.index.retryAt(lease, s.cfg.Now().Add(retryPublish))
}

// complain logs that a reminder failed, at most once in a while as a warning:
// reminders mostly fail all at once.
func (s *Scheduler) complain(err error, lease string) {
	last, now := s.complained.Load(), time.Now()
	level := zerolog.DebugLevel
	if (last == nil || now.Sub(*last) > complainEvery) && s.complained.CompareAndSwap(last, &now) {
		level = zerolog.WarnLevel
	}
	s.cfg.Log.WithLevel(level).Err(err).Str("lease", lease).Msg("a reminder was not stored; it is published again, as are others that fail")
}
