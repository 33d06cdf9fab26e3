//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/inspect"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// inFlight is how many requests the broker handles when it is killed.
const inFlight = 32

// crowd is that many requesters, each with its own identity. They stay subscribed. Every
// second one promises to confirm.
type crowd struct {
	mu     sync.Mutex
	keys   map[string]map[string]bool // delivered, by identity
	others []string                   // other replies
	more   chan struct{}              // one more requester has a key
}

// request sends the request of requester i.
func (c *crowd) request(t *testing.T, nc *nats.Conn, i int) {
	t.Helper()
	identity := fmt.Sprintf("alice%d", i)
	inbox := nc.NewInbox()
	_, err := nc.Subscribe(inbox, func(m *nats.Msg) { c.receive(identity, m) })
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"confirm":%v}`, i%2 == 0)
	if err := nc.PublishRequest(messages.Namespace{}.API("request", identity, "ci"), inbox, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// receive handles a reply.
func (c *crowd) receive(identity string, m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := messages.DecodeReply(m.Data)
	if err != nil || r.Kind != messages.KindCredentials {
		c.others = append(c.others, fmt.Sprintf("%s: %s %s", identity, m.Data, m.Header.Get("Status")))
		return
	}
	_ = m.Respond(nil) // requesters may confirm without a promise
	if c.keys[identity] == nil {
		c.keys[identity] = map[string]bool{}
		c.more <- struct{}{}
	}
	c.keys[identity][r.Credentials.AccessKeyID] = true
}

// has reports whether the identity was delivered this key and no other.
func (c *crowd) has(identity, key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys[identity]) == 1 && c.keys[identity][key]
}

// TestOnlyBrokerIsKilledWithRequestsInFlight kills the broker at several moments while it
// handles 32 requests, and starts it again. Then each user has a lease, and the requester
// of each lease has its key.
func TestOnlyBrokerIsKilledWithRequestsInFlight(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]struct {
		action    string // from this call on ...
		nth       int    // ... AWS carries out the call and does not answer
		delivered int    // or: the broker is killed when so many keys are delivered
	}{
		"users are created":        {action: "CreateUser", nth: inFlight},
		"half of them have rights": {action: "AttachUserPolicy", nth: inFlight / 2},
		"half of them have keys":   {action: "CreateAccessKey", nth: inFlight / 2},
		"some keys are delivered":  {delivered: inFlight / 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newProcesses(t)
			server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			args := []string{"serve", "--server", server.URL(), "--key-file", newKeyFile(t), "--secrets", s.secrets, "--confirm-within", "1m"}
			killed := s.start(nil, args...)
			killed.Logs("broker is up")

			reached := make(chan struct{})
			s.sim.SetHook(withholdAnswers(m.action, m.nth, reached))
			c := &crowd{keys: map[string]map[string]bool{}, more: make(chan struct{}, inFlight)}
			nc := at(server.URL()).Connect(t)
			for i := range inFlight {
				c.request(t, nc, i)
			}
			for range m.delivered {
				clitest.Awaits(t, c.more, "a key is delivered")
			}
			if m.delivered == 0 {
				clitest.Awaits(t, reached, name)
			}
			killed.Kill()
			s.sim.SetHook(nil)
			again := s.start(nil, args...)
			for range inFlight - m.delivered {
				select {
				case <-c.more:
				case <-time.After(2 * clitest.Patience):
					t.Fatalf("not all requests are answered within a minute: %v", c.others)
				}
			}
			s.checkLeases(server, c)
			again.Stop()
		})
	}
}

// withholdAnswers returns a hook of the simulator. It blocks CreateUser until all requests
// have called it. From the nth call of an action on it carries the calls out and does not
// answer.
func withholdAnswers(action string, nth int, reached chan struct{}) func(context.Context, iamsim.Call) iamsim.Verdict {
	var mu sync.Mutex
	counts, all := map[string]int{}, make(chan struct{})
	return func(ctx context.Context, call iamsim.Call) iamsim.Verdict {
		mu.Lock()
		counts[call.Action]++
		n := counts[call.Action]
		if call.Action == "CreateUser" && n == inFlight {
			close(all)
		}
		if call.Action == action && n == nth {
			close(reached)
		}
		mu.Unlock()
		if call.Action == "CreateUser" {
			select {
			case <-all:
			case <-ctx.Done():
			}
		}
		if call.Action == action && n >= nth {
			return iamsim.Verdict{After: func() { <-ctx.Done() }}
		}
		return iamsim.Verdict{}
	}
}

// checkLeases waits until every delivery is settled, and compares the users in AWS, the
// records and the delivered keys.
func (s *processes) checkLeases(server *embedded.Server, c *crowd) {
	s.t.Helper()
	js, err := jetstream.New(at(server.URL()).Connect(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	ns := messages.Namespace{}
	var alive []record.Record
	clitest.Eventually(s.t, "every delivery is settled", func() bool {
		if alive, err = inspect.Live(s.t.Context(), js, ns); err != nil {
			s.t.Fatal(err)
		}
		for _, rec := range alive {
			if rec.State != messages.StateActive || !rec.Settled() {
				return false
			}
		}
		queued, err := inspect.Queued(s.t.Context(), js, ns)
		return err == nil && len(queued) == 0
	})
	users := map[string]bool{}
	for _, u := range s.sim.Users() {
		users[strings.ToLower(u.Name)] = true
		if len(u.AccessKeys) != 1 {
			s.t.Errorf("%s has %d keys", u.Name, len(u.AccessKeys))
		}
	}
	for _, rec := range alive {
		if !c.has(rec.Identity, rec.AccessKeyID) {
			s.t.Errorf("the requester of the live lease %s does not have its key", rec.Name())
		}
		if !users[strings.ToLower(rec.User.Name)] {
			s.t.Errorf("lease %s has no user", rec.Name())
		}
		delete(users, strings.ToLower(rec.User.Name))
	}
	if len(users) != 0 || len(alive) != inFlight {
		s.t.Errorf("%d leases for %d requests, and users without a lease: %v; other replies: %v", len(alive), inFlight, users, c.others)
	}
}
