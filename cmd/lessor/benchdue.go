package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// mostPublishing is how long it may take until all messages are out that revoke leases
// which fall due in the same second.
const mostPublishing = 5 * time.Second

// measureDue has many leases fall due at once.
func (b *bench) measureDue(ctx context.Context) error {
	node, err := b.startNode(ctx)
	if err != nil {
		return err
	}
	defer node.close()
	w, err := b.world(ctx, benchNeeds{connect: node.connect})
	if err != nil {
		return err
	}
	defer w.close()
	const in = 2 * time.Hour
	if err := b.fill(ctx, w, b.due, time.Now().Add(in)); err != nil {
		return err
	}
	b.tell("the broker learns of them")
	if err := benchUntil(ctx, func() (bool, error) { return w.broker.schedule.Leases() >= b.due, nil }); err != nil {
		return err
	}
	floor, err := w.bareReminders(ctx, b.due)
	if err != nil {
		return err
	}
	lags, err := b.fallDue(ctx, w, in)
	if err != nil {
		return err
	}
	const bare = "publishing as many, no broker"
	last := lags.at(1)
	lag := lags.times("lag", "lag of the messages", nil, benchBound{})
	b.add(
		benchFigure{Name: "published", What: fmt.Sprintf("until all messages that revoke %d leases are out", b.due), Value: milliseconds(last), Unit: "ms"}.
			beside(milliseconds(floor.took), bare).within(atMost(milliseconds(mostPublishing)).only(b.due <= benchMany)),
		lag[0], lag[1],
		benchFigure{Name: "published_rate", What: "messages", Value: float64(b.due) / last.Seconds(), Unit: "/s"}.
			beside(floor.rate(), bare),
	)
	return nil
}

// fallDue moves the broker's clock and listens until there is a message for each lease.
// The workers are at it meanwhile.
func (b *bench) fallDue(ctx context.Context, w *benchWorld, in time.Duration) (benchRun, error) {
	b.tell("%d leases are due", b.due)
	nc, err := w.options.connect(nats.Name("lessor bench listener"))
	if err != nil {
		return benchRun{}, err
	}
	defer nc.Close()
	h := benchHearing{seen: make(map[string]struct{}, b.due), want: b.due, all: make(chan struct{})}
	sub, err := nc.Subscribe(w.ns.VerbFilter(messages.VerbRevoke), h.hear)
	if err != nil {
		return benchRun{}, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return benchRun{}, err
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return benchRun{}, err
	}
	h.begun = time.Now()
	w.ahead.Store(int64(in))
	select {
	case <-h.all:
		return benchRun{took: time.Since(h.begun), each: h.lags}, nil
	case <-ctx.Done():
		return benchRun{}, fmt.Errorf("%d of %d messages: %w", h.count(), b.due, ctx.Err())
	}
}

// benchHearing notes when the first message of each subject comes.
type benchHearing struct {
	begun time.Time
	want  int
	all   chan struct{}

	mu   sync.Mutex
	seen map[string]struct{}
	lags []time.Duration
}

func (h *benchHearing) hear(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.seen[m.Subject]; again {
		return
	}
	h.seen[m.Subject] = struct{}{}
	if h.lags = append(h.lags, time.Since(h.begun)); len(h.lags) == h.want {
		close(h.all)
	}
}

func (h *benchHearing) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.lags)
}

// bareReminders publishes as many messages as there are leases due, to a stream like
// that of the revocations.
func (w *benchWorld) bareReminders(ctx context.Context, n int) (benchRun, error) {
	const name = "BENCH_DUE"
	_, err := w.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{"bench.due.>"}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1,
	})
	if err != nil {
		return benchRun{}, err
	}
	defer func() { _ = w.js.DeleteStream(context.WithoutCancel(ctx), name) }() // it goes with the store anyway
	js, err := jetstream.New(w.nc, jetstream.WithPublishAsyncMaxPending(maxFilling))
	if err != nil {
		return benchRun{}, err
	}
	due := time.Now().UTC().Format(time.RFC3339)
	begun := time.Now()
	for i := range n {
		m := nats.NewMsg(fmt.Sprintf("bench.due.team-%03d.demo.%026d", i%1000, i))
		m.Header.Set(messages.HeaderDue, due)
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(maxStall)); err != nil {
			return benchRun{}, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return benchRun{took: time.Since(begun), many: n}, nil
	case <-ctx.Done():
		return benchRun{}, ctx.Err()
	}
}
