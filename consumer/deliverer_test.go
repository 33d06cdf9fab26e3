package consumer_test

import (
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// Two workers hand over the same delivery at the same time, because one has stalled
// and its message came again: neither takes what the other is told for its own.
func TestDeliveriesOfOneLeaseAtOnceAreBothUnheard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	publish, stop, err := consumer.Publisher(w.connect(), w.ns)
	w.ok(err)
	t.Cleanup(stop)
	name, err := messages.NewLeaseName("alice", "ci", "x")
	w.ok(err)
	inbox := w.nc.NewInbox()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				msg := nats.NewMsg(inbox)
				msg.Reply = w.ns.Confirm(name, "token")
				if heard, err := publish(w.ctx(), msg); heard || err != nil {
					t.Errorf("heard %t, %v", heard, err)
					return
				}
			}
		})
	}
	all.Wait()
	_, err = w.nc.SubscribeSync(inbox)
	w.ok(err)
	w.ok(w.nc.Flush())
	msg := nats.NewMsg(inbox)
	msg.Reply = w.ns.Confirm(name, "token")
	if heard, err := publish(w.ctx(), msg); !heard || err != nil {
		t.Fatalf("somebody listens: heard %t, %v", heard, err)
	}
}
