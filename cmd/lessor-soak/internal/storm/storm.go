package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages/retry"
)

// Storm is what goes wrong, one thing after another and some at once.
type Storm struct {
	w      *world.World
	tally  *verdict.Tally
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

func New(w *world.World, t *verdict.Tally, seed uint64, d time.Duration) *Storm {
	return &Storm{w: w, tally: t, d: d, random: rand.New(rand.NewPCG(seed, 0)), busy: map[string]bool{}, last: map[string]time.Time{}}
}

// Run breaks things until the context ends, and returns when all that broke is
// due to be healed.
func (s *Storm) Run(ctx context.Context) {
	var err error
	if s.log, err = os.Create(filepath.Join(s.w.Dir, "storm.log")); err == nil {
		defer func() { _ = s.log.Close() }()
	}
	kinds := []func(context.Context){s.cutLines, s.cutLines, s.cutLines, s.stallLines, s.slowLines, s.badAWS, s.badAWS, s.badAWS, s.badAWS, s.badAWS}
	if s.d >= world.Short { // in a short one what is due is enough
		kinds = append(kinds, s.killBroker, s.killBroker, s.killNode, s.killNode, s.stallLines, s.killBrokers, s.loseQuorum, s.badAWS)
	}
	for began := time.Now(); ctx.Err() == nil; {
		_ = retry.Sleep(ctx, s.between(200*time.Millisecond, min(3*time.Second, s.d/6))) // the loop looks at ctx
		next := kinds[s.random.IntN(len(kinds))]
		for _, due := range s.due() {
			once := s.d < world.Short && s.since(due.what, time.Time{}) < s.d
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
func (s *Storm) due() []overdueKind {
	broker, nats, aws := brokerLives, natsLives, awsIsWell
	if s.d < world.Short {
		broker, nats, aws = s.d*3/4, s.d/10, s.d/3
	}
	return []overdueKind{{"broker", broker, s.killBroker}, {"NATS", nats, s.killNode}, {"AWS", aws, s.badAWS}}
}

// since is how long nothing of a kind has been broken.
func (s *Storm) since(kind string, began time.Time) time.Duration {
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

func (s *Storm) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(s.random.Int64N(max(1, int64(longest-shortest))))
}

// during breaks something for a time, unless it is broken already. What breaks it
// says how many were broken.
func (s *Storm) during(ctx context.Context, what, counted string, d time.Duration, broken func() int, healed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[what] {
		return
	}
	s.busy[what], s.last[what] = true, time.Now()
	s.note("%s: %s for %s", what, counted, d.Round(time.Millisecond))
	s.all.Go(func() {
		s.tally.Broke(counted, broken())
		_ = retry.Sleep(ctx, d) // what is broken is healed, whether the time is over or the test
		healed()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, what)
		s.note("%s: over", what)
	})
}

// note writes to the storm's log; whoever calls holds mu.
func (s *Storm) note(format string, args ...any) {
	if s.log != nil {
		_, _ = fmt.Fprintf(s.log, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}
