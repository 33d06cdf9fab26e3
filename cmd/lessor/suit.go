package main

import (
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
)

// suitProcess suits Go's runtime to a broker. What the environment says (GOMAXPROCS,
// GOGC) holds.
func suitProcess(getenv func(string) string, durable bool) {
	if durable && getenv("GOMAXPROCS") == "" {
		// A goroutine that waits for the disk keeps its processor for a moment, and then
		// waits for one. A NATS server that flushes each write has some that mostly do that.
		// From here on Go does not follow changes of a container's CPU limit.
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
	if getenv("GOGC") == "" {
		new(collections).follow()
	}
}

// collectionRoom is how much a heap may grow from one collection to the next, at least.
const collectionRoom = 64 << 20

// mostPercent is the most that a heap may grow by, for one that is all but empty.
const mostPercent = 1000

// collections has few leases collected as rarely as many. A broker keeps little and
// makes much that is thrown away: by Go's own setting, which lets a heap double, some
// MiB would be gone through many times a second, for a tenth of the CPU.
type collections struct{ percent atomic.Int64 }

// follow looks at the heap after each collection.
func (c *collections) follow() {
	c.adjust(liveHeap())
	runtime.AddCleanup(new([16]byte), func(c *collections) { c.follow() }, c)
}

// adjust sets how much the heap may grow by, where that is another number than before.
func (c *collections) adjust(live float64) {
	percent := growth(live)
	if before := c.percent.Swap(int64(percent)); before != int64(percent) {
		debug.SetGCPercent(percent)
	}
}

// growth is how much a heap may grow by, in steps: to set it stops the world.
func growth(live float64) int {
	const step = 50
	percent := min(mostPercent, 100*collectionRoom/max(live, 1))
	return max(100, int(percent)/step*step)
}

// liveHeap is what the last collection has left.
func liveHeap() float64 {
	s := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(s)
	return float64(s[0].Value.Uint64())
}
