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

// maxPublishing is the bound of the time until the reminders of all leases that are due in
// the same second are published.
const maxPublishing = 5 * time.Second

// measureDue measures how the scheduler publishes the reminders of many leases that are
// due in the same second.
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
	const ttl = 2 * time.Hour
	if err := b.fill(ctx, w, b.Due, time.Now().Add(ttl)); err != nil {
		return err
	}
	b.show("the broker reads them")
	if err := poll.Until(ctx, world.Poll, func() (bool, error) { return w.Broker.Scheduler.Leases() >= b.Due, nil }); err != nil {
		return err
	}
	floor, err := w.BareReminders(ctx, b.Due)
	if err != nil {
		return err
	}
	lags, err := b.expireAll(ctx, w, ttl)
	if err != nil {
		return err
	}
	const bare = "publishing as many, no broker"
	last := lags.Quantile(1)
	b.add(report.Figure{Name: "published", What: fmt.Sprintf("until the reminders of %d leases are published", b.Due), Value: timing.Milliseconds(last), Unit: "ms"}.
		WithFloor(timing.Milliseconds(floor.Took), bare).WithBound(report.AtMost(timing.Milliseconds(maxPublishing)).If(b.Due <= DefaultLeases)))
	b.add(timeFigures(lags, "lag", "lag of the reminders", nil, report.Bound{})...)
	b.add(report.Figure{Name: "published_rate", What: "reminders published", Value: float64(b.Due) / last.Seconds(), Unit: "/s"}.
		WithFloor(floor.Rate(), bare))
	return nil
}

// expireAll advances the broker's clock by the TTL of the leases and waits until there is a
// reminder for each of them. The workers process them meanwhile.
func (b *bench) expireAll(ctx context.Context, w *world.World, ttl time.Duration) (timing.Run, error) {
	b.show("%d leases are due", b.Due)
	nc, err := w.Options.Connect(nats.Name("lessor bench listener"))
	if err != nil {
		return timing.Run{}, err
	}
	defer nc.Close()
	l := lagRecorder{seen: make(map[string]struct{}, b.Due), want: b.Due, complete: make(chan struct{})}
	sub, err := nc.Subscribe(w.NS.VerbFilter(messages.VerbRevoke), l.record)
	if err != nil {
		return timing.Run{}, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return timing.Run{}, err
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return timing.Run{}, err
	}
	l.begin = time.Now()
	w.Ahead.Store(int64(ttl))
	select {
	case <-l.complete:
		return timing.Run{Took: time.Since(l.begin), Each: l.lags}, nil
	case <-ctx.Done():
		return timing.Run{}, fmt.Errorf("%d of %d reminders: %w", l.count(), b.Due, ctx.Err())
	}
}

// lagRecorder records when the first message on each subject arrives.
type lagRecorder struct {
	begin    time.Time
	want     int           // subjects
	complete chan struct{} // closed when that many have a message

	mu   sync.Mutex
	seen map[string]struct{} // the subjects
	lags []time.Duration
}

func (l *lagRecorder) record(m *nats.Msg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, again := l.seen[m.Subject]; again {
		return
	}
	l.seen[m.Subject] = struct{}{}
	if l.lags = append(l.lags, time.Since(l.begin)); len(l.lags) == l.want {
		close(l.complete)
	}
}

func (l *lagRecorder) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lags)
}
