// Package health keeps track of what keeps a broker from its work.
//
// Components report the outcome of what they do at a place (a stream, a consumer,
// writes to a stream) to a [Tracker]. It logs a problem when it comes, when it
// changes and when it has gone, and its [Tracker.Err] is part of the broker's answer
// to readiness probes.
package health

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages/bucket"
)

// stale is how long a problem counts that is not reported again: what failed is
// retried sooner.
const stale = time.Minute

// writePrefix begins the names of places that are about writes.
const writePrefix = "write to "

// Tracker keeps the present problems by place. It is safe for concurrent use.
type Tracker struct {
	log zerolog.Logger
	now func() time.Time

	mu       sync.Mutex
	problems map[string]problem
}

type problem struct {
	kind     bucket.Problem
	text     string
	reported time.Time // last
}

// New returns a tracker without problems. The clock decides when a problem is stale.
func New(log zerolog.Logger, now func() time.Time) *Tracker {
	return &Tracker{log: log, now: now, problems: map[string]problem{}}
}

// Report says how it went at a place; nil means that it works. An error about the
// connection to NATS, or about a canceled context, says nothing about the place.
func (t *Tracker) Report(place string, err error) {
	if err != nil && (errors.Is(err, context.Canceled) || bucket.IsDisconnected(err)) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, had := t.problems[place]
	if err == nil {
		if had {
			delete(t.problems, place)
			t.log.Info().Str("where", place).Msg("JetStream works again")
		}
		return
	}
	explained := bucket.Explain(err)
	now := problem{kind: bucket.ProblemOf(err), text: place + ": " + explained.Error(), reported: t.now()}
	t.problems[place] = now
	if !had || before.kind != now.kind {
		t.log.Error().Err(explained).Str("where", place).Msg("JetStream fails")
	}
}

// Wrote reports the outcome of a write to a place, such as a stream.
func (t *Tracker) Wrote(place string, err error) { t.Report(writePrefix+place, err) }

// WritesFail reports whether writes to any stream have failed and have not succeeded
// since.
func (t *Tracker) WritesFail() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for place := range t.problems {
		if strings.HasPrefix(place, writePrefix) {
			return true
		}
	}
	return false
}

// WritesWork drops all problems about writes.
func (t *Tracker) WritesWork() {
	t.mu.Lock()
	var places []string
	for place := range t.problems {
		if strings.HasPrefix(place, writePrefix) {
			places = append(places, place)
		}
	}
	t.mu.Unlock()
	for _, place := range places {
		t.Report(place, nil)
	}
}

// Err returns all present problems as one error, or nil.
func (t *Tracker) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for place, p := range t.problems {
		if t.now().Sub(p.reported) > stale {
			delete(t.problems, place)
			continue
		}
		all = append(all, p.text)
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return errors.New(strings.Join(all, "\n"))
}
