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

// createUsers counts the calls of CreateUser by the access key of the broker, and blocks
// them.
type createUsers struct {
	mu      sync.Mutex
	callers map[string]int
	more    chan struct{}
	release chan struct{}
}

// block is a hook of the simulator.
func (h *createUsers) block(ctx context.Context, c iamsim.Call) iamsim.Verdict {
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
		case <-ctx.Done(): // the broker was killed; AWS carries out the call
		}
	}
	return iamsim.Verdict{}
}

// of returns the number of calls of the broker with these variables.
func (h *createUsers) of(variables map[string]string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.callers[variables["AWS_ACCESS_KEY_ID"]]
}

// wait waits until the broker with these variables has made n calls.
func (h *createUsers) wait(t *testing.T, variables map[string]string, n int) {
	t.Helper()
	for timeout := time.After(clitest.Patience); h.of(variables) < n; {
		select {
		case <-h.more:
		case <-timeout:
			t.Fatalf("a broker has called CreateUser %d times", h.of(variables))
		}
	}
}

// checkKeys checks that each lease has a key of its own that works, and that AWS has no
// other users.
func checkKeys(t *testing.T, sim *iamsim.Sim, issued []client.Issued) {
	t.Helper()
	keys := map[string]bool{}
	for i, got := range issued {
		keys[got.Credentials.AccessKeyID] = true
		if allowed, err := sim.Allowed(got.Credentials.AccessKeyID, "s3:GetObject", "arn:aws:s3:::b/k"); err != nil || !allowed {
			t.Errorf("key %d does not work: %v, %v", i, allowed, err)
		}
	}
	if n := sim.UserCount(); len(keys) != len(issued) || n != len(issued) {
		t.Errorf("%d requests have %d keys, and AWS %d users", len(issued), len(keys), n)
	}
}

// TestReplicaTakesOverFromAKilledOne runs two brokers at one NATS server. One is killed
// while AWS creates the users for half of the requests; AWS creates them all the same.
func TestReplicaTakesOverFromAKilledOne(t *testing.T) {
	t.Parallel()
	const requests, each = 20, 10
	s := newProcesses(t)
	store := t.TempDir()
	server, err := embedded.Start(embedded.Options{StoreDir: store, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	x := at(server.URL())
	calls := &createUsers{callers: map[string]int{}, more: make(chan struct{}, 1), release: make(chan struct{})}
	release := sync.OnceFunc(func() { close(calls.release) })
	t.Cleanup(release)
	s.sim.SetHook(calls.block)

	// Each has workers for half of the requests.
	args := []string{"serve", "--server", server.URL(), "--key-file", newKeyFile(t), "--secrets", s.secrets,
		"--replicas", "1", "--workers", "10", "--confirm-within", "1m"}
	one, two := s.principal("one"), s.principal("two")
	killed, other := s.start(one, args...), s.start(two, args...)
	killed.Logs("broker is up")
	other.Logs("broker is up")

	alice, err := client.New(x.Connect(t), client.Options{Identity: "alice", Timeout: 2 * clitest.Patience})
	if err != nil {
		t.Fatal(err)
	}
	issued := make([]client.Issued, requests)
	var all sync.WaitGroup
	for i := range issued {
		all.Go(func() {
			var err error
			if issued[i], err = alice.Request(t.Context(), "ci", messages.LeaseRequest{Confirm: true}); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	calls.wait(t, one, each)
	calls.wait(t, two, each)
	killed.Kill()
	release()
	all.Wait()
	if t.Failed() {
		return
	}
	checkKeys(t, s.sim, issued)
	for _, got := range issued {
		all.Go(func() {
			if _, err := alice.Revoke(t.Context(), got.Lease.Name, "done"); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
	all.Wait()
	if users := s.sim.Users(); len(users) != 0 {
		t.Errorf("AWS has %d users: %+v", len(users), users[0])
	}
	events := x.OK(t, "events", "--no-follow", "--json")
	for _, kind := range []string{"issued", "revoked"} {
		if n := strings.Count(events, `"type":"lessor.lease.`+kind+`"`); n != requests {
			t.Errorf("%d events %s, want %d", n, kind, requests)
		}
	}
	other.Stop()
	killed.LogIsJSON()
	other.LogIsJSON()
	server.Close()
	s.searchAll(store, events, issued[0].Credentials.AccessKeyID)
}
