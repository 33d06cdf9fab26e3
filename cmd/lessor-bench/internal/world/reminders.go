package world

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/messages"
)

// BareReminders publishes n reminders to a stream that is configured like that of the
// revocations, without a broker.
func (w *World) BareReminders(ctx context.Context, n int) (timing.Run, error) {
	const name = "BENCH_DUE"
	_, err := w.JS.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{"bench.due.>"}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1,
	})
	if err != nil {
		return timing.Run{}, err
	}
	defer func() { _ = w.JS.DeleteStream(context.WithoutCancel(ctx), name) }() // the whole store is removed later
	js, err := jetstream.New(w.Conn, jetstream.WithPublishAsyncMaxPending(maxPending))
	if err != nil {
		return timing.Run{}, err
	}
	due := time.Now().UTC().Format(time.RFC3339)
	begin := time.Now()
	for i := range n {
		m := nats.NewMsg(fmt.Sprintf("bench.due.team-%03d.demo.%026d", i%1000, i))
		m.Header.Set(messages.HeaderDue, due)
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(maxStall)); err != nil {
			return timing.Run{}, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return timing.Run{Took: time.Since(begin), Untimed: n}, nil
	case <-ctx.Done():
		return timing.Run{}, ctx.Err()
	}
}
