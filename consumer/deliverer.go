package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// deliverer publishes deliveries and learns at once where NATS knows that nobody
// listens.
//
// Where a message with a reply subject meets no subscription, the server sends a
// status 503 to that reply subject, to the connection that published and only if
// it subscribes to it (nats-server, client.go, subForReply). The reply subject
// of a delivery is its confirm subject, so the deliverer subscribes to those.
// Real confirmations come there too and are left to their stream.
//
// The 503 stands before the PONG in what the server sends: once a flush has
// returned, it is in the channel or it does not come. That it does not come
// proves little: a service import's reply never gives one, and any subscription
// to ">" counts as a listener.
type deliverer struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	arrived chan *nats.Msg
	settled chan chan struct{} // barriers: answered when all that has arrived is noted
	stop    chan struct{}
	once    sync.Once // for stop
	turns   turns     // of those who publish the same delivery: a status says no more than which it is about
	flushes sharing   // of all deliveries

	mu      sync.Mutex
	unheard map[attempt]bool // deliveries under way, and whether nobody heard them
}

// attempt is one publishing of a delivery.
type attempt struct{ confirm, inbox string }

// deliveryBuffer is how many statuses and confirmations may wait to be looked
// at. What does not fit is lost, and the delivery counts as heard.
const deliveryBuffer = 64 << 10

// flushTimeout bounds one wait for NATS to have taken deliveries.
const flushTimeout = 5 * time.Second

func newDeliverer(conn *nats.Conn, n messages.Namespace) (*deliverer, error) {
	d := &deliverer{
		conn: conn, arrived: make(chan *nats.Msg, deliveryBuffer),
		settled: make(chan chan struct{}), stop: make(chan struct{}), unheard: map[attempt]bool{},
	}
	var err error
	if d.sub, err = conn.ChanSubscribe(n.VerbFilter(messages.VerbConfirm), d.arrived); err != nil {
		return nil, err
	}
	go d.listen()
	return d, nil
}

func (d *deliverer) listen() {
	for {
		select {
		case <-d.stop:
			return
		case m := <-d.arrived:
			d.note(m)
		case done := <-d.settled:
			for range len(d.arrived) {
				d.note(<-d.arrived)
			}
			close(done)
		}
	}
}

func (d *deliverer) note(m *nats.Msg) {
	if m.Header.Get("Status") != "503" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := (attempt{m.Subject, m.Header.Get("Nats-Subject")}); d.knows(a) {
		d.unheard[a] = true
	}
}

func (d *deliverer) knows(a attempt) bool {
	_, ok := d.unheard[a]
	return ok
}

// publish hands a delivery to NATS. It returns false where NATS says that nobody
// listens, and an error where NATS did not take it for sure.
func (d *deliverer) publish(ctx context.Context, msg *nats.Msg) (heard bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	a := attempt{confirm: msg.Reply, inbox: msg.Subject}
	done, err := d.turns.take(ctx, a.confirm+" "+a.inbox)
	if err != nil {
		return false, err
	}
	defer done()
	d.mu.Lock()
	d.unheard[a] = false
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.unheard, a)
		d.mu.Unlock()
	}()
	if err := d.conn.PublishMsg(msg); err != nil {
		return false, err
	}
	if _, err := d.flushes.do(ctx, "", d.flush); err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.unheard[a], nil
}

// flush returns when NATS has taken all that was published before, and what it said
// of that is noted.
func (d *deliverer) flush(ctx context.Context) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := d.conn.FlushWithContext(ctx); err != nil {
		return nil, err
	}
	noted := make(chan struct{})
	select {
	case d.settled <- noted:
		<-noted
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-d.stop:
		return nil, context.Canceled
	}
}

// close ends it. It may be called more than once.
func (d *deliverer) close() {
	d.once.Do(func() {
		_ = d.sub.Unsubscribe() // the connection may be gone already
		close(d.stop)
	})
}
