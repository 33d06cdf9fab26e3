package measure

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
	"github.com/lessorhq/lessor/messages"
)

// mostPublishing is how long it may take until all messages are out that revoke leases
// which fall due in the same second.
const mostPublishing = 5 * time.Second

// measureDue has many leases fall due at once.
func (b *bench) measureDue(ctx context.Context) error {
	node, err := world.StartNode(ctx, b.Durable)
	if err != nil {
		return err
	}
	defer node.Close()
	w, err := b.world(ctx, world.Config{Connect: node.Connect})
	if err != nil {
		return err
	}
	defer w.Close()
	const in = 2 * time.Hour
	if err := b.fill(ctx, w, b.Due, time.Now().Add(in)); err != nil {
		return err
	}
	b.tell("the broker learns of them")
	if err := poll.Until(ctx, world.Poll, func() (bool, error) { return w.Broker.Scheduler.Leases() >= b.Due, nil }); err != nil {
		return err
	}
	floor, err := w.BareReminders(ctx, b.Due)
	if err != nil {
		return err
	}
	lags, err := b.fallDue(ctx, w, in)
	if err != nil {
		return err
	}
	const bare = "publishing as many, no broker"
	last := lags.Quantile(1)
	lag := times(lags, "lag", "lag of the messages", nil, report.Bound{})
	b.add(
		report.Figure{Name: "published", What: fmt.Sprintf("until all messages that revoke %d leases are out", b.Due), Value: timing.Milliseconds(last), Unit: "ms"}.
			WithFloor(timing.Milliseconds(floor.Took), bare).WithBound(report.AtMost(timing.Milliseconds(mostPublishing)).If(b.Due <= DefaultLeases)),
		lag[0], lag[1],
		report.Figure{Name: "published_rate", What: "messages", Value: float64(b.Due) / last.Seconds(), Unit: "/s"}.
			WithFloor(floor.Rate(), bare),
	)
	return nil
}

// fallDue moves the broker's clock and listens until there is a message for each lease.
// The workers are at it meanwhile.
func (b *bench) fallDue(ctx context.Context, w *world.World, in time.Duration) (timing.Run, error) {
	b.tell("%d leases are due", b.Due)
	nc, err := w.Options.Connect(nats.Name("lessor bench listener"))
	if err != nil {
		return timing.Run{}, err
	}
	defer nc.Close()
	h := listener{seen: make(map[string]struct{}, b.Due), want: b.Due, all: make(chan struct{})}
	sub, err := nc.Subscribe(w.NS.VerbFilter(messages.VerbRevoke), h.hear)
	if err != nil {
		return timing.Run{}, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return timing.Run{}, err
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return timing.Run{}, err
	}
	h.begun = time.Now()
	w.Ahead.Store(int64(in))
	select {
	case <-h.all:
		return timing.Run{Took: time.Since(h.begun), Each: h.lags}, nil
	case <-ctx.Done():
		return timing.Run{}, fmt.Errorf("%d of %d messages: %w", h.count(), b.Due, ctx.Err())
	}
}

// listener notes when the first message of each subject comes.
type listener struct {
	begun time.Time
	want  int
	all   chan struct{}

	mu   sync.Mutex
	seen map[string]struct{}
	lags []time.Duration
}

func (h *listener) hear(m *nats.Msg) {
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

func (h *listener) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.lags)
}
