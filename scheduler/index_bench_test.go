package scheduler

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

var sizes = []struct {
	name   string
	leases int
}{{"10k", 10_000}, {"100k", 100_000}, {"1M", 1_000_000}}

// fill has leases begin and become active, due within a day.
func fill(x *index, names []string) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, name := range names {
		x.set(name, noon.Add(30*time.Second), provisioning, uint64(2*i+1))
		x.set(name, noon.Add(time.Hour+time.Duration(random.Int64N(int64(24*time.Hour)))), active, uint64(2*i+2))
	}
}

// BenchmarkIndexMemory reports what an index keeps of a lease: of a thousand
// identities, and of as many as there are leases.
func BenchmarkIndexMemory(b *testing.B) {
	for _, size := range sizes {
		for _, identities := range []int{1000, size.leases} {
			b.Run(fmt.Sprintf("%s/%d_identities", size.name, identities), func(b *testing.B) {
				var kept float64
				for b.Loop() {
					kept = bytesPerLease(size.leases, identities)
				}
				b.ReportMetric(kept, "B/lease")
			})
		}
	}
}

// BenchmarkIndexSet renews leases one after another.
func BenchmarkIndexSet(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			names := leaseNames(size.leases, 1000)
			x := newIndex()
			fill(x, names)
			random := rand.New(rand.NewPCG(3, 4))
			revision := uint64(2 * len(names))
			b.ReportAllocs()
			for b.Loop() {
				revision++
				x.set(names[random.IntN(len(names))], noon.Add(time.Duration(random.Int64N(int64(24*time.Hour)))), active, revision)
			}
		})
	}
}

// BenchmarkTake takes what is due, where nothing is and where ten leases are.
func BenchmarkTake(b *testing.B) {
	for _, size := range sizes {
		x := newIndex()
		fill(x, leaseNames(size.leases, 1000))
		again := func(int) time.Duration { return time.Hour }
		b.Run(size.name+"/none_due", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.take(noon, maxTake, again)
			}
		})
		b.Run(size.name+"/ten_due", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.take(noon.Add(48*time.Hour), 10, again)
			}
		})
	}
}

// BenchmarkCollection is what a garbage collection costs with that many leases.
func BenchmarkCollection(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			x := newIndex()
			fill(x, leaseNames(size.leases, 1000))
			runtime.GC()
			for b.Loop() {
				runtime.GC()
			}
			runtime.KeepAlive(x)
		})
	}
}
