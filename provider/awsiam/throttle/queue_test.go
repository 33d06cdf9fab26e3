package throttle

import (
	"slices"
	"testing"
)

// take removes the next n calls, and returns their priorities.
func (q *queue) take(n int) []Priority {
	var order []Priority
	for range n {
		order = append(order, q.next().priority)
	}
	return order
}

func (q *queue) add(n int, p Priority) {
	for range n {
		q.push(p, 0)
	}
}

func count(order []Priority, p Priority) int {
	n := 0
	for _, x := range order {
		if x == p {
			n++
		}
	}
	return n
}

func TestCallsThatEndAccessGoFirst(t *testing.T) {
	var q queue
	for p := Other; p >= EndAccess; p-- {
		q.add(100, p)
	}
	q.take(50)
	q.add(100, EndAccess)
	if got := q.take(150); count(got, EndAccess) != 150 {
		t.Errorf("%d other calls go before the calls that end access", 150-count(got, EndAccess))
	}
	if q.take(1)[0] != Cleanup {
		t.Error("cleanup does not follow the calls that end access")
	}
}

func TestOldestCallOfAPriorityGoesFirst(t *testing.T) {
	var q queue
	var want []*waiter
	for range 10 {
		want = append(want, q.push(Cleanup, 0))
	}
	q.remove(want[3])
	want = slices.Delete(want, 3, 4)
	for i, w := range want {
		if q.next() != w {
			t.Fatalf("call %d is not the next", i)
		}
	}
	if q.len() != 0 {
		t.Errorf("%d calls are left", q.len())
	}
}

// Each priority gets its share, however many calls of higher priorities wait. Slots
// of calls that end access do not count.
func TestNoPriorityStarves(t *testing.T) {
	var q queue
	q.add(1000, Cleanup)
	q.add(1000, Renewal)
	q.add(1000, Other)
	var got []Priority
	for range 10 * share {
		q.add(3, EndAccess)
		if first := q.take(3); count(first, EndAccess) != 3 {
			t.Fatal("a call that ends access waits")
		}
		got = append(got, q.take(1)...)
	}
	for i := range len(got) - share {
		slots := got[i : i+share+1]
		if count(slots, Other) == 0 || count(slots, Renewal) == 0 {
			t.Fatalf("%d slots in a row are %v", share+1, slots)
		}
	}
	if n := count(got, Cleanup); n < len(got)*5/8 {
		t.Errorf("cleanup gets %d of %d slots", n, len(got))
	}
}

// A priority without waiting calls does not save up slots.
func TestUnusedSharesAreNotSaved(t *testing.T) {
	var q queue
	q.add(1000, Cleanup)
	q.take(500)
	q.add(10, Other)
	if got := q.take(share - 1); count(got, Other) != 0 {
		t.Errorf("the order is %v", got)
	}
	if got := q.take(share); count(got, Other) != 1 {
		t.Errorf("the order is %v", got)
	}
}

// The number of calls ahead is right within a factor of two.
func TestCallsAheadAreEstimated(t *testing.T) {
	for p := EndAccess; p < priorities; p++ {
		var q queue
		for other := range priorities {
			q.add(20, other)
		}
		ahead := q.ahead(p)
		w := q.push(p, 0)
		for n := 0; ; n++ {
			if q.next() == w {
				if n < ahead-share || n > 2*ahead {
					t.Errorf("%d calls go before a call of priority %d; the estimate is %d", n, p, ahead)
				}
				break
			}
		}
	}
}
