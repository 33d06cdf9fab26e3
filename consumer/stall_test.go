package consumer_test

import (
	"context"
	"sync"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// stall pauses a whole broker at a call to AWS, as SIGSTOP pauses its process: another
// worker takes over what it was doing, and it goes on when the test wants it to.
type stall struct {
	broker *lessortest.Broker
	keyID  string // that the broker signs with

	line   *lessortest.Line
	paused chan struct{}
	once   sync.Once
	at     func(iamsim.Call) bool
}

// newStall starts a broker that is paused at the first of its calls for which at is
// true, before AWS carries it out. verdict, which may be nil, is the hook of the
// simulator for all calls, this broker's and others'.
func (w *world) newStall(at func(iamsim.Call) bool, verdict func(s *stall, c iamsim.Call) iamsim.Verdict, change ...func(*consumer.Config)) *stall {
	w.T.Helper()
	s := &stall{line: lessortest.NewLine(), paused: make(chan struct{}), at: at}
	// With one worker it would get one message after the other, and pause at each.
	change = append([]func(*consumer.Config){func(c *consumer.Config) { c.Workers.Request = 2 }}, change...)
	s.broker, s.keyID = w.BrokerOnLine(s.line, change...)
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID == s.keyID {
			if s.at(c) {
				s.pause()
			}
			s.line.Wait()
		}
		if verdict != nil {
			return verdict(s, c)
		}
		return iamsim.Verdict{}
	})
	return s
}

// atAction is a condition of [world.newStall].
func atAction(action string) func(iamsim.Call) bool {
	return func(c iamsim.Call) bool { return c.Action == action }
}

// never is a condition of [world.newStall], for a stall that verdict begins.
func never(iamsim.Call) bool { return false }

// pause pauses the broker, the first time that it is called.
func (s *stall) pause() {
	s.once.Do(func() { s.line.Pause(); close(s.paused) })
}

// wait waits until the broker is paused.
func (s *stall) wait() { <-s.paused }

// resume ends the pause.
func (s *stall) resume() { s.line.Resume() }
