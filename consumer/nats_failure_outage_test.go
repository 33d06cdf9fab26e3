package consumer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// TestLeasesExpireAtAWSWhileNATSIsAway: when NATS is back the expired leases are ended,
// in the order in which they were due. The others live.
func TestLeasesExpireAtAWSWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steadyBroker(func(c *consumer.Config) { c.Workers.Revoke = 1 })
	w.Put(b, lessortest.Secret)
	due := map[string]messages.Reply{}
	for _, ttl := range []string{"40m", "10m", "50m", "20m", "30m", "15m"} {
		due[ttl] = w.Lease("ci", `{"ttl":"`+ttl+`"}`)
	}
	lives := w.Lease("ci", `{"ttl":"3h"}`)
	w.WaitQueuesEmpty()
	address := w.StopNATS()
	w.WaitHealth(b, "NATS: ")
	w.Clock.Advance(35 * time.Minute)
	if !w.Works(due["40m"].Credentials) || w.Works(due["30m"].Credentials) {
		t.Error("AWS does not enforce the leases' ends while NATS is away")
	}
	w.Clock.Advance(25 * time.Minute)
	for ttl, r := range due {
		if w.Works(r.Credentials) {
			t.Errorf("the key of a lease of %s works after an hour", ttl)
		}
	}
	if !w.Works(lives.Credentials) {
		t.Error("the key of a live lease does not work")
	}
	if n := w.Sim.UserCount(); n != len(due)+1 {
		t.Errorf("%d users while NATS is away", n)
	}

	w.StartNATS(func(o *embedded.Options) { o.Listen = address })
	w.Eventually("the expired leases have ended", func() bool { return w.Sim.UserCount() == 1 })
	w.WaitHealth(b, "")
	w.WantActive(lives)
	var want []string
	for _, ttl := range []string{"10m", "15m", "20m", "30m", "40m", "50m"} {
		want = append(want, due[ttl].Credentials.Username)
	}
	if got := w.keyDeletions(); !slices.Equal(got, want) {
		t.Errorf("the keys were deleted in the order\n%q, want\n%q", got, want)
	}
	for _, r := range due {
		if rec := w.WaitState(r.Lease.Name, messages.StateRevoked); rec.Reason != messages.ReasonExpired {
			t.Errorf("%s: %s", r.Lease.Name, rec.Reason)
		}
	}
	if n := w.Logs.Count("a reminder did not get through"); n > 1 {
		t.Errorf("%d log lines about reminders", n)
	}
	w.Lease("ci", "{}")
}

func TestFullJetStreamEndsLeasesAndMakesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.StopNATS()
	w.StartNATS(func(o *embedded.Options) {
		o.Configure = func(o *server.Options) { o.JetStreamMaxStore = 512 << 10 }
	})
	b := w.steadyBroker()
	w.Put(b, lessortest.Secret)
	due, unwanted, lives := w.Lease("ci", `{"ttl":"10m"}`), w.Lease("ci", `{"ttl":"1h"}`), w.Lease("ci", `{"ttl":"3h"}`)
	w.WaitQueuesEmpty()
	w.Eventually("the reserve is filled", func() bool { return w.hasReserve() })
	w.Clock.Advance(3 * time.Minute) // AWS may not show a young user; it is looked for until it is older
	_, err := w.JS.CreateStream(w.Context(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"others"}})
	w.NoError(err)
	for _, size := range []int{16 << 10, 256, 1} {
		for {
			if _, err = w.JS.Publish(w.Context(), "others", make([]byte, size)); err != nil {
				break
			}
		}
	}
	made := w.createdUsers()
	if r, err := w.callAPI(w.Namespace.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Fatalf("a request without room: %+v %v %v", r, r.Error, err)
	}
	w.WaitHealth(b, "JetStream has no room left")
	w.Eventually("a lease is revoked", func() bool {
		name := w.NameOf(unwanted)
		r, err := w.callAPI(w.Namespace.API("revoke", name.Identity, name.Secret, name.ID))
		w.NoError(err)
		return r.Kind == messages.KindRevoked
	})
	w.Clock.Advance(15 * time.Minute)
	w.WaitState(due.Lease.Name, messages.StateRevoked)
	waiting, err := w.Conn.SubscribeSync(w.Conn.NewInbox())
	w.NoError(err)
	request := nats.NewMsg(w.Namespace.Request("alice", "ci"))
	request.Header.Set(messages.HeaderReplyTo, waiting.Subject)
	w.Eventually("a request is stored in the room of the ended leases", func() bool {
		_, err := w.JS.PublishMsg(w.Context(), request)
		return err == nil
	})
	w.WaitHealth(b, "JetStream has no room left")
	w.WantActive(lives)
	if w.createdUsers() != made {
		t.Errorf("%d users were made without room for their records", w.createdUsers()-made)
	}

	w.NoError(w.JS.DeleteStream(w.Context(), "OTHERS"))
	w.WaitHealth(b, "")
	w.WantKind(first(w.Answer(waiting)), messages.KindCredentials)
	w.wantNoOrphans()
	if n := w.Logs.Count("JetStream fails"); n > 8 {
		t.Errorf("%d log lines about one problem", n)
	}
}
