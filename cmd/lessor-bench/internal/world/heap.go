package world

import (
	"runtime"
	runtimemetrics "runtime/metrics"
	"time"
)

// Heap returns the bytes of live objects after a garbage collection.
func Heap() float64 {
	runtime.GC()
	runtime.GC() // finishes the sweep of the first
	return heapNow()
}

func heapNow() float64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(s)
	return float64(s[0].Value.Uint64())
}

// PeakHeap samples the bytes of objects on the heap until the returned function is called,
// which returns the largest sample.
func PeakHeap() func() float64 {
	stop, peak := make(chan struct{}), make(chan float64)
	go func() {
		most := 0.0
		for {
			most = max(most, heapNow())
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() float64 { close(stop); return <-peak }
}
