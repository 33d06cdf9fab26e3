package consumer_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestBrokerStartsWhenItsConnectionIsCutAtTheEnd cuts the connection when the broker
// asks whether NATS knows its last subscription.
func TestBrokerStartsWhenItsConnectionIsCutAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := lessortest.NewLine()
	var subscribed, cut bool
	line.BeforeWrite = func(sent []byte) {
		subscribed = subscribed || bytes.Contains(sent, []byte("SUB lessor.admin."))
		if subscribed && !cut && bytes.Contains(sent, []byte("PING\r\n")) {
			cut = true
			line.Cut()
		}
	}
	b := w.BrokerOn(w.Dial(0, lessortest.Reconnecting(line.Option())...))
	if !cut {
		t.Fatal("the connection was not cut")
	}
	w.Put(b, lessortest.Secret)
	w.WantActive(w.Lease("ci", "{}"))
}

// TestWorkerHasOnePull: also after its connection stalled or was cut. A message that
// came to a second pull would wait for the end of AckWait beside the one that is being
// handled. The worker that the test looks at gets no message, so all its pulls are its
// own doing.
func TestWorkerHasOnePull(t *testing.T) {
	t.Parallel()
	const verb = messages.VerbRenew
	// start starts a broker. anew waits for a pull on another inbox than the first: then
	// the first pull is given up, whether the server has it or not.
	start := func(w *world, heartbeat time.Duration, opts ...nats.Option) (b *lessortest.Broker, anew func()) {
		sub, err := w.Conn.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + w.Namespace.Stream(verb) + "." + w.Namespace.Consumer(verb))
		w.NoError(err)
		w.NoError(w.Conn.Flush())
		pull := func(what string, wait time.Duration) (inbox string) {
			msg, err := sub.NextMsg(wait)
			if err != nil {
				w.T.Fatalf("no pull %s: %v\n%s", what, err, w.Logs)
			}
			return msg.Reply
		}
		b = w.BrokerOn(w.Dial(0, lessortest.Reconnecting(opts...)...), func(c *consumer.Config) {
			c.Workers = consumer.Workers{Request: 1, Renew: 1, Revoke: 1, Confirm: 1}
			c.Streams.PullHeartbeat = heartbeat
		})
		w.NoError(err)
		w.Put(b, lessortest.Secret)
		first := pull("at the start", lessortest.Patience)
		return b, func() {
			w.T.Helper()
			for end := time.Now().Add(lessortest.Patience); pull("on a new inbox", time.Until(end)) == first; {
			}
			w.Eventually("one pull waits at the server", func() bool {
				cons, err := w.JS.Consumer(w.Context(), w.Namespace.Stream(verb), w.Namespace.Consumer(verb))
				w.NoError(err)
				return cons.CachedInfo().NumWaiting == 1
			})
			w.Lease("ci", "{}")
		}
	}
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := lessortest.NewLine()
		_, anew := start(w, 500*time.Millisecond, s.Option())
		wake := sync.OnceFunc(s.Resume)
		t.Cleanup(wake) // otherwise a broker could not be stopped if the test fails
		const stalled = `"verb":"` + string(verb) + `","message":"a pull has no heartbeats`
		before := w.Logs.Count(stalled)
		s.Pause()
		w.Eventually("the pull has no heartbeats", func() bool { return w.Logs.Count(stalled) > before })
		wake()
		anew()
	})
	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		line := lessortest.NewLine()
		b, anew := start(w, 5*time.Second, line.Option(), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
		back := b.Conn.StatusChanged(nats.CONNECTED)
		line.Cut()
		<-back
		anew()
	})
}
