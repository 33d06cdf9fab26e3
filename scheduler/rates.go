package scheduler

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// window is the time over which leases that begin are counted.
const window = time.Minute

// Admit counts a request that is about to begin a lease, as one of its identity for
// its secret in this minute. If that minute has as many as limit already it does not
// count it, and returns how long to wait until there is room. A message that is
// handled again counts once. Leases that other replicas begin count as soon as the
// watch reports them. Loaded is false until all leases are loaded; then nothing is
// counted.
func (s *Scheduler) Admit(lease messages.LeaseName, message uint64, limit int) (wait time.Duration, loaded bool) {
	if !s.loaded.Load() {
		return 0, false
	}
	return s.rates.admit(lease, message, limit, s.cfg.Now()), true
}

// Room returns what [Scheduler.Admit] would return for a new lease, and counts
// nothing.
func (s *Scheduler) Room(identity, secret string, limit int) (wait time.Duration, loaded bool) {
	return s.rates.room(identity, secret, limit, s.cfg.Now()), s.loaded.Load()
}

// rates has the leases that began in the last minute: those that the watch has
// reported, whichever replica began them, and those that this process is about to
// begin. A request that is refused has no record and is not kept. It is safe for
// concurrent use.
type rates struct {
	mu     sync.Mutex
	owners map[string]*starts // by "<identity>.<secret>"
	pruned time.Time          // when owners without starts were last dropped
}

// starts are the leases that one owner began.
type starts struct {
	ordered []start // the earliest first
	known   map[string]bool
}

// start is one begin of a lease. Its key is the lease and the message that began it:
// a message that is handled twice counts once, and a request that is repeated counts
// again if it begins another attempt.
type start struct {
	key string
	at  time.Time
}

func startKey(id string, message uint64) string { return id + " " + strconv.FormatUint(message, 10) }

func newRates() *rates { return &rates{owners: map[string]*starts{}} }

// owner returns the key that the leases of an identity and a secret are counted by.
func owner(identity, secret string) string { return identity + "." + secret }

// note counts a start that has been written to a record.
func (r *rates) note(lease messages.LeaseName, message uint64, at, now time.Time) {
	if now.Sub(at) >= window {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(owner(lease.Identity, lease.Secret), now).add(start{startKey(lease.ID, message), at})
}

// admit counts a start, unless there are limit of them. Then it returns how long it
// takes until there is room.
func (r *rates) admit(lease messages.LeaseName, message uint64, limit int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.of(owner(lease.Identity, lease.Secret), now)
	key := startKey(lease.ID, message)
	if s.known[key] {
		return 0
	}
	if wait := s.wait(limit, now); wait > 0 {
		return wait
	}
	s.add(start{key, now})
	return 0
}

// room returns how long it takes until another lease may begin.
func (r *rates) room(identity, secret string, limit int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.owners[owner(identity, secret)]; ok {
		s.prune(now)
		return s.wait(limit, now)
	}
	return 0
}

// of returns an owner's starts within the window. Once in a window it drops the
// owners that have none.
func (r *rates) of(owner string, now time.Time) *starts {
	if now.Sub(r.pruned) >= window {
		r.pruned = now
		for name, s := range r.owners {
			if s.prune(now); len(s.ordered) == 0 {
				delete(r.owners, name)
			}
		}
	}
	s, ok := r.owners[owner]
	if !ok {
		s = &starts{known: map[string]bool{}}
		r.owners[owner] = s
	}
	s.prune(now)
	return s
}

// prune drops the starts that are outside the window.
func (s *starts) prune(now time.Time) {
	old := 0
	for old < len(s.ordered) && now.Sub(s.ordered[old].at) >= window {
		delete(s.known, s.ordered[old].key)
		old++
	}
	s.ordered = s.ordered[old:]
}

func (s *starts) add(one start) {
	if s.known[one.key] {
		return
	}
	s.known[one.key] = true
	i := len(s.ordered) // they come nearly in order
	for i > 0 && s.ordered[i-1].at.After(one.at) {
		i--
	}
	s.ordered = slices.Insert(s.ordered, i, one)
}

func (s *starts) wait(limit int, now time.Time) time.Duration {
	if len(s.ordered) < limit {
		return 0
	}
	return max(s.ordered[len(s.ordered)-limit].at.Add(window).Sub(now), time.Millisecond)
}
