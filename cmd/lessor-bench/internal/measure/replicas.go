package measure

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
	"github.com/lessorhq/lessor/consumer"
)

// leastReplicas is how many times as much several replicas issue as one does.
const leastReplicas = 1.5

// measureReplicas compares several brokers with one, on a cluster. They are in one
// process, on one machine: so that there is something to gain, each has fewer workers
// than there are requesters, and AWS takes its time.
func (b *bench) measureReplicas(ctx context.Context) error {
	connect, leave, err := world.StartNodes(ctx, b.Nodes, b.Durable)
	if err != nil {
		return err
	}
	defer leave()
	at := 0
	workers := max(1, b.Requesters/(2*b.Replicas))
	w, err := b.world(ctx, world.Config{
		Latency: b.Latency, Leases: b.Leases,
		Connect: func(o ...nats.Option) (*nats.Conn, error) { return connect(at%b.Nodes, o...) },
		Settings: func(c *consumer.Config) {
			c.Streams.Replicas, c.Workers = b.Nodes, consumer.Workers{Request: workers, Revoke: workers}
		},
	})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Warm(ctx); err != nil {
		return err
	}
	b.tell("one broker")
	one, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	for at = 1; at < b.Replicas; at++ {
		if _, err := w.AddBroker(ctx); err != nil {
			return err
		}
	}
	b.tell("%d brokers", b.Replicas)
	all, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	b.replicaFigures(workers, one, all)
	doubled := w.Calls.CarriedOut("CreateUser") - len(one.issue.Each) - len(all.issue.Each) - 1
	b.add(report.Figure{Name: "doubled", What: "users made for no lease, or for one that had one", Value: float64(doubled)}.WithBound(report.Exactly(0)))
	return nil
}

// replicas is what so many brokers did.
type replicas struct{ issue, revoke timing.Run }

func (b *bench) replicaRound(ctx context.Context, w *world.World) (r replicas, err error) {
	leases, issue, err := w.IssueMany(ctx, rounds*b.Within, b.Leases, b.Requesters, w.Hard, "{}")
	if err != nil {
		return r, err
	}
	if err := w.Quiet(ctx); err != nil {
		return r, err
	}
	revoke, err := w.RevokeMany(ctx, leases, b.Requesters)
	if err != nil {
		return r, err
	}
	return replicas{issue, revoke}, w.Quiet(ctx)
}

func (b *bench) replicaFigures(workers int, one, all replicas) {
	what := fmt.Sprintf("by %d brokers with %d workers each, on %d NATS servers", b.Replicas, workers, b.Nodes)
	b.add(
		report.Figure{Name: "issue", What: "leases issued " + what, Value: all.issue.Rate(), Unit: "/s"}.
			WithFloor(one.issue.Rate(), "one of them").WithBound(report.RatioAtLeast(leastReplicas).If(b.Latency > 0)),
		report.Figure{Name: "revoke", What: "leases revoked", Value: all.revoke.Rate(), Unit: "/s"}.
			WithFloor(one.revoke.Rate(), "one of them").WithBound(report.RatioAtLeast(leastReplicas).If(b.Latency > 0)),
	)
}
