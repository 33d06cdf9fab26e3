package consumer_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// startCutter dials, and once cuts the line in place of the last question of a start:
// whether the server has heard of the admin service.
type startCutter struct{ asked, cut atomic.Bool }

func (c *startCutter) Dial(network, address string) (net.Conn, error) {
	nc, err := net.Dial(network, address)
	return &startCutConn{Conn: nc, by: c}, err
}

type startCutConn struct {
	net.Conn
	by *startCutter
}

func (c *startCutConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("SUB lessor.admin.")) {
		c.by.asked.Store(true)
	}
	if c.by.asked.Load() && bytes.Contains(p, []byte("PING\r\n")) && c.by.cut.CompareAndSwap(false, true) {
		_ = c.Close()
	}
	return c.Conn.Write(p)
}

// TestALineIsCutAtTheEndOfAStart: the broker starts all the same.
func TestALineIsCutAtTheEndOfAStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &startCutter{}
	b, err := w.tryBroker(w.returning(w.server.URL(), nats.SetCustomDialer(c)))
	w.ok(err)
	if !c.cut.Load() {
		t.Fatal("the line was not cut")
	}
	w.put(b, plainSecret)
	w.alive(w.lease("ci", "{}"))
}

// cutter dials, and cuts what it has dialed.
type cutter struct {
	mu   sync.Mutex
	last net.Conn
}

func (c *cutter) Dial(network, address string) (net.Conn, error) {
	nc, err := net.Dial(network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nc
	return nc, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.last.Close()
}

// TestAWorkerHasOnePull: also after its line has stalled, or was cut. A message that
// came to a second one would wait for the end of AckWait beside the one in hand. The
// worker that is looked at gets no message: what it asks for is all its own doing.
func TestAWorkerHasOnePull(t *testing.T) {
	t.Parallel()
	const verb = messages.VerbRenew
	// start runs a broker on a dialer. What it returns waits for a pull on another
	// inbox than the first: only so is the one before given up, wherever it is.
	start := func(w *world, heartbeat time.Duration, opts ...nats.Option) (b *broker, anew func()) {
		sub, err := w.nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + w.ns.Stream(verb) + "." + w.ns.Consumer(verb))
		w.ok(err)
		w.ok(w.nc.Flush())
		pull := func(what string, wait time.Duration) (inbox string) {
			msg, err := sub.NextMsg(wait)
			if err != nil {
				w.t.Fatalf("no pull %s: %v\n%s", what, err, w.logs)
			}
			return msg.Reply
		}
		b, err = w.tryBroker(w.returning(w.server.URL(), opts...), func(c *consumer.Config) {
			c.Workers = consumer.Workers{Request: 1, Renew: 1, Revoke: 1, Confirm: 1}
			c.Streams.PullHeartbeat = heartbeat
		})
		w.ok(err)
		w.put(b, plainSecret)
		first := pull("at the start", patience)
		return b, func() {
			w.t.Helper()
			for end := time.Now().Add(patience); pull("on a new inbox", time.Until(end)) == first; {
			}
			w.eventually("only one pull waits at the server", func() bool {
				cons, err := w.js.Consumer(w.ctx(), w.ns.Stream(verb), w.ns.Consumer(verb))
				w.ok(err)
				return cons.CachedInfo().NumWaiting == 1
			})
			w.lease("ci", "{}")
		}
	}
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := newSleeper()
		_, anew := start(w, 500*time.Millisecond, nats.SetCustomDialer(s))
		wake := sync.OnceFunc(s.wake)
		t.Cleanup(wake) // or a broker that failed the test could not be stopped
		const stalled = `"verb":"` + string(verb) + `","message":"a pull has no heartbeats`
		before := w.lines(stalled)
		s.sleep()
		w.eventually("the pull has stalled", func() bool { return w.lines(stalled) > before })
		wake()
		anew()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := &cutter{}
		b, anew := start(w, 5*time.Second, nats.SetCustomDialer(c), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
		back := b.nc.StatusChanged(nats.CONNECTED)
		c.cut()
		<-back
		anew()
	})
}
