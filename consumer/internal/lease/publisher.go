package lease

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

// publisher publishes deliveries and learns at once if NATS has no responders.
//
// If a message with a reply subject meets no subscription, the server sends a status
// 503 to that reply subject, to the publishing connection, if that subscribes to it
// (nats-server, client.go, subForReply). The reply subject of a delivery is its
// confirm subject, so the publisher subscribes to those. Confirmations arrive there
// too, and are left to their stream.
//
// The server sends the 503 before the PONG: once a flush has returned, the 503 has
// arrived or will not come. Its absence proves little: a service import's reply never
// gives one, and a subscription to ">" counts as a responder.
type publisher struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	arrived chan *nats.Msg
	barrier chan chan struct{} // a flush sends a channel, and listen closes that when it has noted what had arrived
	stop    chan struct{}
	once    sync.Once        // for stop
	locks   queue.KeyedMutex // a 503 does not tell two publishes of the same delivery apart

	mu           sync.Mutex
	noResponders map[publishing]bool // of the deliveries in progress
}

// publishing identifies a delivery in progress.
type publishing struct{ confirm, replyTo string }

// arrivedBuffer is how many 503s and confirmations may wait to be noted. A 503 that
// does not fit is lost, and the delivery counts as taken.
const arrivedBuffer = 64 << 10

// flushTimeout bounds one wait for NATS to have taken a delivery.
const flushTimeout = 5 * time.Second

func newPublisher(conn *nats.Conn, n messages.Namespace) (*publisher, error) {
	p := &publisher{
		conn: conn, arrived: make(chan *nats.Msg, arrivedBuffer),
		barrier: make(chan chan struct{}), stop: make(chan struct{}), noResponders: map[publishing]bool{},
	}
	var err error
	if p.sub, err = conn.ChanSubscribe(n.VerbFilter(messages.VerbConfirm), p.arrived); err != nil {
		return nil, err
	}
	go p.listen()
	return p, nil
}

func (p *publisher) listen() {
	for {
		select {
		case <-p.stop:
			return
		case m := <-p.arrived:
			p.note(m)
		case done := <-p.barrier:
			for range len(p.arrived) {
				p.note(<-p.arrived)
			}
			close(done)
		}
	}
}

func (p *publisher) note(m *nats.Msg) {
	if m.Header.Get("Status") != "503" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := publishing{m.Subject, m.Header.Get("Nats-Subject")}
	if _, inProgress := p.noResponders[key]; inProgress {
		p.noResponders[key] = true
	}
}

// publish publishes a delivery. It returns false if NATS has no responders, and an
// error if it is not certain that NATS has taken it.
func (p *publisher) publish(ctx context.Context, msg *nats.Msg) (responders bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	key := publishing{confirm: msg.Reply, replyTo: msg.Subject}
	unlock, err := p.locks.Lock(ctx, key.confirm+" "+key.replyTo)
	if err != nil {
		return false, err
	}
	defer unlock()
	p.mu.Lock()
	p.noResponders[key] = false
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.noResponders, key)
		p.mu.Unlock()
	}()
	if err := p.conn.PublishMsg(msg); err != nil {
		return false, err
	}
	if err := p.flush(ctx); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.noResponders[key], nil
}

// flush returns when NATS has taken everything that was published before, and its
// 503s are noted.
func (p *publisher) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := p.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	noted := make(chan struct{})
	select {
	case p.barrier <- noted:
		<-noted
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stop:
		return context.Canceled
	}
}

// close ends the subscription. It may be called more than once.
func (p *publisher) close() {
	p.once.Do(func() {
		_ = p.sub.Unsubscribe() // the connection may be closed
		close(p.stop)
	})
}
