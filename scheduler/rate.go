package scheduler

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// window is the time in which requests are counted.
const window = time.Minute

// rates knows which leases identities have begun in the last minute: those that the
// watch has told of, whichever replica began them, and those that this process is
// about to begin. Only leases have records, so what is refused counts for nothing
// and is kept nowhere. It is safe for use by many goroutines.
type rates struct {
	mu     sync.Mutex
	owners map[string]*begun // by "<identity>.<secret>"
	pruned time.Time         // when all owners were last looked at
}

// begun are the beginnings of one owner's leases, the earliest first.
type begun struct {
	starts []beginning
	known  map[string]bool
}

// beginning is that of one lease. The lease and the message that began it name it: a message
// that is handled twice counts once, and a request that is repeated counts again if
// it begins another attempt.
type beginning struct {
	key string
	at  time.Time
}

func startKey(id string, message uint64) string { return id + " " + strconv.FormatUint(message, 10) }

func newRates() *rates { return &rates{owners: map[string]*begun{}} }

func owner(identity, secret string) string { return identity + "." + secret }

// note takes in a beginning that somebody has written down.
func (r *rates) note(name messages.LeaseName, message uint64, at, now time.Time) {
	if now.Sub(at) >= window {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(owner(name.Identity, name.Secret), now).add(beginning{startKey(name.ID, message), at})
}

// admit counts a beginning, unless there have been as many as may be. Then it returns
// how long until there is room.
func (r *rates) admit(name messages.LeaseName, message uint64, most int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of(owner(name.Identity, name.Secret), now)
	key := startKey(name.ID, message)
	if b.known[key] {
		return 0
	}
	if wait := b.wait(most, now); wait > 0 {
		return wait
	}
	b.add(beginning{key, now})
	return 0
}

// room returns how long until another lease may be begun.
func (r *rates) room(identity, secret string, most int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.owners[owner(identity, secret)]; ok {
		b.prune(now)
		return b.wait(most, now)
	}
	return 0
}

// of returns an owner's beginnings without those that are too old to count. Once in a
// while it forgets the owners that have none.
func (r *rates) of(owner string, now time.Time) *begun {
	if now.Sub(r.pruned) >= window {
		r.pruned = now
		for name, b := range r.owners {
			if b.prune(now); len(b.starts) == 0 {
				delete(r.owners, name)
			}
		}
	}
	b, ok := r.owners[owner]
	if !ok {
		b = &begun{known: map[string]bool{}}
		r.owners[owner] = b
	}
	b.prune(now)
	return b
}

func (b *begun) prune(now time.Time) {
	old := 0
	for old < len(b.starts) && now.Sub(b.starts[old].at) >= window {
		delete(b.known, b.starts[old].key)
		old++
	}
	b.starts = b.starts[old:]
}

func (b *begun) add(s beginning) {
	if b.known[s.key] {
		return
	}
	b.known[s.key] = true
	at := len(b.starts) // news comes nearly in order
	for at > 0 && b.starts[at-1].at.After(s.at) {
		at--
	}
	b.starts = slices.Insert(b.starts, at, s)
}

func (b *begun) wait(most int, now time.Time) time.Duration {
	if len(b.starts) < most {
		return 0
	}
	return max(b.starts[len(b.starts)-most].at.Add(window).Sub(now), time.Millisecond)
}

// Admit counts a request that is about to begin a lease, as one of its identity for
// its secret in this minute, unless there have been as many as may be: then it returns
// how long until there is room. A message that is handled again is counted once. What
// other replicas begin counts as soon as the watch tells, a moment later. It returns
// false while the leases are being loaded.
func (s *Scheduler) Admit(lease messages.LeaseName, message uint64, most int) (wait time.Duration, loaded bool) {
	if !s.loaded.Load() {
		return 0, false
	}
	return s.rates.admit(lease, message, most, s.cfg.Now()), true
}

// Room is [Scheduler.Admit] for who only wants to know.
func (s *Scheduler) Room(identity, secret string, most int) (wait time.Duration, loaded bool) {
	return s.rates.room(identity, secret, most, s.cfg.Now()), s.loaded.Load()
}
