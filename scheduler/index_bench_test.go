package scheduler

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

var sizes = []struct {
	name   string
	leases int
}{{"10k", 10_000}, {"100k", 100_000}, {"1M", 1_000_000}}

// manyNames are lease names as requests make them, of so many identities, with ten
// secrets.
func manyNames(n, identities int) []string {
	names := make([]string, n)
	for i := range names {
		identity, secret := fmt.Sprintf("team-%07d", i%identities), fmt.Sprintf("secret-%d", i%10)
		names[i] = messages.LeaseName{Identity: identity, Secret: secret, ID: record.LeaseID(identity, secret, "", uint64(i), start)}.String()
	}
	return names
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkIndexMemory fills an index, and reports what it keeps of a lease: of a
// thousand identities, and of as many as there are leases.
func BenchmarkIndexMemory(b *testing.B) {
	for _, size := range sizes {
		for _, identities := range []int{1000, size.leases} {
			b.Run(fmt.Sprintf("%s/%d_identities", size.name, identities), func(b *testing.B) {
				names := manyNames(size.leases, identities)
				var kept float64
				for b.Loop() {
					before := heap()
					x := newIndex()
					fill(x, names)
					kept = float64(heap()-before) / float64(len(names))
					runtime.KeepAlive(x)
				}
				runtime.KeepAlive(names)
				b.ReportMetric(kept, "B/lease")
			})
		}
	}
}

// fill has leases begin and become active, due within a day.
func fill(x *index, names []string) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, name := range names {
		x.set(name, start.Add(30*time.Second), provisioning, uint64(2*i+1), 1)
		x.set(name, start.Add(time.Hour+time.Duration(random.Int64N(int64(24*time.Hour)))), active, uint64(2*i+2), 1)
	}
}

// BenchmarkIndexSet renews leases one after another.
func BenchmarkIndexSet(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			names := manyNames(size.leases, 1000)
			x := newIndex()
			fill(x, names)
			random := rand.New(rand.NewPCG(3, 4))
			revision := uint64(2 * len(names))
			b.ReportAllocs()
			for b.Loop() {
				revision++
				x.set(names[random.IntN(len(names))], start.Add(time.Duration(random.Int64N(int64(24*time.Hour)))), active, revision, 1)
			}
		})
	}
}

// BenchmarkTick looks for what is due, where nothing is and where ten leases are.
func BenchmarkTick(b *testing.B) {
	for _, size := range sizes {
		x := newIndex()
		fill(x, manyNames(size.leases, 1000))
		again := func(int) time.Duration { return time.Hour }
		b.Run(size.name+"/none_due", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.take(start, maxTake, again)
			}
		})
		b.Run(size.name+"/ten_due", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.take(start.Add(48*time.Hour), 10, again)
			}
		})
	}
}

// BenchmarkCollection is what a garbage collection costs with so many leases known.
func BenchmarkCollection(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			x := newIndex()
			fill(x, manyNames(size.leases, 1000))
			runtime.GC()
			for b.Loop() {
				runtime.GC()
			}
			runtime.KeepAlive(x)
		})
	}
}

// dayLeases is how many leases BenchmarkADay has.
const dayLeases = 10_000_000

// BenchmarkADay has ten million leases begin, be renewed and end in a day of moved
// time. Each lives for an hour, and every other is renewed once, so that about half a
// million are alive at a time. It reports what of the CPU a lease takes in the first full hour
// of the day and in the last, for the index and its tick.
func BenchmarkADay(b *testing.B) {
	for b.Loop() {
		d := newDay()
		before := heap()
		var hours []time.Duration
		for range 24 {
			hours = append(hours, d.hour(dayLeases/24))
		}
		d.renew = nil // is not the broker's
		used := heap() - before
		perLease := func(hour int) float64 { return float64(hours[hour].Nanoseconds()) / (dayLeases / 24) }
		for hour := range hours {
			b.Logf("hour %2d: %5.0f ns of CPU a lease", hour, perLease(hour))
		}
		b.Logf("%d leases ended, %d are alive, %d at most; %d B of heap each", d.ended, d.x.size(), d.most, used/uint64(max(d.x.size(), 1)))
		b.ReportMetric(perLease(2), "ns/lease_hour_2")
		b.ReportMetric(perLease(23), "ns/lease_hour_23")
		b.ReportMetric(float64(used)/float64(d.most), "B/live_lease")
		runtime.KeepAlive(d)
	}
}

// day drives an index as a broker's watch and tick do.
type day struct {
	x        *index
	now      time.Time
	revision uint64
	lease    uint64
	ended    int
	most     int
	renew    map[int64][]string // by the second in which they are renewed
}

func newDay() *day { return &day{x: newIndex(), now: start, renew: map[int64][]string{}} }

func (d *day) put(name string, due time.Time, s standing) {
	d.revision++
	d.x.set(name, due, s, d.revision, 1)
}

// hour has so many leases begin, second by second, and returns what of the CPU the index took.
func (d *day) hour(leases int) (took time.Duration) {
	for second := range 3600 {
		names := make([]string, 0, leases/3600+1)
		for range leases*(second+1)/3600 - leases*second/3600 {
			d.lease++
			identity := fmt.Sprintf("team-%03d", d.lease%1000)
			names = append(names, identity+".ci."+record.LeaseID(identity, "ci", "", d.lease, start))
		}
		renewed := d.renew[d.now.Unix()]
		delete(d.renew, d.now.Unix())
		begun := CPUTime()
		for _, name := range names {
			d.put(name, d.now.Add(30*time.Second), provisioning)
			d.put(name, d.now.Add(time.Hour), active)
		}
		for _, name := range renewed {
			d.put(name, d.now.Add(time.Hour), active)
		}
		for _, r := range d.x.take(d.now, maxTake, func(int) time.Duration { return time.Minute }) {
			d.put(r.name, d.now.Add(30*time.Second), revoking)
			d.x.remove(r.name)
			d.ended++
		}
		took += CPUTime() - begun
		d.most = max(d.most, d.x.size())
		for i, name := range names {
			if i%2 == 0 {
				at := d.now.Add(30 * time.Minute).Unix()
				d.renew[at] = append(d.renew[at], name)
			}
		}
		d.now = d.now.Add(time.Second)
	}
	return took
}
