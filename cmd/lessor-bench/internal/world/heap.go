package world

import (
	"runtime"
	runtimemetrics "runtime/metrics"
	"time"
)

// Heap is how much memory is in use once nothing is left that is not.
func Heap() float64 {
	runtime.GC()
	runtime.GC() // what the first only marked
	return heapNow()
}

func heapNow() float64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(s)
	return float64(s[0].Value.Uint64())
}

// Peak watches the memory in use until what it returns is called, which returns the
// most.
func Peak() func() float64 {
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		m := 0.0
		for {
			m = max(m, heapNow())
			select {
			case <-stop:
				most <- m
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() float64 { close(stop); return <-most }
}
