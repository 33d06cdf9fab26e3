package throttle

import "container/list"

// share is the number of slots of which each priority that has calls waiting gets
// at least one. Slots of [EndAccess] do not count: such a call waits for calls of
// its own priority only. The other priorities still do not starve, because a key is
// deleted once, and took five slots of the lower priorities to make.
const share = 8

// queue holds the waiting calls, of each priority the oldest first.
type queue struct {
	waiting [priorities]list.List
	// passed is how many slots went to other priorities since a call of the priority
	// waits.
	passed [priorities]int
	// following is how many calls follow the waiting ones of the priority Other, and
	// do not wait yet.
	following int
}

// waiter is a call in the queue.
type waiter struct {
	priority  Priority
	following int
	place     *list.Element // nil once it has left the queue
	granted   chan struct{} // closed when the call has got its slot
}

func (q *queue) push(p Priority, following int) *waiter {
	w := &waiter{priority: p, following: following, granted: make(chan struct{})}
	q.following += following
	if q.waiting[p].Len() == 0 {
		q.passed[p] = 0
	}
	w.place = q.waiting[p].PushBack(w)
	return w
}

// remove removes a call, and reports whether it was still in the queue.
func (q *queue) remove(w *waiter) bool {
	if w.place == nil {
		return false
	}
	q.following -= w.following
	q.waiting[w.priority].Remove(w.place)
	w.place = nil
	return true
}

// next removes and returns the call that gets the next slot. The queue must not be
// empty.
func (q *queue) next() *waiter {
	p := q.choose()
	if p != EndAccess {
		for other := range q.passed {
			q.passed[other]++
		}
		q.passed[p] = 0
	}
	w := q.waiting[p].Front().Value.(*waiter)
	q.remove(w)
	return w
}

// choose returns the priority that gets the next slot: the highest that has calls
// waiting, unless a lower one is due for its share.
func (q *queue) choose() Priority {
	chosen := priorities
	for p := Other; p >= EndAccess; p-- {
		if q.waiting[p].Len() > 0 && (chosen == priorities || q.passed[chosen] < share-1 || p == EndAccess) {
			chosen = p
		}
	}
	return chosen
}

func (q *queue) len() int {
	n := 0
	for p := range q.waiting {
		n += q.waiting[p].Len()
	}
	return n
}

// ahead returns how many of the waiting calls get their slots before a new one of a
// priority. It does not count the shares of lower priorities.
func (q *queue) ahead(p Priority) int {
	ending := q.waiting[EndAccess].Len()
	if p == EndAccess {
		return ending
	}
	higher := 0
	for other := Cleanup; other <= p; other++ {
		higher += q.waiting[other].Len()
	}
	if p == Other {
		higher += q.following
	}
	return ending + min(higher, share*(q.waiting[p].Len()+1)-1)
}
