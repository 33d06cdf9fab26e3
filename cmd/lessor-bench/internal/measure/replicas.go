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

// minReplicaRatio is the bound of the rate of several replicas, divided by that of one.
const minReplicaRatio = 1.5

// measureReplicas compares several brokers on a cluster with one. All of them are in this
// process. So that more replicas can be faster, each has fewer workers than there are
// requesters, and AWS has latency.
func (b *bench) measureReplicas(ctx context.Context) error {
	cluster, err := world.StartCluster(ctx, b.Nodes, b.Durable)
	if err != nil {
		return err
	}
	defer cluster.Close()
	replica := 0
	workers := max(1, b.Requesters/(2*b.Replicas))
	w, err := b.world(ctx, world.Config{
		Latency: b.Latency, Leases: b.Leases,
		Connect: func(o ...nats.Option) (*nats.Conn, error) { return cluster.Connect(replica%b.Nodes, o...) },
		Configure: func(c *consumer.Config) {
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
	b.show("one broker")
	one, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	for replica = 1; replica < b.Replicas; replica++ {
		if _, err := w.AddBroker(ctx); err != nil {
			return err
		}
	}
	b.show("%d brokers", b.Replicas)
	all, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	b.addReplicaFigures(workers, one, all)
	surplus := w.Calls.Succeeded("CreateUser") - len(one.issue.Each) - len(all.issue.Each) - 1 // one is that of Warm
	b.add(report.Figure{Name: "doubled", What: "users created beside one for each lease", Value: float64(surplus)}.WithBound(report.Exactly(0)))
	return nil
}

// replicaRun is the leases that a number of brokers issued and revoked.
type replicaRun struct{ issue, revoke timing.Run }

func (b *bench) replicaRound(ctx context.Context, w *world.World) (r replicaRun, err error) {
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
	return replicaRun{issue, revoke}, w.Quiet(ctx)
}

func (b *bench) addReplicaFigures(workers int, one, all replicaRun) {
	what := fmt.Sprintf("by %d brokers with %d workers each, on %d NATS servers", b.Replicas, workers, b.Nodes)
	const floor = "one broker"
	b.add(
		report.Figure{Name: "issue", What: "leases issued " + what, Value: all.issue.Rate(), Unit: "/s"}.
			WithFloor(one.issue.Rate(), floor).WithBound(report.RatioAtLeast(minReplicaRatio).If(b.Latency > 0)),
		report.Figure{Name: "revoke", What: "leases revoked", Value: all.revoke.Rate(), Unit: "/s"}.
			WithFloor(one.revoke.Rate(), floor).WithBound(report.RatioAtLeast(minReplicaRatio).If(b.Latency > 0)),
	)
}
