package lease

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/messages"
)

// TestConcurrentDeliveriesOfOneLeaseEachLearnOfNoResponders publishes the same delivery
// from several goroutines, as two workers do if one has stalled and its message was
// redelivered. None may take another's answer for its own.
func TestConcurrentDeliveriesOfOneLeaseEachLearnOfNoResponders(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, time.Now)
	p, err := newPublisher(s.Conn, s.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	inbox := s.Conn.NewInbox()
	delivery := func() *nats.Msg {
		msg := nats.NewMsg(inbox)
		msg.Reply = s.Namespace.Confirm(messages.LeaseName{Identity: "alice", Secret: "ci", ID: "x"}, "token")
		return msg
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				if responders, err := p.publish(t.Context(), delivery()); responders || err != nil {
					t.Errorf("without a subscription: responders %t, %v", responders, err)
					return
				}
			}
		})
	}
	all.Wait()
	if _, err = s.Conn.SubscribeSync(inbox); err != nil {
		t.Fatal(err)
	}
	if err := s.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if responders, err := p.publish(t.Context(), delivery()); !responders || err != nil {
		t.Fatalf("with a subscription: responders %t, %v", responders, err)
	}
	if n := len(p.noResponders); n != 0 {
		t.Errorf("%d deliveries count as in progress", n)
	}
}
