package consumer

import (
	"cmp"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// inbound is a message in a worker's hands. Until it is settled JetStream is
// told again and again that somebody is at it.
type inbound struct {
	jetstream.Msg
	verb      messages.Verb
	tokens    []string  // of the subject, behind the verb
	sequence  uint64    // in the verb's stream
	stored    time.Time // there
	delivered uint64    // how often, this time included
	log       zerolog.Logger

	outcome string               // what came of it, for the meter
	handled func(outcome string) // told when it is off its stream

	mu      sync.Mutex
	settled bool
	alive   *time.Timer
}

func newInbound(msg jetstream.Msg, verb messages.Verb, n messages.Namespace, ackWait time.Duration, log zerolog.Logger) (*inbound, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	m := &inbound{
		Msg: msg, verb: verb, tokens: n.Tokens(msg.Subject(), 1),
		sequence: meta.Sequence.Stream, stored: meta.Timestamp.UTC(), delivered: meta.NumDelivered,
	}
	m.log = log.With().Str("request_id", m.id()).Logger()
	every := ackWait / 3
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive = time.AfterFunc(every, func() { m.stillAlive(every) })
	return m, nil
}

// id names the message in logs.
func (m *inbound) id() string { return string(m.verb) + ":" + strconv.FormatUint(m.sequence, 10) }

// again says whether the message was delivered before: then what it asks for may
// have been done in part, or in full.
func (m *inbound) again() bool { return m.delivered > 1 }

func (m *inbound) stillAlive(every time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled {
		return
	}
	_ = m.InProgress() // if it is lost, the message comes again
	m.alive.Reset(every)
}

// done takes the message off its stream: there is nothing left to do for it.
func (m *inbound) done() {
	if m.settle(m.Ack) && m.handled != nil {
		m.handled(cmp.Or(m.outcome, OutcomeNothing))
	}
}

// later gives the message back, to come again after the wait.
func (m *inbound) later(wait time.Duration) {
	m.settle(func() error { return m.NakWithDelay(wait) })
}

// leave stops the signs of life and says nothing: somebody else has the message,
// or will have it when JetStream has waited for a sign in vain.
func (m *inbound) leave() { m.settle(func() error { return nil }) }

// settle says whether the message was not settled before.
func (m *inbound) settle(how func() error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled {
		return false
	}
	m.settled = true
	m.alive.Stop()
	if err := how(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		m.log.Warn().Err(err).Msg("the message could not be settled; it will come again")
	}
	return true
}

// retryWait is how long to wait before the message is handled again: it doubles
// with each delivery between the two bounds.
func (m *inbound) retryWait(shortest, longest time.Duration) time.Duration {
	wait := shortest
	for n := uint64(1); n < m.delivered && wait < longest; n++ {
		wait *= 2
	}
	return min(wait, longest)
}
