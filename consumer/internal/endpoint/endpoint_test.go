package endpoint_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/consumer/internal/endpoint"
	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

func TestDrainWaitsForRequestsAndRefusesOthers(t *testing.T) {
	t.Parallel()
	var g endpoint.Group
	release, done := make(chan struct{}), make(chan struct{})
	if !g.Go(func() { <-release }) {
		t.Fatal("refused before it was drained")
	}
	go func() { g.Drain(); close(done) }()
	for g.Go(func() {}) { // until Drain has begun
		select {
		case <-done:
			t.Fatal("drained while a request runs")
		default:
		}
	}
	close(release)
	<-done
}

func TestAnswerThatIsTooLargeIsReplacedByAnError(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	svc, err := endpoint.Serve(s.Conn, "test", "a test", []endpoint.Endpoint{{Name: "large", Subject: "large", Handle: func(r micro.Request) {
		reply := messages.Reply{Kind: messages.KindKey, Key: strings.Repeat("x", int(s.Conn.MaxPayload()))}
		if err := endpoint.Answer(queue.Replier{Conn: s.Conn}, r.Reply(), reply); err != nil {
			t.Error(err)
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Request(t, "large", ""); r.Error == nil || r.Error.Code != messages.CodeTooLarge {
		t.Errorf("%+v", r)
	}
	if err := svc.Stop(); err != nil {
		t.Error(err)
	}
}

func TestServeFailsForASubjectThatIsNone(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	svc, err := endpoint.Serve(s.Conn, "test", "a test", []endpoint.Endpoint{
		{Name: "good", Subject: "good", Handle: func(micro.Request) {}}, {Name: "bad", Subject: "not a subject", Handle: func(micro.Request) {}},
	})
	if err == nil || svc != nil {
		t.Fatalf("%v, %v", svc, err)
	}
}
