package scheduler

import (
	"slices"
	"sync"
	"time"
)

// index knows when each live lease is due, and how many there are of what. It is
// a heap over a map, and safe for use by many goroutines.
//
// There may be millions of leases. What it keeps of one has no pointers: the garbage
// collector does not look at it.
type index struct {
	mu     sync.Mutex
	names  names
	places map[key]int32 // of each lease in entries
	arena  arena
	queue  []int32        // a heap of places, the earliest first
	stands [standings]int // of each standing
	patrol uint16         // the number of the last patrol

	noting  bool    // whether what changes is noted
	changed []int32 // places of what has, since it was last asked for
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

// What position says of an entry that is not in the queue.
const (
	outside = -1
	unused  = -2 // there is no lease
)

// entry is one lease. Times are Unix milliseconds.
type entry struct {
	key        key
	position   int32 // in the queue
	next       int64 // when to remind, or to remind again
	due        int64 // what the record says
	revision   uint64
	generation uint32
	patrol     uint16 // the last that met it
	reminders  uint8  // since the record changed
	standing   standing
}

func newIndex() *index { return &index{names: newNames(), places: map[key]int32{}} }

// live is how many live leases of a secret there are, and how many of them are an
// identity's.
func (x *index) live(identity, secret string) (ofIdentity, ofSecret int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.names.live(identity, secret)
}

// stand adds to the numbers that a lease counts in.
func (x *index) stand(k key, s standing, n int) {
	x.stands[s] += n
	if s != tidying { // or it is not alive
		x.names.count(k, n)
	}
}

// find returns a lease's entry and its place, or nil.
func (x *index) find(name string) (*entry, int32) {
	k, ok := x.names.find(name)
	if !ok {
		return nil, 0
	}
	place, ok := x.places[k]
	if !ok {
		return nil, 0
	}
	return x.arena.at(place), place
}

// knows says whether this revision of a lease's record has been learnt before, and
// notes that the generation has seen it.
func (x *index) knows(name string, revision uint64, generation uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.find(name)
	if e == nil || e.revision != revision {
		return false
	}
	e.generation = generation
	return true
}

// set says when a lease is due and how it stands, as of a revision of its record.
func (x *index) set(name string, due time.Time, s standing, revision uint64, generation uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, place := x.news(name, s, revision, generation)
	if e == nil {
		return
	}
	e.due = due.UnixMilli()
	e.next = e.due
	if e.position == outside {
		e.position = int32(len(x.queue))
		x.queue = append(x.queue, place)
	}
	x.fix(e.position)
	if x.noting {
		x.changed = append(x.changed, place)
	}
}

// setAside says that a revision of a lease's record can't be read. It counts as a
// lease, and is never due. It returns false where that was known.
func (x *index) setAside(name string, revision uint64, generation uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.news(name, unreadable, revision, generation)
	if e == nil {
		return false
	}
	x.unqueue(e)
	return true
}

// news returns the entry that a revision changes, or nil where it is not new.
func (x *index) news(name string, s standing, revision uint64, generation uint32) (*entry, int32) {
	e, place := x.find(name)
	if e == nil {
		k := x.names.hold(name)
		e, place = x.arena.take()
		*e = entry{key: k, standing: s, position: outside, revision: revision, generation: generation}
		x.places[k] = place
		x.stand(k, s, 1)
		return e, place
	}
	// Within a generation of the watch news comes in order. A new one reads the
	// bucket as it is: what it says holds, also where a bucket was restored and
	// its revisions are lower than they were.
	if revision == e.revision || (revision < e.revision && generation == e.generation) {
		e.generation = generation
		return nil, 0
	}
	x.stand(e.key, e.standing, -1)
	x.stand(e.key, s, 1)
	e.standing, e.revision, e.generation, e.reminders = s, revision, generation, 0
	return e, place
}

// remove forgets a lease.
func (x *index) remove(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, place := x.find(name); e != nil {
		x.drop(e, place)
	}
}

func (x *index) drop(e *entry, place int32) {
	x.unqueue(e)
	x.stand(e.key, e.standing, -1)
	delete(x.places, e.key)
	x.names.release(e.key)
	x.arena.free(place)
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
	for len(out) < limit && len(x.queue) > 0 {
		e := x.arena.at(x.queue[0])
		if e.next > now.UnixMilli() {
			break
		}
		out = append(out, reminder{name: x.names.name(e.key), due: time.UnixMilli(e.due), last: int(e.reminders)})
		if e.reminders < 255 {
			e.reminders++
		}
		e.next = now.Add(again(int(e.reminders))).UnixMilli()
		x.fix(0)
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
	if e, _ := x.find(name); e != nil && e.position != outside && e.next > at.UnixMilli() {
		e.next = at.UnixMilli()
		x.fix(e.position)
	}
}

// keepOnly forgets the leases that a generation of the watch has not seen.
func (x *index) keepOnly(generation uint32) (forgotten int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for place, e := range x.arena.all() {
		if e.generation != generation {
			x.drop(e, place)
			forgotten++
		}
	}
	return forgotten
}

// beginPatrol numbers a patrol.
func (x *index) beginPatrol() uint16 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.patrol++
	return x.patrol
}

// meet notes that a patrol has met a lease, and returns the revision that is known of
// it.
func (x *index) meet(name string, patrol uint16) (revision uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.find(name)
	if e == nil {
		return 0, false
	}
	e.patrol = patrol
	return e.revision, true
}

// unseen are leases, at most limit, that a patrol has not met, though their records are
// no newer than last.
func (x *index) unseen(patrol uint16, last uint64, limit int) (names []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.arena.all() {
		if e.patrol != patrol && e.revision <= last && len(names) < limit {
			names = append(names, x.names.name(e.key))
		}
	}
	return names
}

// revisionOf is the revision of a lease's record that is known.
func (x *index) revisionOf(name string) (revision uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, _ := x.find(name); e != nil {
		return e.revision, true
	}
	return 0, false
}

// readable says whether there is a lease whose record can be read.
func (x *index) readable(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.find(name)
	return e != nil && e.standing != unreadable
}

// suggest adds a lease that may be due at a time, unless it is known: of its record
// nothing is. The first generation of the watch that has read everything confirms it
// or forgets it.
func (x *index) suggest(name string, due time.Time) {
	if _, ok := x.revisionOf(name); !ok {
		x.set(name, due, active, 0, 0)
	}
}

// appointment is when a lease is due.
type appointment struct {
	name string
	due  time.Time
}

// appointAnew has the next call of appointments find them all.
func (x *index) appointAnew() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noting, x.changed = false, nil
}

