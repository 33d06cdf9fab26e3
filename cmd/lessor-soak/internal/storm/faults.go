package storm

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func (s *Storm) killBroker(ctx context.Context) {
	b := s.w.Brokers[s.random.IntN(world.Brokers)]
	s.during(ctx, b.Name, verdict.BrokersKilled, s.between(200*time.Millisecond, min(4*time.Second, s.d/6)), b.Kill, func() { _ = b.Start() })
}

// killBrokers leaves nobody to serve for a moment.
func (s *Storm) killBrokers(ctx context.Context) {
	d := s.between(time.Second, 5*time.Second)
	for _, b := range s.w.Brokers {
		s.during(ctx, b.Name, verdict.BrokersKilled, d, b.Kill, func() { _ = b.Start() })
	}
}

// killNode kills a NATS server. Of those there is one at a time, for the others
// are still a majority.
func (s *Storm) killNode(ctx context.Context) {
	n := s.w.Nodes[s.random.IntN(world.Nodes)]
	s.during(ctx, "NATS", verdict.NodesKilled, s.between(500*time.Millisecond, 6*time.Second), n.Kill, func() { _ = n.Start() })
}

// loseQuorum kills two NATS servers: nothing can be written for a while.
func (s *Storm) loseQuorum(ctx context.Context) {
	i := s.random.IntN(world.Nodes)
	one, two := s.w.Nodes[i], s.w.Nodes[(i+1)%world.Nodes]
	s.during(ctx, "NATS", verdict.NodesKilled, s.between(500*time.Millisecond, 3*time.Second),
		func() int { s.tally.Broke("majorities of NATS servers killed", 1); return one.Kill() + two.Kill() }, func() { _ = one.Start(); _ = two.Start() })
}

// cutLines parts a broker from NATS.
func (s *Storm) cutLines(ctx context.Context) {
	b := s.random.IntN(world.Brokers)
	s.onLines(ctx, b, "lines cut", s.between(100*time.Millisecond, 6*time.Second), (*world.Proxy).Sever)
}

// stallLines has nothing get through, one way or both ways, and nobody told.
func (s *Storm) stallLines(ctx context.Context) {
	b, way := s.random.IntN(world.Brokers), s.random.IntN(3)
	s.onLines(ctx, b, "lines stalled", s.between(500*time.Millisecond, 12*time.Second), func(p *world.Proxy) {
		p.Up.Store(way != 0)
		p.Down.Store(way != 1)
	})
}

func (s *Storm) slowLines(ctx context.Context) {
	b, delay := s.random.IntN(world.Brokers), s.between(20*time.Millisecond, 300*time.Millisecond)
	s.onLines(ctx, b, "lines slow", s.between(time.Second, 6*time.Second), func(p *world.Proxy) { p.Delay.Store(int64(delay)) })
}

func (s *Storm) onLines(ctx context.Context, broker int, counted string, d time.Duration, how func(*world.Proxy)) {
	s.during(ctx, fmt.Sprintf("lines of broker %d", broker+1), counted, d, func() int {
		for _, p := range s.w.Lines[broker] {
			how(p)
		}
		return 1
	}, func() {
		for _, p := range s.w.Lines[broker] {
			p.Mend()
		}
	})
}

// badAWS has AWS misbehave in one way, or in all.
func (s *Storm) badAWS(ctx context.Context) {
	kinds := []struct {
		counted string
		faults  iamsim.Faults
	}{
		{"AWS throttling", iamsim.Faults{Rate: 4 + 20*s.random.Float64(), Burst: 5}},
		{"AWS failing half of the time", iamsim.Faults{InternalError: 0.5}},
		{"AWS down", iamsim.Faults{InternalError: 1}},
		{"AWS dropping answers", iamsim.Faults{DropAnswer: 0.3}},
		{"AWS answering nothing", iamsim.Faults{EmptyBody: 0.2}},
		{"AWS slow", iamsim.Faults{Latency: s.between(100*time.Millisecond, 1500*time.Millisecond)}},
		{"AWS showing keys late", iamsim.Faults{VisibleAfter: s.between(time.Second, 4*time.Second), DeletedVisibleFor: time.Second}},
		{"AWS showing users late", iamsim.Faults{UserVisibleAfter: s.between(200*time.Millisecond, 2*time.Second)}},
		{"AWS changing things at once", iamsim.Faults{ConcurrentModification: 0.4}},
		{"AWS bad in every way", iamsim.Faults{
			Rate: 30, Burst: 10, InternalError: 0.1, DropAnswer: 0.1, EmptyBody: 0.05, ConcurrentModification: 0.1,
			VisibleAfter: time.Second, UserVisibleAfter: 200 * time.Millisecond,
		}},
	}
	k := kinds[s.random.IntN(len(kinds))]
	k.faults.Latency = max(k.faults.Latency, world.Calm.Latency)
	s.during(ctx, "AWS", k.counted, s.between(time.Second, 6*time.Second),
		func() int {
			if s.w.Control.Faults(context.WithoutCancel(ctx), k.faults) != nil {
				return 0
			}
			return 1
		},
		func() { _ = s.w.Control.Faults(context.WithoutCancel(ctx), world.Calm) })
}
