package consumer_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

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

// isAboutItself reports whether a call is about the caller's own access keys.
func isAboutItself(c iamsim.Call, action string) bool {
	return c.Action == action && c.Params.Get("UserName") == ""
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
