package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// What is told of refusals. Whoever is refused again and again would otherwise push
// the audit trail of everybody out of its stream.
const (
	// maxTold is how many refusals of one identity a replica tells of one by one in
	// a minute. Those beyond are counted, and the count is told.
	maxTold = 60
	// maxTellers is how many identities are told apart. Those beyond count as one.
	maxTellers = 4096
)

// refusals bounds how many events tell of refusals. The zero value is ready.
type refusals struct {
	mu     sync.Mutex
	who    map[string]*refused
	untold []omission
}

// refused is what became of one identity's refusals.
type refused struct {
	since   time.Time // of the minute that is counted
	told    int
	omitted int
}

// of returns what is known of an identity in this minute, under its name here.
func (r *refusals) of(identity string, now time.Time) *refused {
	if r.who == nil {
		r.who = map[string]*refused{}
	}
	if r.who[identity] == nil && len(r.who) >= maxTellers {
		identity = messages.Unknown
	}
	who := r.who[identity]
	if who == nil {
		who = &refused{since: now}
		r.who[identity] = who
	}
	if now.Sub(who.since) >= time.Minute {
		who.since, who.told = now, 0
	}
	return who
}

// tell says whether a refusal is told of by itself, and counts it if not.
func (r *refusals) tell(identity string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	who := r.of(identity, now)
	if who.told >= maxTold {
		who.omitted++
		return false
	}
	who.told++
	return true
}

// omit counts a refusal that is not told of by itself.
func (r *refusals) omit(identity string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(identity, now).omitted++
}

// omission is how many refusals of an identity were not told of one by one.
type omission struct {
	identity, id string // the id is that of the event which tells it
	n            int
}

// take returns the counts of minutes that are over, or of all, and those that could not
// be told before, and forgets them.
func (r *refusals) take(now time.Time, all bool) []omission {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.untold
	r.untold = nil
	for identity, who := range r.who {
		if !all && now.Sub(who.since) < time.Minute {
			continue
		}
		if who.omitted > 0 {
			taken = append(taken, omission{identity: identity, id: nats.NewInbox(), n: who.omitted})
		}
		delete(r.who, identity)
	}
	return taken
}

// putBack keeps a count that could not be told, to be told as the same event: it may
// have been stored.
func (r *refusals) putBack(o omission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold = append(r.untold, o)
}

// tellRefusal tells of a message that can't be served, or counts it.
func (c *Consumer) tellRefusal(ctx context.Context, name messages.LeaseName, occurrence string, data messages.EventData) error {
	if !c.refusals.tell(name.Identity, c.cfg.Now()) {
		return nil
	}
	return c.emit(ctx, name, messages.EventRejected, occurrence, data)
}

// tellOmitted tells how many refusals were not told of one by one, in minutes that are
// over, or until now.
func (c *Consumer) tellOmitted(ctx context.Context, all bool) {
	for _, o := range c.refusals.take(c.cfg.Now(), all) {
		name := messages.LeaseName{Identity: o.identity, Secret: messages.Unknown, ID: "omitted"}
		if err := c.emit(ctx, name, messages.EventRejected, o.id, messages.EventData{Omitted: o.n}); err != nil {
			c.log.Warn().Err(err).Str("identity", o.identity).Int("omitted", o.n).Msg("how many refusals were not told of could not be told; trying again")
			c.refusals.putBack(o)
		}
	}
}
