package world

import (
	"strings"
	"sync"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// Calls counts the calls to AWS.
type Calls struct {
	mu     sync.Mutex
	counts map[string]int // by action
	made   map[string]int // those that AWS carried out
}

func newCalls() *Calls {
	return &Calls{counts: map[string]int{}, made: map[string]int{}}
}

func (c *Calls) called(action string, result awsiam.CallResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[action]++
	if result == awsiam.ResultOK {
		c.made[action]++
	}
}

// Take returns the numbers of calls to IAM, of those among them that list or look,
// and of calls to STS, and forgets them.
func (c *Calls) Take() (iam, looks, sts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for action, n := range c.counts {
		switch {
		case strings.HasPrefix(action, "Assume") || action == "GetCallerIdentity":
			sts += n
			continue
		case strings.HasPrefix(action, "List") || strings.HasPrefix(action, "Get"):
			looks += n
		}
		iam += n
	}
	c.counts = map[string]int{}
	return iam, looks, sts
}

// CarriedOut is how often AWS has done something.
func (c *Calls) CarriedOut(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made[action]
}

// SimulatedCalls is how many calls AWS has seen, as far as it is simulated.
func (w *World) SimulatedCalls() int {
	if w.Sim == nil {
		return 0
	}
	return len(w.Sim.Calls())
}

// lateness is a broker's meter that hears how late expired leases ended.
type lateness struct {
	*broker.Metrics
	Lags chan time.Duration
}

func newLateness() *lateness {
	return &lateness{Metrics: broker.NewMetrics(cli.Version()), Lags: make(chan time.Duration, 1000)}
}

// Expired is described at [consumer.Meter].
func (l *lateness) Expired(late time.Duration) {
	l.Metrics.Expired(late)
	select {
	case l.Lags <- late:
	default: // nobody waits for so many
	}
}
