package world

import (
	"strings"
	"sync"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// Calls counts the calls of the brokers to AWS.
type Calls struct {
	mu        sync.Mutex
	attempts  map[string]int // by action, since the last Take
	succeeded map[string]int // by action
}

func newCalls() *Calls {
	return &Calls{attempts: map[string]int{}, succeeded: map[string]int{}}
}

// called counts one call.
func (c *Calls) called(action string, result awsiam.CallResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[action]++
	if result == awsiam.ResultOK {
		c.succeeded[action]++
	}
}

// Take returns the number of calls to IAM since the last Take, how many of them were List
// or Get calls, and the number of calls to STS.
func (c *Calls) Take() (iam, lists, sts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for action, n := range c.attempts {
		switch {
		case strings.HasPrefix(action, "Assume") || action == "GetCallerIdentity":
			sts += n
			continue
		case strings.HasPrefix(action, "List") || strings.HasPrefix(action, "Get"):
			lists += n
		}
		iam += n
	}
	c.attempts = map[string]int{}
	return iam, lists, sts
}

// Succeeded returns how many calls of an action have succeeded in total.
func (c *Calls) Succeeded(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.succeeded[action]
}

// SimulatedCalls returns the number of calls that the simulated AWS account has logged,
// or 0 if AWS is not simulated.
func (w *World) SimulatedCalls() int {
	if w.Sim == nil {
		return 0
	}
	return len(w.Sim.Calls())
}

// lagMeter is a meter of a broker that also sends how late each expired lease ended.
type lagMeter struct {
	*broker.Metrics
	lags chan time.Duration
}

func newLagMeter() *lagMeter {
	return &lagMeter{Metrics: broker.NewMetrics(cli.Version()), lags: make(chan time.Duration, 1000)}
}

// Expired implements [consumer.Meter].
func (l *lagMeter) Expired(late time.Duration) {
	l.Metrics.Expired(late)
	select {
	case l.lags <- late:
	default: // more than any part reads
	}
}
