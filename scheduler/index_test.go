package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
		now := start
		name := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%s.%s.%d", rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "identity"),
				rapid.SampledFrom([]string{"ci", "db"}).Draw(t, "secret"), rapid.IntRange(0, 5).Draw(t, "id"))
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
				for i := range x.queue {
					if x.queue[i].position != int32(i) || (i > 0 && x.queue.Less(i, (i-1)/2)) {
						t.Fatalf("the heap is none at %d", i)
					}
				}
				mine, all := 0, 0
				for n, l := range model {
					if l.standing == tidying {
						continue
					}
					if len(n) > 8 && n[:9] == "alice.ci." {
						mine++
					}
					if slices.Contains([]string{"alice.ci.", "bob.ci."}, n[:len(n)-1]) {
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

func BenchmarkTick(b *testing.B) {
	for _, size := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d leases, 10 due", size), func(b *testing.B) {
			x := newIndex()
			for i := range size {
				x.set(fmt.Sprintf("identity.secret.%026d", i), start.Add(time.Hour+time.Duration(i)*time.Second), active, 1, 1)
			}
			now := start
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(10 * time.Second)
				x.take(now, 1000, func(int) time.Duration { return 1000 * time.Hour })
			}
		})
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
