package health_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/health"
	"github.com/lessorhq/lessor/messages/bucket"
)

// fixture is a tracker, its log and its clock.
type fixture struct {
	*health.Tracker
	log bytes.Buffer
	now time.Time
}

func newFixture() *fixture {
	f := &fixture{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	f.Tracker = health.New(zerolog.New(&f.log), func() time.Time { return f.now })
	return f
}

func (f *fixture) lines(words string) int { return strings.Count(f.log.String(), words) }

var (
	errNoLeader = fmt.Errorf("write x: %w", &jetstream.APIError{Code: 503, ErrorCode: 10_008})
	errNoRoom   = fmt.Errorf("write x: %w", &jetstream.APIError{Code: 500, ErrorCode: 10_047})
)

func TestProblemIsLoggedWhenItComesChangesAndGoes(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for range 100 {
		f.Report("stream X", errNoLeader)
	}
	if n := f.lines("JetStream fails"); n != 1 {
		t.Errorf("%d lines about one problem", n)
	}
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "stream X: "+string(bucket.ProblemNoAnswer)) {
		t.Errorf("the health is %v", err)
	}
	f.Report("stream X", errNoRoom)
	if n := f.lines("JetStream fails"); n != 2 {
		t.Errorf("%d lines about two problems", n)
	}
	f.Report("stream X", nil)
	f.Report("stream X", nil)
	if n := f.lines("JetStream works again"); n != 1 || f.Err() != nil {
		t.Errorf("%d lines that it works, and the health is %v", n, f.Err())
	}
}

func TestErrorsOfTheConnectionSayNothingAboutAPlace(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, err := range []error{nats.ErrDisconnected, nats.ErrReconnectBufExceeded, context.Canceled, fmt.Errorf("write: %w", context.Canceled)} {
		f.Report("stream X", err)
	}
	if f.Err() != nil || f.log.Len() > 0 {
		t.Errorf("the health is %v, the log %s", f.Err(), &f.log)
	}
	f.Report("stream X", errNoRoom)
	f.Report("stream X", nats.ErrDisconnected)
	if f.Err() == nil {
		t.Error("a lost connection has ended a problem")
	}
}

func TestProblemThatIsNotReportedAgainGoesStale(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.Report("stream X", errNoRoom)
	f.now = f.now.Add(50 * time.Second)
	f.Report("stream Y", errNoLeader)
	if err := f.Err(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("the health is not two problems: %v", err)
	}
	f.now = f.now.Add(11 * time.Second)
	if err := f.Err(); err == nil || strings.Contains(err.Error(), "stream X") {
		t.Errorf("after a minute: %v", err)
	}
}

func TestWritesWorkEndsTheProblemsOfAllWrites(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.Report("stream X", errors.New("another"))
	if f.WritesFail() {
		t.Error("a problem of a stream counts as one of a write")
	}
	f.Wrote("X", errNoRoom)
	f.Wrote("Y", errNoRoom)
	if !f.WritesFail() {
		t.Error("writes do not count as failing")
	}
	f.WritesWork()
	if err := f.Err(); f.WritesFail() || err == nil || strings.Contains(err.Error(), "write") {
		t.Errorf("after writes work: %v", err)
	}
}
