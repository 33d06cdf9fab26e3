package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// soakStorm is what goes wrong, one thing after another and some at once.
type soakStorm struct {
	w      *soakWorld
	tally  *soakTally
	random *rand.Rand
	d      time.Duration
	log    *os.File // what was done when, beside the processes' logs

	mu   sync.Mutex
	busy map[string]bool      // what is broken now
	last map[string]time.Time // when what was broken last
	all  sync.WaitGroup
}

// The longest times without what a soak is for: whatever the seed, ten minutes have
// at least 40 kills of brokers and 24 of NATS servers. A short soak has one of each.
const (
	brokerLives = 12 * time.Second
	natsLives   = 20 * time.Second
	awsIsWell   = 8 * time.Second
)

func newSoakStorm(w *soakWorld, t *soakTally, seed uint64, d time.Duration) *soakStorm {
	return &soakStorm{w: w, tally: t, d: d, random: rand.New(rand.NewPCG(seed, 0)), busy: map[string]bool{}, last: map[string]time.Time{}}
}

// run breaks things until the context ends, and returns when all that broke is
// due to be healed.
func (s *soakStorm) run(ctx context.Context) {
	var err error
	if s.log, err = os.Create(filepath.Join(s.w.dir, "storm.log")); err == nil {
		defer func() { _ = s.log.Close() }()
	}
	kinds := []func(context.Context){s.cutLines, s.cutLines, s.cutLines, s.stallLines, s.slowLines, s.badAWS, s.badAWS, s.badAWS, s.badAWS, s.badAWS}
	if s.d >= soakShort { // in a short one what is due is enough
		kinds = append(kinds, s.killBroker, s.killBroker, s.killNode, s.killNode, s.stallLines, s.killBrokers, s.loseQuorum, s.badAWS)
	}
	for began := time.Now(); ctx.Err() == nil; {
		soakSleep(ctx, s.between(200*time.Millisecond, min(3*time.Second, s.d/6)))
		next := kinds[s.random.IntN(len(kinds))]
		for _, due := range s.due() {
			once := s.d < soakShort && s.since(due.what, time.Time{}) < s.d
			if !once && s.since(due.what, began) > due.gap {
				next = due.do
				break
			}
		}
		if ctx.Err() == nil {
			next(ctx)
		}
	}
	s.all.Wait()
}

// overdueKind is what must be broken where nothing of it has been for so long.
type overdueKind struct {
	what string
	gap  time.Duration
	do   func(context.Context)
}

// due is what must be broken at last. In a short soak that is once each, and the
// broker last: one that starts while NATS has no leader takes its time.
func (s *soakStorm) due() []overdueKind {
	broker, nats, aws := brokerLives, natsLives, awsIsWell
	if s.d < soakShort {
		broker, nats, aws = s.d*3/4, s.d/10, s.d/3
	}
	return []overdueKind{{"broker", broker, s.killBroker}, {"NATS", nats, s.killNode}, {"AWS", aws, s.badAWS}}
}

// since is how long nothing of a kind has been broken.
func (s *soakStorm) since(kind string, began time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := began
	for what, at := range s.last {
		if strings.HasPrefix(what, kind) && at.After(last) {
			last = at
		}
	}
	return time.Since(last)
}

func (s *soakStorm) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(s.random.Int64N(max(1, int64(longest-shortest))))
}

// during breaks something for a time, unless it is broken already. What breaks it
// says how many were broken.
func (s *soakStorm) during(ctx context.Context, what, counted string, d time.Duration, broken func() int, healed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[what] {
		return
	}
	s.busy[what], s.last[what] = true, time.Now()
	s.note("%s: %s for %s", what, counted, d.Round(time.Millisecond))
	s.all.Go(func() {
		s.tally.broke(counted, broken())
		soakSleep(ctx, d)
		healed()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, what)
		s.note("%s: over", what)
	})
}

// note writes to the storm's log; whoever calls holds mu.
func (s *soakStorm) note(format string, args ...any) {
	if s.log != nil {
		_, _ = fmt.Fprintf(s.log, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}

func (s *soakStorm) killBroker(ctx context.Context) {
	b := s.w.brokers[s.random.IntN(soakBrokers)]
	s.during(ctx, b.name, brokersKilled, s.between(200*time.Millisecond, min(4*time.Second, s.d/6)), b.kill, func() { _ = b.start() })
}

// killBrokers leaves nobody to serve for a moment.
func (s *soakStorm) killBrokers(ctx context.Context) {
	d := s.between(time.Second, 5*time.Second)
	for _, b := range s.w.brokers {
		s.during(ctx, b.name, brokersKilled, d, b.kill, func() { _ = b.start() })
	}
}

// killNode kills a NATS server. Of those there is one at a time, for the others
// are still a majority.
func (s *soakStorm) killNode(ctx context.Context) {
	n := s.w.nodes[s.random.IntN(soakNodes)]
	s.during(ctx, "NATS", nodesKilled, s.between(500*time.Millisecond, 6*time.Second), n.kill, func() { _ = n.start() })
}

// loseQuorum kills two NATS servers: nothing can be written for a while.
func (s *soakStorm) loseQuorum(ctx context.Context) {
	i := s.random.IntN(soakNodes)
	one, two := s.w.nodes[i], s.w.nodes[(i+1)%soakNodes]
	s.during(ctx, "NATS", nodesKilled, s.between(500*time.Millisecond, 3*time.Second),
		func() int { s.tally.broke("majorities of NATS servers killed", 1); return one.kill() + two.kill() }, func() { _ = one.start(); _ = two.start() })
}

// cutLines parts a broker from NATS.
func (s *soakStorm) cutLines(ctx context.Context) {
	b := s.random.IntN(soakBrokers)
	s.onLines(ctx, b, "lines cut", s.between(100*time.Millisecond, 6*time.Second), (*soakProxy).sever)
}

// stallLines has nothing get through, one way or both ways, and nobody told.
func (s *soakStorm) stallLines(ctx context.Context) {
	b, way := s.random.IntN(soakBrokers), s.random.IntN(3)
	s.onLines(ctx, b, "lines stalled", s.between(500*time.Millisecond, 12*time.Second), func(p *soakProxy) {
		p.up.Store(way != 0)
		p.down.Store(way != 1)
	})
}

func (s *soakStorm) slowLines(ctx context.Context) {
	b, delay := s.random.IntN(soakBrokers), s.between(20*time.Millisecond, 300*time.Millisecond)
	s.onLines(ctx, b, "lines slow", s.between(time.Second, 6*time.Second), func(p *soakProxy) { p.delay.Store(int64(delay)) })
}

func (s *soakStorm) onLines(ctx context.Context, broker int, counted string, d time.Duration, how func(*soakProxy)) {
	s.during(ctx, fmt.Sprintf("lines of broker %d", broker+1), counted, d, func() int {
		for _, p := range s.w.lines[broker] {
			how(p)
		}
		return 1
	}, func() {
		for _, p := range s.w.lines[broker] {
			p.mend()
		}
	})
}

// badAWS has AWS misbehave in one way, or in all.
func (s *soakStorm) badAWS(ctx context.Context) {
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
	k.faults.Latency = max(k.faults.Latency, soakCalm.Latency)
	s.during(ctx, "AWS", k.counted, s.between(time.Second, 6*time.Second),
		func() int {
			if s.w.control.faults(context.WithoutCancel(ctx), k.faults) != nil {
				return 0
			}
			return 1
		},
		func() { _ = s.w.control.faults(context.WithoutCancel(ctx), soakCalm) })
}

// soakSleep sleeps, or until the context ends.
func soakSleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
