package world

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// liveLease returns the record of a delivered lease. Records with different i differ as
// those of different requesters do: there are 1,000 identities.
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

// Limits when many messages are published.
const (
	maxPending = 4096             // messages that are not acknowledged yet
	maxStall   = 30 * time.Second // the wait for one more to be accepted
)

// Fill writes the records of n live leases that were issued an hour ago. It calls progress
// with the number of records written so far.
func (w *World) Fill(ctx context.Context, n int, expires time.Time, progress func(written int)) error {
	d, _, err := w.definitions()
	if err != nil {
		return err
	}
	var failed atomic.Int64
	js, err := jetstream.New(w.Conn, jetstream.WithPublishAsyncMaxPending(maxPending),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { failed.Add(1) }))
	if err != nil {
		return err
	}
	issued := time.Now().Add(-time.Hour)
	for i := range n {
		if i%10_000 == 0 {
			progress(i)
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
		msg := nats.NewMsg("$KV." + w.NS.LeaseBucket() + "." + r.Name().String())
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
		return fmt.Errorf("%d records were not written", n)
	}
	return nil
}

// BareLoad reads the whole bucket of leases, without a broker.
func (w *World) BareLoad(ctx context.Context) (timing.Run, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := w.JS.KeyValue(ctx, w.NS.LeaseBucket())
	if err != nil {
		return timing.Run{}, err
	}
	begin, used := time.Now(), timing.CPUTime()
	all, err := kv.WatchAll(ctx)
	if err != nil {
		return timing.Run{}, err
	}
	defer func() { _ = all.Stop() }() // its context ends, too
	for n := 0; ; n++ {
		select {
		case e, ok := <-all.Updates():
			if !ok {
				return timing.Run{}, errors.New("the watch has ended")
			}
			if e == nil {
				return timing.Run{Took: time.Since(begin), Untimed: n, CPU: timing.CPUTime() - used}, nil
			}
		case <-ctx.Done():
			return timing.Run{}, ctx.Err()
		}
	}
}
