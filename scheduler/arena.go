package scheduler

import "iter"

// chunk is how many entries are allocated at once.
const chunk = 1024

// arena keeps the entries, each at a place that stays its own. It grows without
// moving any, and what is freed is used again.
type arena struct {
	chunks []*[chunk]entry
	unused []int32
	size   int32 // places handed out so far, freed ones included
}

// at returns the entry at a place. It stays valid until the place is freed.
func (a *arena) at(place int32) *entry { return &a.chunks[place/chunk][place%chunk] }

func (a *arena) take() (*entry, int32) {
	if last := len(a.unused) - 1; last >= 0 {
		place := a.unused[last]
		a.unused = a.unused[:last]
		return a.at(place), place
	}
	place := a.size
	if place%chunk == 0 {
		a.chunks = append(a.chunks, new([chunk]entry))
	}
	a.size++
	return a.at(place), place
}

func (a *arena) free(place int32) {
	a.at(place).position = unused
	a.unused = append(a.unused, place)
}

// all are the entries in use. They may be freed meanwhile.
func (a *arena) all() iter.Seq2[int32, *entry] {
	return func(yield func(int32, *entry) bool) {
		for place := range a.size {
			if e := a.at(place); e.position != unused && !yield(place, e) {
				return
			}
		}
	}
}
