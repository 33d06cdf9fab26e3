package scheduler

import (
	"container/heap"
	"slices"
	"strings"
	"sync"
	"time"
)

// index has an entry for each live lease. It orders them by the time at which they
// are due, and counts them. It is safe for concurrent use.
type index struct {
	mu         sync.Mutex
	generation uint32 // of the watch
	entries    map[string]*entry
	queue      queue // the entries that are due at some time

	classes [classes]int
	owners  map[string]int // live leases by "<identity>.<secret>"
	secrets map[string]int // live leases by secret
}

// class is what a lease counts as.
type class uint8

const (
	provisioning class = iota
	active
	revoking
	cleanup    // in teardown, and its access has ended: it is not live any more
	failing    // in teardown, and the last attempt failed
	unreadable // the record can't be read: live, and never due
	classes
)

// entry is one lease. There may be a million: its fields waste no space.
type entry struct {
	lease      string    // its name
	due        time.Time // what the record says
	next       time.Time // of the next reminder
	revision   uint64    // of the record; 0: it must be read again
	position   int       // in the queue, or outside
	generation uint32    // the last that reported it
	reminders  uint8     // since the record changed
	class      class
}

// outside is the position of an entry that is not in the queue.
const outside = -1

func newIndex() *index {
	return &index{entries: map[string]*entry{}, owners: map[string]int{}, secrets: map[string]int{}}
}

// beginGeneration begins a generation: [index.dropUnseen] drops what it does not see.
func (x *index) beginGeneration() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.generation++
}

// markSeen reports whether the index has that revision of a lease's record, and notes
// that the present generation has seen it.
func (x *index) markSeen(lease string, revision uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[lease]
	if e == nil || e.revision != revision {
		return false
	}
	e.generation = x.generation
	return true
}

// set enters a revision of a lease's record, which is due at that time. What is
// entered last counts: in a bucket that was restored, revisions are lower than they
// were.
func (x *index) set(lease string, due time.Time, c class, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.change(lease, c, revision)
	e.due, e.next = due, due
	if e.position == outside {
		heap.Push(&x.queue, e)
	} else {
		heap.Fix(&x.queue, e.position)
	}
}

// setAside enters a revision of a lease's record that can't be read.
func (x *index) setAside(lease string, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unqueue(x.change(lease, unreadable, revision))
}

// change returns a lease's entry, which it makes if there is none, at a revision of
// its record of which no reminder was published.
func (x *index) change(lease string, c class, revision uint64) *entry {
	e := x.entries[lease]
	if e == nil {
		lease = strings.Clone(lease) // it may be a part of a longer string
		e = &entry{lease: lease, position: outside, class: c}
		x.entries[lease] = e
		x.count(e, 1)
	}
	if e.class != c {
		x.count(e, -1)
		e.class = c
		x.count(e, 1)
	}
	e.revision, e.generation, e.reminders = revision, x.generation, 0
	return e
}

// count adds n to the numbers that an entry counts in.
func (x *index) count(e *entry, n int) {
	x.classes[e.class] += n
	if e.class == cleanup {
		return
	}
	owner := e.lease[:max(strings.LastIndexByte(e.lease, '.'), 0)]
	_, secret, _ := strings.Cut(owner, ".")
	add(x.owners, owner, n)
	add(x.secrets, secret, n)
}

// add adds n to m[key]. Keys that are 0 are not kept.
func add(m map[string]int, key string, n int) {
	if m[key] += n; m[key] == 0 {
		delete(m, key)
	}
}

// remove drops a lease, if the index has it.
func (x *index) remove(lease string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[lease]; e != nil {
		x.drop(e)
	}
}

func (x *index) drop(e *entry) {
	x.unqueue(e)
	x.count(e, -1)
	delete(x.entries, e.lease)
}

// dropUnseen drops the leases that the present generation has not seen, and returns
// how many.
func (x *index) dropUnseen() (dropped int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.entries {
		if e.generation != x.generation {
			x.drop(e)
			dropped++
		}
	}
	return dropped
}

// invalidate has the index know no revision of any record.
func (x *index) invalidate() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.entries {
		e.revision = 0
	}
}

// dueLease is a lease that is due.
type dueLease struct {
	lease  string
	due    time.Time
	before int // reminders before this one, since the record changed
}

// take returns at most limit leases that are due, the longest due first. Each is due
// again after the time that again returns for the number of its reminders so far.
func (x *index) take(now time.Time, limit int, again func(reminders int) time.Duration) []dueLease {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []dueLease
	for len(out) < limit && len(x.queue) > 0 && !x.queue[0].next.After(now) {
		e := x.queue[0]
		out = append(out, dueLease{lease: e.lease, due: e.due, before: int(e.reminders)})
		if e.reminders < 255 {
			e.reminders++
		}
		e.next = now.Add(again(int(e.reminders)))
		heap.Fix(&x.queue, 0)
	}
	// The queue is ordered by the time of the next reminder.
	slices.SortStableFunc(out, func(a, b dueLease) int { return a.due.Compare(b.due) })
	return out
}

// retryAt makes a lease due again at that time, unless it is due before: its reminder
// was not stored.
func (x *index) retryAt(lease string, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[lease]; e != nil && e.position != outside && e.next.After(at) {
		e.next = at
		heap.Fix(&x.queue, e.position)
	}
}

// readable reports whether the index has a lease whose record can be read.
func (x *index) readable(lease string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[lease]
	return e != nil && e.class != unreadable
}

// live returns how many live leases a secret has, and how many of these are an
// identity's.
func (x *index) live(identity, secret string) (ofIdentity, ofSecret int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.owners[owner(identity, secret)], x.secrets[secret]
}

// scheduled returns how many leases are due at some time.
func (x *index) scheduled() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue)
}

// classCounts returns how many leases there are of each class.
func (x *index) classCounts() [classes]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.classes
}

// unqueue removes an entry from the queue, if it is there.
func (x *index) unqueue(e *entry) {
	if e.position != outside {
		heap.Remove(&x.queue, e.position)
	}
}

// queue is a [heap.Interface] of entries, the earliest next first.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = i, j
}

// Push appends an entry. It is for container/heap.
func (q *queue) Push(e any) {
	added := e.(*entry)
	added.position = len(*q)
	*q = append(*q, added)
}

// Pop removes the last entry. It is for container/heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.position = outside
	return e
}