// appointments are those that have changed since the last call, by records newer
// than a revision. The first call finds them all.
func (x *index) appointments(since uint64) (out []appointment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	add := func(e *entry) {
		if e.position >= 0 && e.revision > since {
			out = append(out, appointment{x.names.name(e.key), time.UnixMilli(e.due)})
		}
	}
	if !x.noting {
		x.noting = true
		for _, e := range x.arena.all() {
			add(e)
		}
		return out
	}
	changed := x.changed
	x.changed = nil
	slices.Sort(changed)
	for _, place := range slices.Compact(changed) {
		add(x.arena.at(place))
	}
	return out
}

// size is how many leases the index knows that are due at some time.
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

// fix puts what stands at a position of the queue where it belongs. (Not
// container/heap: what it takes as any would be allocated.)
func (x *index) fix(position int32) {
	place := x.queue[position]
	e := x.arena.at(place)
	i := int(position)
	for i > 0 {
		up := (i - 1) / 2
		if x.arena.at(x.queue[up]).next <= e.next {
			break
		}
		x.seat(i, x.queue[up])
		i = up
	}
	for {
		down := 2*i + 1
		if down >= len(x.queue) {
			break
		}
		if r := down + 1; r < len(x.queue) && x.arena.at(x.queue[r]).next < x.arena.at(x.queue[down]).next {
			down = r
		}
		if e.next <= x.arena.at(x.queue[down]).next {
			break
		}
		x.seat(i, x.queue[down])
		i = down
	}
	x.seat(i, place)
}

func (x *index) seat(position int, place int32) {
	x.queue[position] = place
	x.arena.at(place).position = int32(position)
}

// unqueue takes an entry out of the queue, if it is in it.
func (x *index) unqueue(e *entry) {
	at := e.position
	if at == outside {
		return
	}
	e.position = outside
	last := len(x.queue) - 1
	moved := x.queue[last]
	x.queue = x.queue[:last]
	if int(at) < last {
		x.seat(int(at), moved)
		x.fix(at)
	}
}
