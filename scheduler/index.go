package scheduler

import (
	"container/heap"
	"slices"
	"strings"
	"sync"
	"time"
)

// index knows when each live lease is due, and how many there are of what. It is
// a heap over a map, and safe for use by many goroutines.
type index struct {
	mu     sync.Mutex
	leases map[string]*entry
	queue  queue
	counts map[string]int // of those alive of "<secret>" and of "<identity>.<secret>"
	stands [standings]int // of each standing
}

// standing is what a lease counts as.
type standing uint8

const (
	provisioning standing = iota
	active
	revoking
	tidying    // being revoked, and nobody can do anything with it any more
	failing    // being revoked, and it could not be yet
	unreadable // nobody knows: never due, and never taken for gone
	standings
)

// outside is the position of what is not in the queue.
const outside = -1

// entry is one lease. There may be millions: times are Unix milliseconds.
type entry struct {
	name       string
	next       int64 // when to remind, or to remind again
	due        int64 // what the record says
	revision   uint64
	position   int32 // in the queue
	generation uint32
	reminders  uint8 // since the record changed
	standing   standing
}

func newIndex() *index { return &index{leases: map[string]*entry{}, counts: map[string]int{}} }

// stand adds to the numbers that a lease counts in.
func (x *index) stand(name string, s standing, n int) {
	x.stands[s] += n
	if s == tidying {
		return // it is not alive
	}
	owner := name[:max(0, strings.LastIndexByte(name, '.'))]
	_, secret, _ := strings.Cut(owner, ".")
	for _, key := range []string{owner, secret} {
		if x.counts[key] += n; x.counts[key] == 0 {
			delete(x.counts, key)
		}
	}
}

// live is how many live leases of a secret there are, and how many of them are an
// identity's.
func (x *index) live(identity, secret string) (ofIdentity, ofSecret int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.counts[identity+"."+secret], x.counts[secret]
}

// knows says whether this revision of a lease's record has been learnt before, and
// notes that the generation has seen it.
func (x *index) knows(name string, revision uint64, generation uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.leases[name]
	if !ok || e.revision != revision {
		return false
	}
	e.generation = generation
	return true
}

// set says when a lease is due and how it stands, as of a revision of its record.
func (x *index) set(name string, due time.Time, s standing, revision uint64, generation uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.news(name, s, revision, generation)
	if e == nil {
		return
	}
	e.due = due.UnixMilli()
	e.next = e.due
	if e.position == outside {
		heap.Push(&x.queue, e)
		return
	}
	heap.Fix(&x.queue, int(e.position))
}

// setAside says that a revision of a lease's record can't be read. It counts as a
// lease, and is never due. It returns false where that was known.
func (x *index) setAside(name string, revision uint64, generation uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.news(name, unreadable, revision, generation)
	if e == nil {
		return false
	}
	if e.position != outside {
		heap.Remove(&x.queue, int(e.position))
		e.position = outside
	}
	return true
}

// news returns the entry that a revision changes, or nil where it is not new.
func (x *index) news(name string, s standing, revision uint64, generation uint32) *entry {
	e, ok := x.leases[name]
	if !ok {
		e = &entry{name: name, standing: s, position: outside, revision: revision, generation: generation}
		x.leases[name] = e
		x.stand(name, s, 1)
		return e
	}
	// Within a generation of the watch news comes in order. A new one reads the
	// bucket as it is: what it says holds, also where a bucket was restored and
	// its revisions are lower than they were.
	if revision == e.revision || (revision < e.revision && generation == e.generation) {
		e.generation = generation
		return nil
	}
	x.stand(name, e.standing, -1)
	x.stand(name, s, 1)
	e.standing, e.revision, e.generation, e.reminders = s, revision, generation, 0
	return e
}

// remove forgets a lease.
func (x *index) remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.leases[name]; ok {
		x.drop(e)
	}
}

func (x *index) drop(e *entry) {
	if e.position != outside {
		heap.Remove(&x.queue, int(e.position))
	}
	delete(x.leases, e.name)
	x.stand(e.name, e.standing, -1)
}

// reminder is a lease that is due.
type reminder struct {
	name string
	due  time.Time
	last int // reminders before this one, since the record changed
}

// take returns the leases that are due, at most limit, the longest due first,
// and makes each due again after again(reminders so far).
func (x *index) take(now time.Time, limit int, again func(reminders int) time.Duration) []reminder {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []reminder
	for len(out) < limit && len(x.queue) > 0 && x.queue[0].next <= now.UnixMilli() {
		e := x.queue[0]
		out = append(out, reminder{name: e.name, due: time.UnixMilli(e.due), last: int(e.reminders)})
		if e.reminders < 255 {
			e.reminders++
		}
		e.next = now.Add(again(int(e.reminders))).UnixMilli()
		heap.Fix(&x.queue, 0)
	}
	// Those whose reminder did not get through are due again since a moment ago.
	slices.SortStableFunc(out, func(a, b reminder) int { return a.due.Compare(b.due) })
	return out
}

// hurry makes a lease that was taken due again at a time: its reminder did not
// get through.
func (x *index) hurry(name string, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.leases[name]; ok && e.position != outside && e.next > at.UnixMilli() {
		e.next = at.UnixMilli()
		heap.Fix(&x.queue, int(e.position))
	}
}

// keepOnly forgets the leases that a generation of the watch has not seen.
func (x *index) keepOnly(generation uint32) (forgotten int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.leases {
		if e.generation != generation {
			x.drop(e)
			forgotten++
		}
	}
	return forgotten
}

// size is how many leases the index knows.
func (x *index) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue)
}

// standingNow is how many leases there are of each standing.
func (x *index) standingNow() [standings]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stands
}

// queue is the heap, the earliest first.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next < q[j].next }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = int32(i), int32(j)
}
func (q *queue) Push(v any) {
	e := v.(*entry)
	e.position = int32(len(*q))
	*q = append(*q, e)
}
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
