package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
)

// leastReplicas is how many times as much several replicas issue as one does.
const leastReplicas = 1.5

// measureReplicas compares several brokers with one, on a cluster. They are in one
// process, on one machine: so that there is something to gain, each has fewer workers
// than there are requesters, and AWS takes its time.
func (b *bench) measureReplicas(ctx context.Context) error {
	connect, leave, err := b.startNodes(ctx)
	if err != nil {
		return err
	}
	defer leave()
	at := 0
	workers := max(1, b.requesters/(2*b.replicas))
	w, err := b.world(ctx, benchNeeds{
		latency: b.latency, leases: b.leases,
		connect: func(o ...nats.Option) (*nats.Conn, error) { return connect(at%b.nodes, o...) },
		settings: func(c *consumer.Config) {
			c.Replicas, c.Workers = b.nodes, consumer.Workers{Request: workers, Revoke: workers}
		},
	})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.warm(ctx); err != nil {
		return err
	}
	b.tell("one broker")
	one, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	for at = 1; at < b.replicas; at++ {
		if _, err := w.addBroker(ctx, w.options); err != nil {
			return err
		}
	}
	b.tell("%d brokers", b.replicas)
	all, err := b.replicaRound(ctx, w)
	if err != nil {
		return err
	}
	b.replicaFigures(workers, one, all)
	doubled := w.calls.carriedOut("CreateUser") - len(one.issue.each) - len(all.issue.each) - 1
	b.add(benchFigure{Name: "doubled", What: "users made for no lease, or for one that had one", Value: float64(doubled)}.within(exactly(0)))
	return nil
}

// startNodes starts the NATS servers under the replicas.
func (b *bench) startNodes(ctx context.Context) (connect func(node int, o ...nats.Option) (*nats.Conn, error), leave func(), err error) {
	if b.nodes == 1 {
		node, err := b.startNode(ctx)
		if err != nil {
			return nil, nil, err
		}
		return func(_ int, o ...nats.Option) (*nats.Conn, error) { return node.connect(o...) }, node.close, nil
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // in the folder for temporary files
	cluster, err := embedded.StartCluster(b.nodes, dir, embedded.ClusterOptions{Durable: b.durable})
	if err != nil {
		remove()
		return nil, nil, err
	}
	return cluster.Connect, func() { cluster.Close(); remove() }, nil
}

// benchReplicas is what so many brokers did.
type benchReplicas struct{ issue, revoke benchRun }

func (b *bench) replicaRound(ctx context.Context, w *benchWorld) (r benchReplicas, err error) {
	leases, issue, err := w.issueMany(ctx, benchRounds*b.within, b.leases, b.requesters, w.hard, "{}")
	if err != nil {
		return r, err
	}
	if err := w.quiet(ctx); err != nil {
		return r, err
	}
	revoke, err := w.revokeMany(ctx, leases, b.requesters)
	if err != nil {
		return r, err
	}
	return benchReplicas{issue, revoke}, w.quiet(ctx)
}

func (b *bench) replicaFigures(workers int, one, all benchReplicas) {
	what := fmt.Sprintf("by %d brokers with %d workers each, on %d NATS servers", b.replicas, workers, b.nodes)
	b.add(
		benchFigure{Name: "issue", What: "leases issued " + what, Value: all.issue.rate(), Unit: "/s"}.
			beside(one.issue.rate(), "one of them").within(ratioAtLeast(leastReplicas).only(b.latency > 0)),
		benchFigure{Name: "revoke", What: "leases revoked", Value: all.revoke.rate(), Unit: "/s"}.
			beside(one.revoke.rate(), "one of them").within(ratioAtLeast(leastReplicas).only(b.latency > 0)),
	)
}
