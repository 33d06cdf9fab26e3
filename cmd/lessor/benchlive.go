package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Bounds of a start with many leases.
const (
	leastRestored = 100_000         // leases a second
	mostMemory    = 250             // bytes a lease
	mostMissed    = 2 * time.Second // until a lease is revoked that fell due meanwhile
)

// liveLease is the record of a lease that was issued an hour ago. They differ as those
// of different requesters do.
func liveLease(d messages.DynamicSecret, i int, issued, expires time.Time) (record.Record, error) {
	identity := fmt.Sprintf("team-%03d", i%1000)
	ttl := messages.Duration(expires.Sub(issued).Round(time.Second))
	id := record.LeaseID(identity, d.Name, "", uint64(i), issued)
	r := record.New(record.Plan{
		Name:       messages.LeaseName{Identity: identity, Secret: d.Name, ID: id},
		Origin:     record.Origin{Sequence: uint64(i), Stored: issued, Fingerprint: messages.LeaseRequest{}.Fingerprint()},
		Connection: provider.ConnectionOf(d, "").Name, Region: d.AWS.Region,
		User: record.User{
			Name: fmt.Sprintf("demo-%s-%012d", identity, i), Path: d.AWS.Path, Groups: d.AWS.Groups,
			ManagedPolicies: d.AWS.ManagedPolicies, InlinePolicy: []byte(d.AWS.InlinePolicy), Tags: d.Tags, HardExpiry: d.HardExpiry,
		},
		TTL: ttl, DefaultTTL: d.DefaultTTL, MaxTTL: ttl,
	}, issued, record.Timing{}.WithDefaults())
	r, err := r.Activate(fmt.Sprintf("AKIA%016d", i), &messages.Sealed{}, issued, record.Timing{}.WithDefaults())
	if err != nil {
		return r, err
	}
	return r.Deliver(issued, record.Timing{}.WithDefaults())
}

// What bounds the writing of many messages.
const (
	maxFilling = 4096             // on their way to the stream
	maxStall   = 30 * time.Second // the wait for the stream to take one of them
)

// fill writes the records of n live leases that expire then, as fast as JetStream takes
// them.
func (b *bench) fill(ctx context.Context, w *benchWorld, n int, expires time.Time) error {
	d, _, err := w.definitions()
	if err != nil {
		return err
	}
	var failed atomic.Int64
	js, err := jetstream.New(w.nc, jetstream.WithPublishAsyncMaxPending(maxFilling),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { failed.Add(1) }))
	if err != nil {
		return err
	}
	issued := time.Now().Add(-time.Hour)
	for i := range n {
		if i%10_000 == 0 {
			b.tell("writing %d of %d leases", i, n)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		r, err := liveLease(d, i, issued, expires)
		if err != nil {
			return err
		}
		data, err := r.Encode()
		if err != nil {
			return err
		}
		msg := nats.NewMsg("$KV." + w.ns.LeaseBucket() + "." + r.Name().String())
		msg.Data, msg.Header = data, r.Header()
		if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(maxStall)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d records could not be written", n)
	}
	return nil
}

// bareLoad reads the bucket from its beginning to its end, and does nothing with it.
func (w *benchWorld) bareLoad(ctx context.Context) (benchRun, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := w.js.KeyValue(ctx, w.ns.LeaseBucket())
	if err != nil {
		return benchRun{}, err
	}
	begun, used := time.Now(), cpuTime()
	all, err := kv.WatchAll(ctx)
	if err != nil {
		return benchRun{}, err
	}
	defer func() { _ = all.Stop() }() // ends with its context anyway
	for n := 0; ; n++ {
		select {
		case e, ok := <-all.Updates():
			if !ok {
				return benchRun{}, errors.New("the watch has ended")
			}
			if e == nil {
				return benchRun{took: time.Since(begun), many: n, cpu: cpuTime() - used}, nil
			}
		case <-ctx.Done():
			return benchRun{}, ctx.Err()
		}
	}
}

// heap is how much memory is in use once nothing is left that is not.
func heap() float64 {
	runtime.GC()
	runtime.GC() // what the first only marked
	return heapNow()
}

func heapNow() float64 {
	s := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(s)
	return float64(s[0].Value.Uint64())
}

// peak watches the memory in use until what it returns is called, which returns the
// most.
func peak() func() float64 {
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
