package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// benchStored is how much a stream has taken so far.
type benchStored struct {
	what    string // of which the stream is
	last    uint64 // how many messages it has ever had
	size    int    // of one, in bytes, as far as there are any
	kept    int64  // of one subject; 0: all
	queue   bool
	waiting uint64
}

// stored looks at the streams that a lease is written to.
func (w *benchWorld) stored(ctx context.Context) ([]benchStored, error) {
	streams := []struct {
		name, what string
		queue      bool
	}{
		{w.ns.Stream(messages.VerbRequest), "request", true}, {w.ns.Stream(messages.VerbRenew), "renewal", true},
		{w.ns.Stream(messages.VerbRevoke), "revocation", true}, {w.ns.Stream(messages.VerbConfirm), "confirmation", true},
		{"KV_" + w.ns.LeaseBucket(), "record", false}, {w.ns.EventStream(), "event", false},
	}
	var all []benchStored
	for _, s := range streams {
		stream, err := w.js.Stream(ctx, s.name)
		if err != nil {
			return nil, err
		}
		state := stream.CachedInfo().State
		kept := max(0, stream.CachedInfo().Config.MaxMsgsPerSubject)
		one := benchStored{what: s.what, last: state.LastSeq, size: benchMessage, kept: kept, queue: s.queue, waiting: state.Msgs}
		if state.Msgs > 0 && !s.queue {
			one.size = int(state.Bytes / state.Msgs)
		}
		all = append(all, one)
	}
	return all, nil
}

// benchMessage is the size of a message on a queue, with its headers.
const benchMessage = 250

// benchWrites are what is written to JetStream for one lease, or one change to it.
type benchWrites []benchWrite

type benchWrite struct {
	what  string
	each  float64
	bytes int
	kept  int64 // of one subject, as in a bucket; 0: all
}

// benchWritten is what n of something have written between two looks.
func benchWritten(before, after []benchStored, n int) benchWrites {
	var all benchWrites
	for i, s := range after {
		if d := s.last - before[i].last; d > 0 {
			all = append(all, benchWrite{s.what, float64(d) / float64(n), s.size, s.kept})
		}
	}
	return all
}

// total is how many there are.
func (all benchWrites) total() (n float64) {
	for _, w := range all {
		n += w.each
	}
	return math.Round(100*n) / 100
}

func (all benchWrites) String() string {
	var words []string
	for _, w := range all {
		words = append(words, fmt.Sprintf("%s %s", number(w.each), w.what))
	}
	return strings.Join(words, ", ")
}

// figure is the number of writes.
func (all benchWrites) figure(name, what string) benchFigure {
	return benchFigure{Name: name, What: what + " (" + all.String() + ")", Value: all.total()}
}

// bareWrites makes the same writes n times, or as often as can be begun in time, one after another for each and as many at
// once as there are requesters, with no broker.
func (w *benchWorld) bareWrites(ctx context.Context, within time.Duration, writes benchWrites, n, atOnce int) (benchRun, error) {
	type target struct {
		subject string
		times   int
		body    []byte
	}
	var targets []target
	for _, x := range writes {
		name := "BENCH_" + strings.ToUpper(x.what)
		subject := "bench." + x.what
		_, err := w.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject + ".>"}, MaxMsgsPerSubject: x.kept})
		if err != nil {
			return benchRun{}, err
		}
		defer func() { _ = w.js.DeleteStream(context.WithoutCancel(ctx), name) }() // it goes with the store anyway
		targets = append(targets, target{subject, max(1, int(math.Round(x.each))), bytes.Repeat([]byte("x"), max(1, x.bytes))})
	}
	return benchLoadWithin(ctx, within, n, atOnce, func(ctx context.Context, i int) error {
		for _, t := range targets {
			for range t.times {
				if _, err := w.js.Publish(ctx, fmt.Sprintf("%s.alice.demo.%d", t.subject, i), t.body); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
