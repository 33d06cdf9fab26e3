// Package chaos causes the faults of a soak test: it kills processes, disturbs
// connections and sets faults of AWS, at random.
package chaos

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

// Chaos causes faults one after another, of which several may last at the same time.
type Chaos struct {
	w        *world.World
	tally    *verdict.Tally
	random   *rand.Rand
	duration time.Duration
	log      *os.File // each fault with its time

	mu     sync.Mutex
	active map[string]bool      // targets that have a fault
	last   map[string]time.Time // when a target had its last fault
	all    sync.WaitGroup       // of the faults
}

// The longest times without a fault of a kind. Whatever the seed, ten minutes have at
// least 40 kills of brokers and 24 of NATS servers. A short test has one of each.
const (
	maxBrokerGap = 12 * time.Second
	maxNodeGap   = 20 * time.Second
	maxAWSGap    = 8 * time.Second
)

// New returns the faults of a test with the given duration. The seed chooses them.
func New(w *world.World, t *verdict.Tally, seed uint64, d time.Duration) *Chaos {
	return &Chaos{w: w, tally: t, duration: d, random: rand.New(rand.NewPCG(seed, 0)), active: map[string]bool{}, last: map[string]time.Time{}}
}

// Run causes faults until the context ends, and returns when each of them has ended.
func (c *Chaos) Run(ctx context.Context) {
	var err error
	if c.log, err = os.Create(filepath.Join(c.w.Dir, "faults.log")); err == nil {
		defer func() { _ = c.log.Close() }()
	}
	faults := []func(context.Context){
		c.cutConnections, c.cutConnections, c.cutConnections, c.stallConnections, c.slowConnections, c.disturbAWS, c.disturbAWS, c.disturbAWS, c.disturbAWS, c.disturbAWS,
	}
	if c.duration >= world.Short { // a short test has only the required kills
		faults = append(faults, c.killBroker, c.killBroker, c.killNode, c.killNode, c.stallConnections, c.killBrokers, c.loseQuorum, c.disturbAWS)
	}
	for begin := time.Now(); ctx.Err() == nil; {
		_ = retry.Sleep(ctx, c.between(200*time.Millisecond, min(3*time.Second, c.duration/6))) // the loop checks ctx
		next := faults[c.random.IntN(len(faults))]
		if r, ok := c.overdue(begin); ok {
			next = r.cause
		}
		if ctx.Err() == nil {
			next(ctx)
		}
	}
	c.all.Wait()
}

// required is a fault that a target must have at least once in each gap.
type required struct {
	target string // the prefix of the targets
	gap    time.Duration
	cause  func(context.Context)
}

// overdue returns a required fault whose gap has passed. In a short test each is required
// once, that of a broker last, because a broker that starts without a leader of NATS takes
// long.
func (c *Chaos) overdue(begin time.Time) (required, bool) {
	brokers, nodes, aws := maxBrokerGap, maxNodeGap, maxAWSGap
	short := c.duration < world.Short
	if short {
		brokers, nodes, aws = c.duration*3/4, c.duration/10, c.duration/3
	}
	for _, r := range []required{{"broker", brokers, c.killBroker}, {"NATS", nodes, c.killNode}, {"AWS", aws, c.disturbAWS}} {
		last := c.lastFault(r.target)
		if short && !last.IsZero() {
			continue
		}
		if last.Before(begin) {
			last = begin
		}
		if time.Since(last) > r.gap {
			return r, true
		}
	}
	return required{}, false
}

// lastFault returns the time of the last fault of the targets with a prefix, or the zero
// time.
func (c *Chaos) lastFault(target string) (last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, at := range c.last {
		if strings.HasPrefix(name, target) && at.After(last) {
			last = at
		}
	}
	return last
}

// between returns a random duration.
func (c *Chaos) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(c.random.Int64N(max(1, int64(longest-shortest))))
}

// fault gives a target a fault for a time, unless it has one. Begin returns how many
// faults are to be counted.
func (c *Chaos) fault(ctx context.Context, target, what string, d time.Duration, begin func() int, end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active[target] {
		return
	}
	c.active[target], c.last[target] = true, time.Now()
	c.logLine("%s: %s for %s", target, what, d.Round(time.Millisecond))
	c.all.Go(func() {
		c.tally.Fault(what, begin())
		_ = retry.Sleep(ctx, d) // the fault ends with the test, too
		end()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.active, target)
		c.logLine("%s: ended", target)
	})
}

// logLine writes a line to the log. The caller holds mu.
func (c *Chaos) logLine(format string, args ...any) {
	if c.log != nil {
		_, _ = fmt.Fprintf(c.log, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}
