//go:build unix

package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// inHand counts the users that each broker is about to make, by the key with
// which it calls AWS, and holds them.
type inHand struct {
	mu      sync.Mutex
	callers map[string]int
	more    chan struct{}
	release chan struct{}
}

func (h *inHand) hold(ctx context.Context, c iamsim.Call) iamsim.Verdict {
	if c.Action == "CreateUser" {
		h.mu.Lock()
		h.callers[c.AccessKeyID]++
		h.mu.Unlock()
		select {
		case h.more <- struct{}{}:
		default:
		}
		select {
		case <-h.release:
		case <-ctx.Done(): // the broker is dead; AWS carries out what it was asked for
		}
	}
	return iamsim.Verdict{}
}

func (h *inHand) of(variables map[string]string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.callers[variables["AWS_ACCESS_KEY_ID"]]
}

// TestReplicasShareAndSucceedOneAnother has two processes at one NATS server. One
// is killed while AWS is making the users for half of the requests, and makes
// them nevertheless: the worst moment there is.
func TestReplicasShareAndSucceedOneAnother(t *testing.T) {
	t.Parallel()
	const requests, each = 20, 10
	s := newSite(t)
	store := t.TempDir()
	server, err := embedded.Start(embedded.Options{StoreDir: store, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	x := at(server.URL())
	hand := &inHand{callers: map[string]int{}, more: make(chan struct{}, 1), release: make(chan struct{})}
	release := sync.OnceFunc(func() { close(hand.release) })
	t.Cleanup(release)
	s.sim.SetHook(hand.hold)

	// Each has as many workers as make half of the requests.
	args := []string{"serve", "--server", server.URL(), "--key-file", newKeyFile(t), "--secrets", s.secrets,
		"--replicas", "1", "--workers", "10", "--confirm-within", "1m"}
	one, two := s.principal("one"), s.principal("two")
	dies, lives := s.start(one, args...), s.start(two, args...)
	dies.Logs("broker is up")
	lives.Logs("broker is up")

	alice, err := client.New(x.Connect(t), client.Options{Identity: "alice", Timeout: 2 * clitest.Patience})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var issued [requests]client.Issued
	for i := range requests {
		all.Go(func() {
			var err error
			if issued[i], err = alice.Request(t.Context(), "ci", messages.LeaseRequest{Confirm: true}); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	for timeout := time.After(clitest.Patience); hand.of(one) < each || hand.of(two) < each; {
		select {
		case <-hand.more:
		case <-timeout:
			t.Fatalf("one has %d in hand, two has %d", hand.of(one), hand.of(two))
		}
	}
	dies.Kill()
	release()
	all.Wait()
	if t.Failed() {
		return
	}

	keys := map[string]bool{}
	for i, got := range issued {
		keys[got.Credentials.AccessKeyID] = true
		if allowed, err := s.sim.Allowed(got.Credentials.AccessKeyID, "s3:GetObject", "arn:aws:s3:::b/k"); err != nil || !allowed {
			t.Errorf("key %d does not work: %v, %v", i, allowed, err)
		}
	}
	if n := s.sim.UserCount(); len(keys) != requests || n != requests {
		t.Errorf("%d requests have %d keys, and AWS %d users", requests, len(keys), n)
	}
	for _, got := range issued {
		all.Go(func() {
			if _, err := alice.Revoke(t.Context(), got.Lease.Name, "done"); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
	all.Wait()
	if users := s.sim.Users(); len(users) != 0 {
		t.Errorf("AWS holds %d users: %+v", len(users), users[0])
	}
	events := x.OK(t, "events", "--no-follow", "--json")
	for _, kind := range []string{"issued", "revoked"} {
		if n := strings.Count(events, `"type":"lessor.lease.`+kind+`"`); n != requests {
			t.Errorf("%d leases were told to be %s, not %d", n, kind, requests)
		}
	}
	lives.Stop()
	dies.LogIsJSON()
	lives.LogIsJSON()
	server.Close()
	s.leaves(store, events, issued[0].Credentials.AccessKeyID)
}
