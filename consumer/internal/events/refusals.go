package events

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

// Limits of the events about refusals.
const (
	// maxEmitted is how many refusals of one identity a replica emits events for in a
	// minute. The rest are counted, and one event states the count.
	maxEmitted = 60
	// maxIdentities is how many identities are counted apart. The rest count as
	// [messages.Unknown].
	maxIdentities = 4096
)

// Refused emits the event of a message that can't be served, or counts it.
func (l *Log) Refused(ctx context.Context, name messages.LeaseName, occurrence string, data messages.EventData) error {
	if !l.MayEmitRefusal(name.Identity) {
		return nil
	}
	return l.Emit(ctx, name, messages.EventRejected, occurrence, data)
}

// Rejected is Refused for a task ([queue.Rejecter]).
func (l *Log) Rejected(ctx context.Context, t *queue.Task, why *messages.Error, lease *messages.Lease) error {
	name := NameOf(t.Tokens, "msg"+fmt.Sprint(t.Sequence))
	return l.Refused(ctx, name, t.ID(), messages.EventData{Lease: lease, Verb: t.Verb, Error: why})
}

// MayEmitRefusal reports whether there is an event for one more refusal of an
// identity now, and counts it if not.
func (l *Log) MayEmitRefusal(identity string) bool { return l.refusals.take(identity, l.Now()) }

// CountRefusal counts a refusal that there is no event for.
func (l *Log) CountRefusal(identity string) { l.refusals.omit(identity, l.Now()) }

// EmitOmitted emits the counts of refusals without an event of minutes that are over
// or, with all, until now.
func (l *Log) EmitOmitted(ctx context.Context, all bool) {
	for _, o := range l.refusals.drain(l.Now(), all) {
		name := messages.LeaseName{Identity: o.identity, Secret: messages.Unknown, ID: "omitted"}
		if err := l.Emit(ctx, name, messages.EventRejected, o.id, messages.EventData{Omitted: o.count}); err != nil {
			l.Log.Warn().Err(err).Str("identity", o.identity).Int("omitted", o.count).Msg("the count of refusals without an event could not be emitted; trying again")
			l.refusals.putBack(o)
		}
	}
}

// refusals counts refusals by identity. The zero value is ready.
type refusals struct {
	mu         sync.Mutex
	identities map[string]*refusalCount
	failed     []omission // that could not be emitted
}

// refusalCount is one identity's refusals.
type refusalCount struct {
	since   time.Time // of the minute that is counted
	emitted int       // in this minute
	omitted int
}

// omission is a count of an identity's refusals that there was no event for.
type omission struct {
	identity string
	id       string // of the event that states the count
	count    int
}

func (r *refusals) of(identity string, now time.Time) *refusalCount {
	if r.identities == nil {
		r.identities = map[string]*refusalCount{}
	}
	if r.identities[identity] == nil && len(r.identities) >= maxIdentities {
		identity = messages.Unknown
	}
	c := r.identities[identity]
	if c == nil {
		c = &refusalCount{since: now}
		r.identities[identity] = c
	}
	if now.Sub(c.since) >= time.Minute {
		c.since, c.emitted = now, 0
	}
	return c
}

func (r *refusals) take(identity string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.of(identity, now)
	if c.emitted >= maxEmitted {
		c.omitted++
		return false
	}
	c.emitted++
	return true
}

func (r *refusals) omit(identity string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(identity, now).omitted++
}

// drain returns the counts of minutes that are over, or all, and forgets them.
func (r *refusals) drain(now time.Time, all bool) []omission {
	r.mu.Lock()
	defer r.mu.Unlock()
	drained := r.failed
	r.failed = nil
	for identity, c := range r.identities {
		if !all && now.Sub(c.since) < time.Minute {
			continue
		}
		if c.omitted > 0 {
			drained = append(drained, omission{identity: identity, id: nats.NewInbox(), count: c.omitted})
		}
		delete(r.identities, identity)
	}
	return drained
}

// putBack keeps a count that could not be emitted. Its event keeps its id, because it
// may have been stored.
func (r *refusals) putBack(o omission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, o)
}
