package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// killBroker kills a broker.
func (c *Chaos) killBroker(ctx context.Context) {
	b := c.w.Brokers[c.random.IntN(world.Brokers)]
	c.fault(ctx, b.Name, verdict.BrokersKilled, c.between(200*time.Millisecond, min(4*time.Second, c.duration/6)), b.Kill, func() { _ = b.Start() })
}

// killBrokers kills all brokers.
func (c *Chaos) killBrokers(ctx context.Context) {
	d := c.between(time.Second, 5*time.Second)
	for _, b := range c.w.Brokers {
		c.fault(ctx, b.Name, verdict.BrokersKilled, d, b.Kill, func() { _ = b.Start() })
	}
}

// killNode kills a NATS server. Only one at a time has this fault, so the others are a
// majority.
func (c *Chaos) killNode(ctx context.Context) {
	n := c.w.Nodes[c.random.IntN(world.Nodes)]
	c.fault(ctx, "NATS", verdict.NodesKilled, c.between(500*time.Millisecond, 6*time.Second), n.Kill, func() { _ = n.Start() })
}

// loseQuorum kills two NATS servers, so that nothing can be written.
func (c *Chaos) loseQuorum(ctx context.Context) {
	i := c.random.IntN(world.Nodes)
	one, two := c.w.Nodes[i], c.w.Nodes[(i+1)%world.Nodes]
	c.fault(ctx, "NATS", verdict.NodesKilled, c.between(500*time.Millisecond, 3*time.Second),
		func() int { c.tally.Fault("majorities of NATS servers killed", 1); return one.Kill() + two.Kill() },
		func() { _ = one.Start(); _ = two.Start() })
}

// cutConnections closes the connections of a broker to NATS, and new ones.
func (c *Chaos) cutConnections(ctx context.Context) {
	b := c.random.IntN(world.Brokers)
	c.disturbConnections(ctx, b, "connections cut", c.between(100*time.Millisecond, 6*time.Second), (*world.Proxy).Cut)
}

// stallConnections holds back the data between a broker and NATS in one direction or both.
// Neither side is notified.
func (c *Chaos) stallConnections(ctx context.Context) {
	b, direction := c.random.IntN(world.Brokers), c.random.IntN(3)
	c.disturbConnections(ctx, b, "connections stalled", c.between(500*time.Millisecond, 12*time.Second), func(p *world.Proxy) {
		p.StallToServer.Store(direction != 0)
		p.StallToBroker.Store(direction != 1)
	})
}

// slowConnections delays the data between a broker and NATS.
func (c *Chaos) slowConnections(ctx context.Context) {
	b, delay := c.random.IntN(world.Brokers), c.between(20*time.Millisecond, 300*time.Millisecond)
	c.disturbConnections(ctx, b, "connections slow", c.between(time.Second, 6*time.Second), func(p *world.Proxy) { p.Delay.Store(int64(delay)) })
}

func (c *Chaos) disturbConnections(ctx context.Context, broker int, what string, d time.Duration, disturb func(*world.Proxy)) {
	c.fault(ctx, fmt.Sprintf("connections of broker %d", broker+1), what, d, func() int {
		for _, p := range c.w.Proxies[broker] {
			disturb(p)
		}
		return 1
	}, func() {
		for _, p := range c.w.Proxies[broker] {
			p.Heal()
		}
	})
}

// disturbAWS sets faults of AWS, of one kind or of all.
func (c *Chaos) disturbAWS(ctx context.Context) {
	kinds := []struct {
		what   string
		faults iamsim.Faults
	}{
		{"AWS throttling", iamsim.Faults{Rate: 4 + 20*c.random.Float64(), Burst: 5}},
		{"AWS failing half of the time", iamsim.Faults{InternalError: 0.5}},
		{"AWS down", iamsim.Faults{InternalError: 1}},
		{"AWS dropping answers", iamsim.Faults{DropAnswer: 0.3}},
		{"AWS with empty answers", iamsim.Faults{EmptyBody: 0.2}},
		{"AWS slow", iamsim.Faults{Latency: c.between(100*time.Millisecond, 1500*time.Millisecond)}},
		{"AWS showing keys late", iamsim.Faults{VisibleAfter: c.between(time.Second, 4*time.Second), DeletedVisibleFor: time.Second}},
		{"AWS showing users late", iamsim.Faults{UserVisibleAfter: c.between(200*time.Millisecond, 2*time.Second)}},
		{"AWS with concurrent modifications", iamsim.Faults{ConcurrentModification: 0.4}},
		{"AWS with all faults", iamsim.Faults{
			Rate: 30, Burst: 10, InternalError: 0.1, DropAnswer: 0.1, EmptyBody: 0.05, ConcurrentModification: 0.1,
			VisibleAfter: time.Second, UserVisibleAfter: 200 * time.Millisecond,
		}},
	}
	k := kinds[c.random.IntN(len(kinds))]
	k.faults.Latency = max(k.faults.Latency, world.NoFaults.Latency)
	c.fault(ctx, "AWS", k.what, c.between(time.Second, 6*time.Second),
		func() int {
			if c.w.Control.SetFaults(context.WithoutCancel(ctx), k.faults) != nil {
				return 0
			}
			return 1
		},
		func() { _ = c.w.Control.SetFaults(context.WithoutCancel(ctx), world.NoFaults) })
}
