package world

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/messages"
)

// Stream is how much a stream has taken so far.
type Stream struct {
	what string // of which the stream is
	last uint64 // how many messages it has ever had
	size int    // of one, in bytes, as far as there are any
	kept int64  // of one subject; 0: all
}

// Stored looks at the streams that a lease is written to.
func (w *World) Stored(ctx context.Context) ([]Stream, error) {
	streams := []struct {
		name, what string
		queue      bool
	}{
		{w.NS.Stream(messages.VerbRequest), "request", true}, {w.NS.Stream(messages.VerbRenew), "renewal", true},
		{w.NS.Stream(messages.VerbRevoke), "revocation", true}, {w.NS.Stream(messages.VerbConfirm), "confirmation", true},
		{"KV_" + w.NS.LeaseBucket(), "record", false}, {w.NS.EventStream(), "event", false},
	}
	var all []Stream
	for _, s := range streams {
		stream, err := w.JS.Stream(ctx, s.name)
		if err != nil {
			return nil, err
		}
		state := stream.CachedInfo().State
		kept := max(0, stream.CachedInfo().Config.MaxMsgsPerSubject)
		one := Stream{what: s.what, last: state.LastSeq, size: messageSize, kept: kept}
		if state.Msgs > 0 && !s.queue {
			one.size = int(state.Bytes / state.Msgs)
		}
		all = append(all, one)
	}
	return all, nil
}

// messageSize is the size of a message on a queue, with its headers.
const messageSize = 250

// Writes are what is written to JetStream for one lease, or one change to it.
type Writes []Write

type Write struct {
	what  string
	each  float64
	bytes int
	kept  int64 // of one subject, as in a bucket; 0: all
}

// WritesBetween is what n of something have written between two looks.
func WritesBetween(before, after []Stream, n int) Writes {
	var all Writes
	for i, s := range after {
		if d := s.last - before[i].last; d > 0 {
			all = append(all, Write{s.what, float64(d) / float64(n), s.size, s.kept})
		}
	}
	return all
}

// Total is how many there are.
func (all Writes) Total() (n float64) {
	for _, w := range all {
		n += w.each
	}
	return math.Round(100*n) / 100
}

func (all Writes) String() string {
	var words []string
	for _, w := range all {
		words = append(words, fmt.Sprintf("%s %s", report.Number(w.each), w.what))
	}
	return strings.Join(words, ", ")
}

// BareWrites makes the same writes n times, or as often as can be begun in time, one after another for each and as many at
// once as there are requesters, with no broker.
func (w *World) BareWrites(ctx context.Context, within time.Duration, writes Writes, n, atOnce int) (timing.Run, error) {
	type target struct {
		subject string
		times   int
		body    []byte
	}
	var targets []target
	for _, x := range writes {
		name := "BENCH_" + strings.ToUpper(x.what)
		subject := "bench." + x.what
		_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject + ".>"}, MaxMsgsPerSubject: x.kept})
		if err != nil {
			return timing.Run{}, err
		}
		defer func() { _ = w.JS.DeleteStream(context.WithoutCancel(ctx), name) }() // it goes with the store anyway
		targets = append(targets, target{subject, max(1, int(math.Round(x.each))), bytes.Repeat([]byte("x"), max(1, x.bytes))})
	}
	return timing.RepeatWithin(ctx, within, n, atOnce, func(ctx context.Context, i int) error {
		for _, t := range targets {
			for range t.times {
				if _, err := w.JS.Publish(ctx, fmt.Sprintf("%s.alice.demo.%d", t.subject, i), t.body); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
