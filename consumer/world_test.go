package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// world is a lessortest.World with the helpers that only tests of the consumer need.
type world struct{ *lessortest.World }

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{lessortest.Start(t)}
}

// newClusterWorld is newWorld on three NATS servers.
func newClusterWorld(t testing.TB) *world {
	t.Helper()
	return &world{lessortest.StartWith(t, lessortest.Options{Nodes: 3})}
}

// requestAs requests a lease of ci for an identity.
func (w *world) requestAs(identity string, header ...string) messages.Reply {
	w.T.Helper()
	return w.Send(w.Namespace.Request(identity, "ci"), "", header...)
}

// leasesWithoutBroker issues n leases of [lessortest.Secret] through a broker that is
// stopped afterwards.
func (w *world) leasesWithoutBroker(n int, request string) []messages.Reply {
	w.T.Helper()
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	leases := make([]messages.Reply, n)
	for i := range leases {
		leases[i] = w.Lease("ci", request)
	}
	w.WaitQueuesEmpty()
	b.Close()
	return leases
}

// hasReserve reports whether the brokers' free-space reserve is filled, and as much
// again is free.
func (w *world) hasReserve() bool {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), "KV_"+w.Namespace.StateBucket())
	w.NoError(err)
	info, err := s.Info(w.Context(), jetstream.WithSubjectFilter("$KV."+w.Namespace.StateBucket()+".reserve.>"))
	w.NoError(err)
	kept, margin := 0, 0
	for subject := range info.State.Subjects {
		if strings.Contains(subject, ".kept.") {
			kept++
		} else {
			margin++
		}
	}
	return kept > 0 && margin == 0
}

func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func first[A, B any](a A, _ B) A { return a }

// waitCall waits until AWS has answered a call of an action that was signed with a key; ""
// is any key.
func (w *world) waitCall(keyID, action string) {
	w.T.Helper()
	w.Eventually("AWS answers "+action, func() bool {
		return slices.ContainsFunc(w.Sim.Calls(), func(c iamsim.Call) bool {
			return c.Action == action && (keyID == "" || c.AccessKeyID == keyID) && !c.Answered.IsZero()
		})
	})
}

// mustReply returns a reply that is no error, and panics otherwise. Any goroutine may
// call it.
func (w *world) mustReply(msg *nats.Msg, err error) messages.Reply {
	if err != nil {
		panic(err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err != nil || r.Error != nil {
		panic(fmt.Sprint(err, r.Error))
	}
	return r
}

// quickMaintenance makes the maintenance loop run often.
func quickMaintenance(c *consumer.Config) { c.MaintainEvery = 20 * time.Millisecond }

// steadyBroker starts a broker with quick maintenance on a connection that finds its
// server again.
func (w *world) steadyBroker(change ...func(*consumer.Config)) *lessortest.Broker {
	w.T.Helper()
	b, err := w.TryBroker(w.Dial(0, lessortest.Reconnecting()...), append([]func(*consumer.Config){quickMaintenance}, change...)...)
	w.NoError(err)
	return b
}

// createdUsers counts the calls of CreateUser.
func (w *world) createdUsers() int {
	n := 0
	for _, c := range w.Sim.Calls() {
		if c.Action == "CreateUser" {
			n++
		}
	}
	return n
}

// keyDeletions returns the users whose keys were deleted, in the order in which that
// began.
func (w *world) keyDeletions() []string {
	var users []string
	for _, c := range w.Sim.Calls() {
		if c.Action == "DeleteAccessKey" && !slices.Contains(users, c.User) {
			users = append(users, c.User)
		}
	}
	return users
}

// callAPI makes an API request and returns the answer, or the error.
func (w *world) callAPI(subject string) (messages.Reply, error) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), lessortest.Patience)
	defer cancel()
	msg, err := w.Conn.RequestWithContext(ctx, subject, nil)
	if err != nil {
		return messages.Reply{}, err
	}
	r, err := messages.DecodeReply(msg.Data)
	w.NoError(err)
	return r, nil
}

// wantNoOrphans fails the test if a user is not that of a live lease.
func (w *world) wantNoOrphans() {
	w.T.Helper()
	known := map[string]bool{}
	for _, r := range w.Records() {
		if !r.State.Ended() {
			known[r.User.Name] = true
		}
	}
	for _, u := range w.Sim.Users() {
		if !known[u.Name] {
			w.T.Errorf("no lease knows the user %s", u.Name)
		}
	}
}

// mustRevoke revokes a lease by command, which must succeed.
func (w *world) mustRevoke(lease messages.Reply) {
	w.T.Helper()
	w.WantKind(w.Revoke(lease), messages.KindRevoked)
}

// wantUsers fails the test unless a lease is active and the account has so many users.
func (w *world) wantUsers(lease messages.Reply, users int) {
	w.T.Helper()
	if n := w.Sim.UserCount(); n != users {
		w.T.Fatalf("%d users, not %d", n, users)
	}
	w.WaitState(lease.Lease.Name, messages.StateActive)
}

// deliveryEffect returns the number of the effect by which a request is delivered.
func deliveryEffect(t *testing.T, body string) int {
	w := newWorld(t)
	first := w.Broker()
	w.Put(first, lessortest.Secret)
	first.Close()
	m := &lessortest.Crash{At: 0, After: false}
	b := w.CrashingBroker(m)
	m.Arm()
	w.Answer(w.Publish(w.Namespace.Request("alice", "ci"), body))
	b.Kill()
	for i, e := range m.Effects() {
		if strings.HasPrefix(e, "_INBOX") {
			return i + 1
		}
	}
	t.Fatal("no delivery")
	return 0
}
