package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestTheIndexRemembersWhatIsDue compares the index with a plain map, under any
// sequence of news.
func TestTheIndexRemembersWhatIsDue(t *testing.T) {
	type lease struct {
		due, next time.Time
		revision  uint64
		reminders int
		standing  standing
	}
	again := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		model := map[string]*lease{}
		written, since := map[string]time.Time{}, uint64(0)
		now := start
		name := rapid.Custom(func(t *rapid.T) string {
			// Half of the ids are as requests make them, half are any.
			id := rapid.SampledFrom([]string{"0", "1", "2", ids[0], ids[1], ids[2]}).Draw(t, "id")
			return fmt.Sprintf("%s.%s.%s", rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "identity"),
				rapid.SampledFrom([]string{"ci", "db"}).Draw(t, "secret"), id)
		})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n, revision := name.Draw(t, "name"), rapid.Uint64Range(1, 50).Draw(t, "revision")
				due := start.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "due")) * time.Second)
				s := rapid.SampledFrom([]standing{provisioning, active, revoking, tidying, failing}).Draw(t, "standing")
				x.set(n, due, s, revision, 1)
				if have, ok := model[n]; !ok || revision > have.revision {
					model[n] = &lease{due: due, next: due, revision: revision, standing: s}
				}
			},
			"set aside": func(t *rapid.T) {
				n, revision := name.Draw(t, "name"), rapid.Uint64Range(1, 50).Draw(t, "revision")
				have, ok := model[n]
				isNews := !ok || revision > have.revision
				if told := x.setAside(n, revision, 1); told != isNews {
					t.Fatalf("news: %v, want %v", told, isNews)
				}
				if isNews {
					model[n] = &lease{revision: revision, standing: unreadable}
				}
			},
			"see again": func(t *rapid.T) {
				n, revision := name.Draw(t, "name"), rapid.Uint64Range(1, 50).Draw(t, "revision")
				have, ok := model[n]
				if known := x.knows(n, revision, 1); known != (ok && have.revision == revision) {
					t.Fatalf("known: %v", known)
				}
			},
			"forget": func(t *rapid.T) {
				kept := map[string]bool{}
				for range rapid.IntRange(0, 4).Draw(t, "kept") {
					n := name.Draw(t, "name")
					if l, ok := model[n]; ok {
						kept[n] = x.knows(n, l.revision, 2)
					}
				}
				if n := x.keepOnly(2); n != len(model)-len(kept) {
					t.Fatalf("forgot %d of %d, kept %v", n, len(model), kept)
				}
				for n, l := range model {
					if !kept[n] {
						delete(model, n)
					} else if !x.knows(n, l.revision, 1) {
						t.Fatalf("%s is forgotten", n)
					}
				}
			},
			"patrol": func(t *rapid.T) {
				number, last := x.beginPatrol(), rapid.Uint64Range(0, 50).Draw(t, "last")
				met := map[string]bool{}
				for range rapid.IntRange(0, 4).Draw(t, "met") {
					n := name.Draw(t, "name")
					met[n] = true
					revision, ok := x.meet(n, number)
					if l := model[n]; ok != (l != nil) || (ok && revision != l.revision) {
						t.Fatalf("met %s at %d, %v", n, revision, ok)
					}
				}
				var want []string
				for n, l := range model {
					if !met[n] && l.revision <= last {
						want = append(want, n)
					}
				}
				have := x.unseen(number, last, 100)
				slices.Sort(want)
				slices.Sort(have)
				if !slices.Equal(want, have) {
					t.Fatalf("not met were %v, want %v", have, want)
				}
			},
			"write down": func(t *rapid.T) {
				since = rapid.Uint64Range(since, 50).Draw(t, "since") // a calendar goes on
				for _, a := range x.appointments(since) {
					written[a.name] = a.due
				}
				for n, l := range model {
					if l.standing != unreadable && l.revision > since && !written[n].Equal(l.due) {
						t.Fatalf("%s is due at %s, and it is written down for %s", n, l.due, written[n])
					}
				}
			},
			"write down anew": func(*rapid.T) {
				x.appointAnew()
				since = 0
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				x.remove(n)
				delete(model, n)
			},
			"hurry": func(t *rapid.T) {
				n := name.Draw(t, "name")
				x.hurry(n, now)
				if l, ok := model[n]; ok && l.standing != unreadable && l.next.After(now) {
					l.next = now
				}
			},
			"take": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "pass")) * time.Second)
				var want []string
				for n, l := range model {
					if l.standing != unreadable && !l.next.After(now) {
						want = append(want, n)
						l.reminders++
						l.next = now.Add(again(l.reminders))
					}
				}
				var have []string
				for _, r := range x.take(now, 1000, again) {
					have = append(have, r.name)
					if !r.due.Equal(model[r.name].due) || r.last != model[r.name].reminders-1 {
						t.Fatalf("%+v, want %+v", r, model[r.name])
					}
				}
				slices.Sort(want)
				slices.Sort(have)
				if !slices.Equal(want, have) {
					t.Fatalf("due are %v, want %v", have, want)
				}
			},
			"": func(t *rapid.T) {
				var stands [standings]int
				for _, l := range model {
					stands[l.standing]++
				}
				if x.standingNow() != stands || x.size() != len(model)-stands[unreadable] {
					t.Fatalf("%v, %d of them due at some time; want %v", x.standingNow(), x.size(), stands)
				}
				checkQueue(t, x)
				mine, all := 0, 0
				for n, l := range model {
					if l.standing == tidying {
						continue
					}
					if len(n) > 8 && n[:9] == "alice.ci." {
						mine++
					}
					if _, rest, _ := strings.Cut(n, "."); rest[:3] == "ci." {
						all++
					}
				}
				if m, a := x.live("alice", "ci"); m != mine || a != all {
					t.Fatalf("counted %d and %d, want %d and %d", m, a, mine, all)
				}
			},
		})
	})
}

