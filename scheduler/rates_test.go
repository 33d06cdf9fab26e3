package scheduler

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
)

func named(identity, id string) messages.LeaseName {
	return messages.LeaseName{Identity: identity, Secret: "ci", ID: id}
}

// TestRatesCountTheLastMinute compares the rates with a plain list under any sequence
// of leases that this replica begins, that others begin, and that are reported twice.
func TestRatesCountTheLastMinute(t *testing.T) {
	type one struct {
		name    messages.LeaseName
		message uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		r := newRates()
		model := map[one]time.Time{}
		now := noon
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		count := func(identity string) (n int, oldest time.Time) {
			for o, at := range model {
				if o.name.Identity != identity || now.Sub(at) >= window {
					continue
				}
				if n++; oldest.IsZero() || at.Before(oldest) {
					oldest = at
				}
			}
			return n, oldest
		}
		draw := rapid.Custom(func(t *rapid.T) one {
			return one{named(rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "identity"), fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id"))),
				rapid.Uint64Range(1, 3).Draw(t, "message")}
		})
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				o := draw.Draw(t, "one")
				n, _ := count(o.name.Identity)
				at, known := model[o]
				known = known && now.Sub(at) < window
				wait := r.admit(o.name, o.message, limit, now)
				if room := known || n < limit; room != (wait == 0) {
					t.Fatalf("%d of %d, known %t, and the wait is %s", n, limit, known, wait)
				}
				if wait == 0 && !known {
					model[o] = now
				}
				if wait > 0 && n == limit {
					if _, oldest := count(o.name.Identity); !now.Add(wait).Equal(oldest.Add(window)) {
						t.Fatalf("the wait is %s, and there is room in %s", wait, oldest.Add(window).Sub(now))
					}
				}
			},
			"note": func(t *rapid.T) {
				o := draw.Draw(t, "one")
				at := now.Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "ago")) * time.Second)
				r.note(o.name, o.message, at, now)
				if have, ok := model[o]; (!ok || now.Sub(have) >= window) && now.Sub(at) < window {
					model[o] = at
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "pass")) * time.Second) },
			"": func(t *rapid.T) {
				for _, identity := range []string{"alice", "bob"} {
					n, _ := count(identity)
					if room := r.room(identity, "ci", limit, now) == 0; room != (n < limit) {
						t.Fatalf("%s: %d of %d, room %t", identity, n, limit, room)
					}
				}
			},
		})
	})
}

func TestRatesDropOwnersWithoutStarts(t *testing.T) {
	r := newRates()
	for i := range 1000 {
		r.admit(named(fmt.Sprintf("i%d", i), "1"), 1, 1, noon)
	}
	r.admit(named("alice", "1"), 1, 1, noon.Add(2*window))
	if n := len(r.owners); n != 1 {
		t.Errorf("%d identities are kept", n)
	}
	r.note(named("bob", "1"), 1, noon, noon.Add(2*window))
	if r.room("bob", "ci", 1, noon.Add(2*window)) != 0 {
		t.Error("a start outside the window counts")
	}
}
