package scheduler

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// modelLease is a lease in the model that the index is compared with.
type modelLease struct {
	due, next time.Time
	revision  uint64
	reminders int
	class     class
	seen      bool // by the present generation
}

// wait is the wait after n reminders in the model.
func wait(n int) time.Duration { return time.Duration(n) * time.Minute }

// TestIndexAgreesWithModel compares the index with a plain map under any sequence of
// operations.
func TestIndexAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &indexModel{x: newIndex(), leases: map[string]*modelLease{}, now: noon}
		t.Repeat(rapid.StateMachineActions(m))
	})
}

// indexModel is an index and what it should have.
type indexModel struct {
	x      *index
	leases map[string]*modelLease
	now    time.Time
}

func drawName(t *rapid.T) string {
	return fmt.Sprintf("%s.%s.%d", rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "identity"),
		rapid.SampledFrom([]string{"ci", "db"}).Draw(t, "secret"), rapid.IntRange(0, 4).Draw(t, "id"))
}

func drawRevision(t *rapid.T) uint64 { return rapid.Uint64Range(1, 5).Draw(t, "revision") }

func (m *indexModel) Set(t *rapid.T) {
	name, revision := drawName(t), drawRevision(t)
	due := noon.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "due")) * time.Second)
	c := rapid.SampledFrom([]class{provisioning, active, revoking, cleanup, failing}).Draw(t, "class")
	m.x.set(name, due, c, revision)
	m.leases[name] = &modelLease{due: due, next: due, revision: revision, class: c, seen: true}
}

func (m *indexModel) SetAside(t *rapid.T) {
	name, revision := drawName(t), drawRevision(t)
	m.x.setAside(name, revision)
	m.leases[name] = &modelLease{revision: revision, class: unreadable, seen: true}
}

func (m *indexModel) SeeAgain(t *rapid.T) {
	name, revision := drawName(t), drawRevision(t)
	l := m.leases[name]
	known := l != nil && l.revision == revision
	if m.x.markSeen(name, revision) != known {
		t.Fatalf("knows %s at %d: %t", name, revision, !known)
	}
	if known {
		l.seen = true
	}
}

func (m *indexModel) BeginGeneration(*rapid.T) {
	m.x.beginGeneration()
	for _, l := range m.leases {
		l.seen = false
	}
}

func (m *indexModel) DropUnseen(t *rapid.T) {
	before := len(m.leases)
	for name, l := range m.leases {
		if !l.seen {
			delete(m.leases, name)
		}
	}
	if n := m.x.dropUnseen(); n != before-len(m.leases) {
		t.Fatalf("dropped %d of %d, %d are seen", n, before, len(m.leases))
	}
}

func (m *indexModel) Invalidate(*rapid.T) {
	m.x.invalidate()
	for _, l := range m.leases {
		l.revision = 0
	}
}

func (m *indexModel) Remove(t *rapid.T) {
	name := drawName(t)
	m.x.remove(name)
	delete(m.leases, name)
}

func (m *indexModel) RetryNow(t *rapid.T) {
	name := drawName(t)
	m.x.retryAt(name, m.now)
	if l := m.leases[name]; l != nil && l.class != unreadable && l.next.After(m.now) {
		l.next = m.now
	}
}

func (m *indexModel) Take(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "pass")) * time.Second)
	var want, have []string
	for name, l := range m.leases {
		if l.class != unreadable && !l.next.After(m.now) {
			want = append(want, name)
			l.reminders++
			l.next = m.now.Add(wait(l.reminders))
		}
	}
	for _, r := range m.x.take(m.now, 1000, wait) {
		have = append(have, r.lease)
		if l := m.leases[r.lease]; !r.due.Equal(l.due) || r.before != l.reminders-1 {
			t.Fatalf("%+v, want %+v", r, l)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Fatalf("due are %v, want %v", have, want)
	}
}

// Check compares what the index counts.
func (m *indexModel) Check(t *rapid.T) {
	var want [classes]int
	ofIdentity, ofSecret := 0, 0
	for name, l := range m.leases {
		want[l.class]++
		if m.x.readable(name) != (l.class != unreadable) {
			t.Fatalf("%s is readable: %t", name, l.class == unreadable)
		}
		if l.class == cleanup {
			continue
		}
		if strings.HasPrefix(name, "alice.ci.") {
			ofIdentity++
		}
		if strings.Contains(name, ".ci.") {
			ofSecret++
		}
	}
	if m.x.classCounts() != want || m.x.scheduled() != len(m.leases)-want[unreadable] {
		t.Fatalf("%v, %d are scheduled; want %v", m.x.classCounts(), m.x.scheduled(), want)
	}
	if i, s := m.x.live("alice", "ci"); i != ofIdentity || s != ofSecret {
		t.Fatalf("live are %d and %d, want %d and %d", i, s, ofIdentity, ofSecret)
	}
	for i, e := range m.x.queue {
		if e.position != i || m.x.entries[e.lease] != e {
			t.Fatalf("%s is not at its position %d", e.lease, i)
		}
	}
	for name, n := range m.x.owners {
		if n <= 0 {
			t.Fatalf("%s is kept with %d leases", name, n)
		}
	}
}

func TestLongestDueIsTakenFirst(t *testing.T) {
	x := newIndex()
	for i := range 100 {
		x.set(fmt.Sprintf("a.b.%d", i), noon.Add(time.Duration(100-i)*time.Second), active, 1)
	}
	hourly := func(int) time.Duration { return time.Hour }
	got := x.take(noon.Add(time.Hour), 10, hourly)
	if len(got) != 10 || got[0].lease != "a.b.99" || got[9].lease != "a.b.90" {
		t.Fatalf("%+v", got)
	}
	if rest := x.take(noon.Add(time.Hour), 1000, hourly); len(rest) != 90 {
		t.Fatalf("%d are left", len(rest))
	}
}

// maxBytesPerLease bounds the memory of the index.
const maxBytesPerLease = 400

func TestIndexTakesAtMost400BytesPerLease(t *testing.T) {
	const leases = 100_000
	for _, identities := range []int{1000, leases} {
		if n := bytesPerLease(leases, identities); n > maxBytesPerLease {
			t.Errorf("%.0f bytes per lease with %d identities", n, identities)
		} else {
			t.Logf("%.0f bytes per lease with %d identities", n, identities)
		}
	}
}

// bytesPerLease returns how much memory an index keeps for each of n leases.
func bytesPerLease(n, identities int) float64 {
	names := leaseNames(n, identities)
	before := heapInUse()
	x := newIndex()
	fill(x, names)
	after := heapInUse()
	runtime.KeepAlive(x)
	runtime.KeepAlive(names)
	return float64(after-before) / float64(n)
}

// leaseNames returns names as requests make them, of that many identities and ten
// secrets.
func leaseNames(n, identities int) []string {
	names := make([]string, n)
	for i := range names {
		identity, secret := fmt.Sprintf("team-%07d", i%identities), fmt.Sprintf("secret-%d", i%10)
		names[i] = messages.LeaseName{Identity: identity, Secret: secret, ID: record.LeaseID(identity, secret, "", uint64(i), noon)}.String()
	}
	return names
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // the first may leave what finalizers use
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
