package consumer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// returning connects as a broker does: it finds the server again.
func (w *world) returning(url string, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	w.ok(err)
	w.t.Cleanup(nc.Close)
	return nc
}

// watchful looks after its streams all the time.
func watchful(c *consumer.Config) { c.MaintainEvery = 50 * time.Millisecond }

// steady is a watchful broker that finds its server again.
func (w *world) steady(change ...func(*consumer.Config)) *broker {
	w.t.Helper()
	b, err := w.tryBroker(w.returning(w.server.URL()), append([]func(*consumer.Config){watchful}, change...)...)
	w.ok(err)
	return b
}

// stopNATS stops the server, and says where it was.
func (w *world) stopNATS() (address string) {
	address = strings.TrimPrefix(w.server.URL(), "nats://")
	w.nc.Close()
	w.server.Close()
	return address
}

// says waits until the broker's health has these words; "" waits until it is well.
func (w *world) says(b *broker, words string) {
	w.t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		last = errors.Join(b.Healthy(ctx), b.sched.Healthy())
		cancel()
		if words == "" && last == nil || words != "" && last != nil && strings.Contains(last.Error(), words) {
			return
		}
	}
	w.t.Fatalf("the broker does not say %q but %v\n%s", words, last, w.logs)
}

// created is how many users were ever asked for.
func (w *world) created() int {
	n := 0
	for _, c := range w.sim.Calls() {
		if c.Action == "CreateUser" {
			n++
		}
	}
	return n
}

// deleted are the users whose keys were deleted, in the order in which that began.
func (w *world) deleted() []string {
	var users []string
	for _, c := range w.sim.Calls() {
		if c.Action == "DeleteAccessKey" && !slices.Contains(users, c.User) {
			users = append(users, c.User)
		}
	}
	return users
}

// lines is how many lines of the log have the words.
func (w *world) lines(words string) int { return strings.Count(w.logs.String(), words) }

// door asks at the front door and returns the answer, or the error.
func (w *world) door(subject string) (messages.Reply, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msg, err := w.nc.RequestWithContext(ctx, subject, nil)
	if err != nil {
		return messages.Reply{}, err
	}
	r, err := messages.DecodeReply(msg.Data)
	w.ok(err)
	return r, nil
}

// everyUserHasALease compares AWS with the bucket.
func (w *world) everyUserHasALease() {
	w.t.Helper()
	known := map[string]bool{}
	for _, r := range w.records() {
		if !r.State.Ended() {
			known[r.User.Name] = true
		}
	}
	for _, u := range w.sim.Users() {
		if !known[u.Name] {
			w.t.Errorf("no lease knows the user %s", u.Name)
		}
	}
}

// TestNATSIsAwayForAnHour: what falls due meanwhile is dead at AWS by itself, and is
// ended when NATS is back, the longest due first. The rest lives.
func TestNATSIsAwayForAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.steady(func(c *consumer.Config) { c.Workers.Revoke = 1 })
	w.put(b, plainSecret)
	due := map[string]messages.Reply{}
	for _, ttl := range []string{"40m", "10m", "50m", "20m", "30m", "15m"} {
		due[ttl] = w.lease("ci", `{"ttl":"`+ttl+`"}`)
	}
	lives := w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	address := w.stopNATS()
	w.says(b, "NATS: ")
	w.clock.move(35 * time.Minute)
	if !w.works(due["40m"].Credentials) || w.works(due["30m"].Credentials) {
		t.Error("AWS does not go by the leases' ends while NATS is away")
	}
	w.clock.move(25 * time.Minute)
	for ttl, r := range due {
		if w.works(r.Credentials) {
			t.Errorf("the key of a lease of %s works after an hour", ttl)
		}
	}
	if !w.works(lives.Credentials) {
		t.Error("a key does not work before its lease ends")
	}
	if n := w.sim.UserCount(); n != len(due)+1 {
		t.Errorf("%d users while NATS is away", n)
	}

	w.startNATS(func(o *embedded.Options) { o.Listen = address })
	w.eventually("what fell due is over", func() bool { return w.sim.UserCount() == 1 })
	w.says(b, "")
	w.alive(lives)
	var want []string
	for _, ttl := range []string{"10m", "15m", "20m", "30m", "40m", "50m"} {
		want = append(want, due[ttl].Credentials.Username)
	}
	if got := w.deleted(); !slices.Equal(got, want) {
		t.Errorf("ended in the order\n%q, not\n%q", got, want)
	}
	for _, r := range due {
		if rec := w.state(r.Lease.Name, messages.StateRevoked); rec.Reason != messages.ReasonExpired {
			t.Errorf("%s: %s", r.Lease.Name, rec.Reason)
		}
	}
	if n := w.lines("a reminder did not get through"); n > 1 {
		t.Errorf("%d lines about reminders", n)
	}
	w.lease("ci", "{}")
}

// TestJetStreamHasNoRoom: there is no new lease, those that end do, and new ones are
// given again when there is room.
func TestJetStreamHasNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stopNATS()
	w.startNATS(func(o *embedded.Options) {
		o.Configure = func(o *server.Options) { o.JetStreamMaxStore = 512 << 10 }
	})
	b := w.steady()
	w.put(b, plainSecret)
	due, unwanted, lives := w.lease("ci", `{"ttl":"10m"}`), w.lease("ci", `{"ttl":"1h"}`), w.lease("ci", `{"ttl":"3h"}`)
	w.quiet()
	w.eventually("the broker has its reserve", func() bool { return b.HasReserve() })
	w.clock.move(3 * time.Minute) // a user that AWS does not show is looked for again as long as it is young
	_, err := w.js.CreateStream(w.ctx(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"others"}})
	w.ok(err)
	for _, size := range []int{16 << 10, 256, 1} {
		for {
			if _, err = w.js.Publish(w.ctx(), "others", make([]byte, size)); err != nil {
				break
			}
		}
	}
	made := w.created()
	if r, err := w.door(w.ns.API("request", "alice", "ci")); err != nil || r.Kind != messages.KindError || r.Error.Code != messages.CodeUnavailable {
		t.Fatalf("a request where there is no room: %+v %v %v", r, r.Error, err)
	}
	w.says(b, "JetStream has no room left")
	w.eventually("a lease is revoked", func() bool {
		name := nameOf(w, unwanted)
		r, err := w.door(w.ns.API("revoke", name.Identity, name.Secret, name.ID))
		w.ok(err)
		return r.Kind == messages.KindRevoked
	})
	w.clock.move(15 * time.Minute)
	w.state(due.Lease.Name, messages.StateRevoked)
	asked := w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`) // in the room that was made
	w.says(b, "JetStream has no room left")
	w.alive(lives)
	if w.created() != made {
		t.Errorf("%d users made without room for their records", w.created()-made)
	}

	w.ok(w.js.DeleteStream(w.ctx(), "OTHERS"))
	w.says(b, "")
	if r, _ := w.answer(asked); r.Kind != messages.KindCredentials {
		t.Fatalf("%+v %v", r, r.Error)
	}
	w.everyUserHasALease()
	if n := w.lines("JetStream fails"); n > 8 {
		t.Errorf("%d lines about one trouble", n)
	}
}
