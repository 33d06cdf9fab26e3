package awsiam

import (
	fifo "container/list"
	"context"
)

// rank says which of the calls that wait for an account goes first.
type rank int

// The ranks, the first first. Access ends before anything else happens: in a mass
// expiry every key is deleted before the first user is tidied up.
const (
	rankKeys   rank = iota // what takes access away, and what has to be asked before
	rankTidy               // the rest of the end of a lease
	rankRenew              // renewals
	rankFinish             // the rest of a creation: what is begun is finished first
	rankCreate             // everything else: what begins a creation, trials, probes
	ranks
)

// share is of how many slots at least one is for each rank that has calls waiting.
// Slots that go to keys don't count: a key waits for nothing but other keys. That
// starves nobody for good, because a key can be deleted once only, and was made
// with five slots of the last ranks.
const share = 8

type rankKey struct{}

// ranked returns a context whose calls are of a rank, with all their attempts.
func ranked(ctx context.Context, r rank) context.Context { return context.WithValue(ctx, rankKey{}, r) }

func rankOf(ctx context.Context) rank {
	if r, ok := ctx.Value(rankKey{}).(rank); ok {
		return r
	}
	return rankCreate
}

type followKey struct{}

// followed returns a context for a call that is of use only if so many more of
// [rankFinish] can be made before the context's deadline.
func followed(ctx context.Context, calls int) context.Context {
	return context.WithValue(ctx, followKey{}, calls)
}

func followOf(ctx context.Context) int {
	n, _ := ctx.Value(followKey{}).(int)
	return n
}

type briefKey struct{}

// briefly returns a context whose calls don't wait: they go now, or not at all.
func briefly(ctx context.Context) context.Context { return context.WithValue(ctx, briefKey{}, true) }

func isBrief(ctx context.Context) bool { return ctx.Value(briefKey{}) != nil }

// queue holds the calls that wait, of each rank the oldest first.
type queue struct {
	waiting [ranks]fifo.List
	passed  [ranks]int // slots that went to others, since a call of the rank waits
	follow  int        // calls that follow those of the last rank, and don't wait yet
}

// waiter is a call in the queue.
type waiter struct {
	rank   rank
	follow int
	place  *fifo.Element // nil when it has left the queue
	turn   chan struct{} // closed when it may go
}

func (q *queue) push(r rank, follow int) *waiter {
	w := &waiter{rank: r, follow: follow, turn: make(chan struct{})}
	q.follow += follow
	if q.waiting[r].Len() == 0 {
		q.passed[r] = 0
	}
	w.place = q.waiting[r].PushBack(w)
	return w
}

// remove takes a call out, and says whether it was still there.
func (q *queue) remove(w *waiter) bool {
	if w.place == nil {
		return false
	}
	q.follow -= w.follow
	q.waiting[w.rank].Remove(w.place)
	w.place = nil
	return true
}

// next takes out the call whose turn it is. There must be one.
func (q *queue) next() *waiter {
	r := q.choose()
	if r != rankKeys {
		for other := range q.passed {
			q.passed[other]++
		}
		q.passed[r] = 0
	}
	w := q.waiting[r].Front().Value.(*waiter)
	q.remove(w)
	return w
}

func (q *queue) choose() rank {
	first := ranks
	for r := rankCreate; r >= rankKeys; r-- {
		if q.waiting[r].Len() > 0 && (first == ranks || q.passed[first] < share-1 || r == rankKeys) {
			first = r
		}
	}
	return first
}

func (q *queue) len() int {
	n := 0
	for r := range q.waiting {
		n += q.waiting[r].Len()
	}
	return n
}

// ahead is how many calls go before a new one of a rank, as things stand, but for the
// shares of the ranks below.
func (q *queue) ahead(r rank) int {
	keys := q.waiting[rankKeys].Len()
	if r == rankKeys {
		return keys
	}
	higher := 0
	for other := rankTidy; other <= r; other++ {
		higher += q.waiting[other].Len()
	}
	if r == rankCreate {
		higher += q.follow
	}
	return keys + min(higher, share*(q.waiting[r].Len()+1)-1)
}
