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

// Stream is the state of a stream that a lease is written to.
type Stream struct {
	kind          string // what a message of it is, such as "record"
	lastSequence  uint64
	messageSize   int   // bytes, on average
	maxPerSubject int64 // messages that the stream keeps of a subject; 0: all
}

// queueMessageSize is the size of a message on a work queue, with its headers, in bytes.
const queueMessageSize = 250

// Streams returns the state of the streams that a lease is written to.
func (w *World) Streams(ctx context.Context) ([]Stream, error) {
	streams := []struct {
		name, kind string
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
		info := stream.CachedInfo()
		one := Stream{
			kind: s.kind, lastSequence: info.State.LastSeq, messageSize: queueMessageSize,
			maxPerSubject: max(0, info.Config.MaxMsgsPerSubject),
		}
		if info.State.Msgs > 0 && !s.queue {
			one.messageSize = int(info.State.Bytes / info.State.Msgs)
		}
		all = append(all, one)
	}
	return all, nil
}

// Writes is what one operation, such as issuing a lease, writes to JetStream.
type Writes []Write

// Write is what one operation writes to one stream.
type Write struct {
	kind          string  // what a message is
	messages      float64 // of one operation, on average
	messageSize   int     // bytes
	maxPerSubject int64   // messages that the stream keeps of a subject; 0: all
}

// WritesBetween returns what each of n operations has written between two states of the
// streams.
func WritesBetween(before, after []Stream, n int) Writes {
	var all Writes
	for i, s := range after {
		if d := s.lastSequence - before[i].lastSequence; d > 0 {
			all = append(all, Write{s.kind, float64(d) / float64(n), s.messageSize, s.maxPerSubject})
		}
	}
	return all
}

// Total returns the number of messages that one operation writes.
func (all Writes) Total() (n float64) {
	for _, w := range all {
		n += w.messages
	}
	return math.Round(100*n) / 100
}

// String returns the writes in words, such as "1 request, 3 record, 1 event".
func (all Writes) String() string {
	var words []string
	for _, w := range all {
		words = append(words, fmt.Sprintf("%s %s", report.Number(w.messages), w.kind))
	}
	return strings.Join(words, ", ")
}

// BareWrites makes the writes of n operations without a broker, atOnce operations at a
// time; the writes of one operation follow one another. After the time limit it starts no
// more operations; 0 is no limit.
func (w *World) BareWrites(ctx context.Context, limit time.Duration, writes Writes, n, atOnce int) (timing.Run, error) {
	type target struct {
		subject string
		times   int
		body    []byte
	}
	var targets []target
	for _, x := range writes {
		name := "BENCH_" + strings.ToUpper(x.kind)
		subject := "bench." + x.kind
		_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject + ".>"}, MaxMsgsPerSubject: x.maxPerSubject})
		if err != nil {
			return timing.Run{}, err
		}
		defer func() { _ = w.JS.DeleteStream(context.WithoutCancel(ctx), name) }() // the whole store is removed later
		targets = append(targets, target{subject, max(1, int(math.Round(x.messages))), bytes.Repeat([]byte("x"), max(1, x.messageSize))})
	}
	return timing.RepeatWithin(ctx, limit, n, atOnce, func(ctx context.Context, i int) error {
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
