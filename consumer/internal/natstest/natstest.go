// Package natstest starts a NATS server with lessor's streams and buckets, for the test of
// one component.
package natstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Installation is the installation's id in events.
const Installation = "test"

// Server is a running server and what lessor keeps on it. It ends with the test.
type Server struct {
	Conn      *nats.Conn
	JS        jetstream.JetStream
	Namespace messages.Namespace
	State     *bucket.Bucket
	Leases    *store.Leases
	Keys      *messages.Keyring
	Events    *events.Log
	Lifetime  *queue.Lifetime
	Commands  *queue.Outbox
}

// Start starts a server. Events have the time of the clock.
func Start(t testing.TB, now func() time.Time) *Server {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir()})
	ok(t, err)
	t.Cleanup(server.Close)
	s := &Server{Lifetime: queue.NewLifetime()}
	t.Cleanup(s.Lifetime.Abort)
	s.Conn, err = server.Connect()
	ok(t, err)
	t.Cleanup(s.Conn.Close)
	s.JS, err = jetstream.New(s.Conn)
	ok(t, err)
	topology := &queue.Topology{JS: s.JS, Namespace: s.Namespace, EventAge: time.Hour, AckWait: time.Second}
	ok(t, topology.Ensure(t.Context()))
	s.State = s.open(t, s.Namespace.StateBucket())
	s.Leases = store.NewLeases(s.open(t, s.Namespace.LeaseBucket()), time.Hour)
	seed, err := messages.NewKey()
	ok(t, err)
	s.Keys, err = messages.ParseKeyring(seed)
	ok(t, err)
	wrote := func(string, error) {}
	s.Commands = queue.NewOutbox(s.JS, s.Namespace, s.Lifetime, 0, wrote)
	s.Events = events.New(events.Config{
		JS: s.JS, Namespace: s.Namespace, Installation: Installation, Keys: s.Keys, Now: now, Log: zerolog.Nop(),
		Publisher: store.NewGroupCommit(s.JS, 0), Wrote: wrote,
	})
	return s
}

func (s *Server) open(t testing.TB, name string) *bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), s.JS, name)
	ok(t, err)
	return b
}

// Stored returns the messages of a stream on a subject, in their order.
func (s *Server) Stored(t testing.TB, stream, subject string) []*jetstream.RawStreamMsg {
	t.Helper()
	st, err := s.JS.Stream(t.Context(), stream)
	ok(t, err)
	var stored []*jetstream.RawStreamMsg
	for next := uint64(1); ; {
		m, err := st.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return stored
		}
		ok(t, err)
		stored, next = append(stored, m), m.Sequence+1
	}
}

// Emitted returns the events of a type, in their order.
func (s *Server) Emitted(t testing.TB, typ messages.EventType) []messages.Event {
	t.Helper()
	var emitted []messages.Event
	for _, m := range s.Stored(t, s.Namespace.EventStream(), s.Namespace.Prefix()+".event.*.*.*."+string(typ)) {
		e, err := messages.DecodeEvent(m.Data)
		ok(t, err)
		emitted = append(emitted, e)
	}
	return emitted
}

// Request publishes a request and returns the answer.
func (s *Server) Request(t testing.TB, subject, body string, header ...string) messages.Reply {
	t.Helper()
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answer, err := s.Conn.RequestMsgWithContext(ctx, msg)
	ok(t, err)
	reply, err := messages.DecodeReply(answer.Data)
	ok(t, err)
	return reply
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
