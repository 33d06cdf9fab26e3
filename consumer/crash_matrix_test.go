package consumer_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// scenario is an operation during which a broker may crash.
type scenario struct {
	name string
	// begin prepares the operation, and returns the lease that it is about, if there
	// is one already.
	begin func(w *world) messages.Reply
	// act starts the operation, and returns where its answer arrives; nil if there is
	// none.
	act func(w *world, lease messages.Reply) *nats.Subscription
	// check checks the outcome after another broker has taken over and the answer has
	// arrived.
	check func(w *world, lease, answer messages.Reply)
	// refuse returns which calls of the broker AWS answers with an error, for one run;
	// nil: none.
	refuse func() func(iamsim.Call) bool
	// signsWith is Crash.SignsWith, if brokers share a key; nil: they do not.
	signsWith func(w *world) func(keyID string) bool
	// crashed checks the state after the crash and before another broker starts; nil:
	// it is not checked.
	crashed func(w *world, lease messages.Reply)
	// late checks what is left after everything was revoked; nil: it is not checked.
	late func(w *world)
	// effects is the least number of effects that a run must have.
	effects int
}

// run plays the scenario on a broker that c may end, and returns the effects that there
// were.
func (s scenario) run(t *testing.T, m *lessortest.Crash) []string {
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	w.Put(first, extraSecret)
	w.sessionRole()
	w.Sim.AddPolicy("arn:aws:iam::123456789012:policy/extra", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}`)
	lease := s.begin(w)
	w.WaitQueuesEmpty()
	first.Close()

	if s.refuse != nil {
		m.Fail = s.refuse()
	}
	if s.signsWith != nil {
		m.SignsWith = s.signsWith(w)
	}
	victim := w.CrashingBroker(m, quickMaintenance)
	m.Arm()
	answers := s.act(w, lease)
	if m.At > 0 {
		w.waitCrash(m, 0)
		victim.Kill()
		m.Close()
		if s.crashed != nil {
			s.crashed(w, lease)
		}
		w.Broker(quickMaintenance)
	} else if answers == nil {
		w.waitCrash(m, s.effects)
	}
	var answer messages.Reply
	if answers != nil {
		answer, _ = w.Answer(answers)
	}
	s.check(w, lease, answer)
	if answers != nil {
		w.WantOneKey(answers, answer)
	}
	w.WaitQueuesEmpty()
	victim.Kill()
	m.Close()
	w.RevokeAll()
	if s.late != nil {
		s.late(w)
	}
	return m.Effects()
}

// waitCrash waits until the broker has crashed, or has had at least so many effects and
// has nothing left to do: not every run has as many effects as the first.
func (w *world) waitCrash(m *lessortest.Crash, least int) {
	w.T.Helper()
	since, effects := time.Now(), 0
	w.Eventually("the broker crashes or finishes", func() bool {
		if m.Crashed() {
			return true
		}
		if n := len(m.Effects()); n > effects || !w.QueuesAreEmpty() {
			since, effects = time.Now(), n
		}
		return effects >= least && time.Since(since) > time.Second
	})
}

// TestBrokerCanCrashAtEveryEffect ends a broker after each effect that it has on NATS and
// AWS, and before the first, starts another, and checks that the outcome is right. The
// effects are counted in a run without a crash. A crash before an effect leaves what one
// after the previous effect leaves.
func TestBrokerCanCrashAtEveryEffect(t *testing.T) {
	t.Parallel()
	var points atomic.Int64
	t.Cleanup(func() { t.Logf("a broker crashed at %d points", points.Load()) })
	slots := make(chan struct{}, pointsAtOnce)
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			effects := s.run(t, &lessortest.Crash{})
			if len(effects) < s.effects {
				t.Fatalf("only %d effects were seen: %q", len(effects), effects)
			}
			var running sync.WaitGroup
			for n := range len(effects) + 1 {
				if (n+i)%pointsStep != 0 {
					continue
				}
				slots <- struct{}{}
				running.Go(func() {
					defer func() { <-slots }()
					m := &lessortest.Crash{At: max(n, 1), After: n > 0}
					t.Run(m.String(), func(t *testing.T) {
						s.run(t, m)
						if m.Crashed() {
							points.Add(1)
						}
					})
				})
			}
			running.Wait()
		})
	}
}
