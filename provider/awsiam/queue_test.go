package awsiam

import (
	"slices"
	"testing"
)

// order is the ranks of the next n calls.
func (q *queue) order(n int) []rank {
	var ranks []rank
	for range n {
		ranks = append(ranks, q.next().rank)
	}
	return ranks
}

func (q *queue) add(n int, r rank) {
	for range n {
		q.push(r, 0)
	}
}

func count(ranks []rank, r rank) int {
	n := 0
	for _, x := range ranks {
		if x == r {
			n++
		}
	}
	return n
}

func TestKeysGoBeforeEverythingElse(t *testing.T) {
	var q queue
	for r := rankCreate; r >= rankKeys; r-- {
		q.add(100, r)
	}
	q.order(50)
	q.add(100, rankKeys)
	if got := q.order(150); count(got, rankKeys) != 150 {
		t.Errorf("before the keys come %d others", 150-count(got, rankKeys))
	}
	if q.order(1)[0] != rankTidy {
		t.Error("after the keys it is not the turn of the users")
	}
}

func TestTheOldestOfARankGoesFirst(t *testing.T) {
	var q queue
	var want []*waiter
	for range 10 {
		want = append(want, q.push(rankTidy, 0))
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

// Each rank gets its share, however much there is above it, and keys take nothing of it.
func TestNoRankStarves(t *testing.T) {
	var q queue
	q.add(1000, rankTidy)
	q.add(1000, rankRenew)
	q.add(1000, rankCreate)
	var got []rank
	for range 10 * share {
		q.add(3, rankKeys)
		if keys := q.order(3); count(keys, rankKeys) != 3 {
			t.Fatal("a key waits")
		}
		got = append(got, q.order(1)...)
	}
	for i := range len(got) - share {
		window := got[i : i+share+1]
		if count(window, rankCreate) == 0 || count(window, rankRenew) == 0 {
			t.Fatalf("%d slots in a row are %v", share+1, window)
		}
	}
	if n := count(got, rankTidy); n < len(got)*5/8 {
		t.Errorf("of %d slots %d are the users'", len(got), n)
	}
}

// A rank that has nothing waiting saves nothing up.
func TestAShareIsNotSaved(t *testing.T) {
	var q queue
	q.add(1000, rankTidy)
	q.order(500)
	q.add(10, rankCreate)
	if got := q.order(share - 1); count(got, rankCreate) != 0 {
		t.Errorf("the order is %v", got)
	}
	if got := q.order(share); count(got, rankCreate) != 1 {
		t.Errorf("the order is %v", got)
	}
}

// Who asks how long it would wait is told neither much too much nor half of it.
func TestWhatIsAheadIsKnown(t *testing.T) {
	for r := rankKeys; r < ranks; r++ {
		var q queue
		for other := range ranks {
			q.add(20, other)
		}
		ahead := q.ahead(r)
		w := q.push(r, 0)
		for n := 0; ; n++ {
			if q.next() == w {
				if n < ahead-share || n > 2*ahead {
					t.Errorf("before a call of rank %d go %d, and not %d", r, n, ahead)
				}
				break
			}
		}
	}
}