// ids are as requests make them.
var ids = []string{leaseID(0), leaseID(1), leaseID(2)}

func leaseID(n int) string { return record.LeaseID("a", "b", "", uint64(n), start) }

// checkQueue fails unless the queue is a heap of all that is due at some time.
func checkQueue(t *rapid.T, x *index) {
	for i, place := range x.queue {
		e := x.arena.at(place)
		if e.position != int32(i) || (i > 0 && e.next < x.arena.at(x.queue[(i-1)/2]).next) {
			t.Fatalf("the heap is none at %d", i)
		}
	}
	used := 0
	for place, e := range x.arena.all() {
		used++
		if at, ok := x.places[e.key]; !ok || at != place {
			t.Fatalf("%s is not found at its place", x.names.name(e.key))
		}
	}
	if used != len(x.places) {
		t.Fatalf("%d places are used, for %d leases", used, len(x.places))
	}
	owned := 0
	for _, o := range x.names.owners {
		owned += int(o.leases)
	}
	if owned != used || len(x.names.odd) > used || len(x.names.numbers) > used || len(x.names.secrets) > used {
		t.Fatalf("names of leases that are gone are kept: %+v", x.names)
	}
}

func TestTheLongestDueComesFirstAndNoMoreThanAsked(t *testing.T) {
	x := newIndex()
	for i := range 100 {
		x.set(fmt.Sprintf("a.b.%d", i), start.Add(time.Duration(100-i)*time.Second), active, 1, 1)
	}
	got := x.take(start.Add(time.Hour), 10, func(int) time.Duration { return time.Hour })
	if len(got) != 10 || got[0].name != "a.b.99" || got[9].name != "a.b.90" {
		t.Fatalf("%+v", got)
	}
	if rest := x.take(start.Add(time.Hour), 1000, func(int) time.Duration { return time.Hour }); len(rest) != 90 {
		t.Fatalf("%d are left", len(rest))
	}
}

func TestAGenerationForgetsWhatItHasNotSeen(t *testing.T) {
	x := newIndex()
	x.set("a.b.1", start, active, 1, 1)
	x.set("a.b.2", start, active, 2, 1)
	x.set("a.b.2", start, active, 2, 2) // seen again, unchanged
	if n := x.keepOnly(2); n != 1 || x.size() != 1 {
		t.Fatalf("forgot %d, kept %d", n, x.size())
	}
	if _, all := x.live("a", "b"); all != 1 {
		t.Fatalf("%d are counted", all)
	}
}

// TestARestoredBucketIsBelieved: its revisions are lower than those that were
// known, and a new generation of the watch reads it as it is.
func TestARestoredBucketIsBelieved(t *testing.T) {
	x := newIndex()
	x.set("a.b.c", start.Add(5*time.Hour), active, 500, 1)
	x.set("a.b.c", start.Add(time.Hour), active, 7, 1) // old news of the same watch
	if got := x.take(start.Add(2*time.Hour), 10, func(int) time.Duration { return time.Minute }); len(got) != 0 {
		t.Fatal("old news counted")
	}
	x.set("a.b.c", start.Add(time.Hour), active, 7, 2)
	x.keepOnly(2)
	if got := x.take(start.Add(2*time.Hour), 10, func(int) time.Duration { return time.Minute }); len(got) != 1 {
		t.Fatal("the lease is over by what the bucket says, and nobody is reminded")
	}
}
