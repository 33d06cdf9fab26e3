//go:build unix

package natsconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// attackTest is a test world in which alice attacks bob.
type attackTest struct {
	*testWorld
	alice, bob *nats.Conn
	js         jetstream.JetStream // with the broker's rights
	own        messages.Lease      // alice's
	victim     messages.Lease      // bob's
	key        string              // of the victim
	revision   uint64              // of the victim's record
}

func newAttackTest(t *testing.T, setup natsSetup, change ...func(*server.Options)) *attackTest {
	t.Helper()
	w := newTestWorld(t, setup, change...)
	w.serve()
	s := &attackTest{testWorld: w, alice: w.connect("requester", "alice"), bob: w.connect("requester", "bob"), js: w.inspect()}
	s.own = *s.lease(s.alice, "alice", "").Lease
	return s
}

// next returns the test of one attack, with a lease of bob's as its victim.
func (s *attackTest) next() *attackTest {
	s.t.Helper()
	if rec, _, ok := s.record(s.own.Name); !ok || rec.State != messages.StateActive {
		s.own = *s.lease(s.alice, "alice", "").Lease
	}
	w := *s
	r := w.lease(w.bob, "bob", "")
	w.victim, w.key = *r.Lease, r.Credentials.AccessKeyID
	clitest.Eventually(s.t, "the delivery is recorded", func() bool {
		rec, revision, ok := w.record(w.victim.Name)
		w.revision = revision
		return ok && rec.Settled()
	})
	return &w
}

// record reads a lease's record from the stream's leader.
func (s *attackTest) record(name string) (record.Record, uint64, bool) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), "KV_"+s.ns.LeaseBucket())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return record.Record{}, 0, false
	}
	s.ok(err)
	m, err := stream.GetLastMsgForSubject(s.t.Context(), "$KV."+s.ns.LeaseBucket()+"."+name)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return record.Record{}, 0, false
	}
	s.ok(err)
	rec, err := record.Decode(m.Data)
	return rec, m.Sequence, err == nil
}

// victimHarmed returns what has changed about bob's lease; "": nothing.
func (s *attackTest) victimHarmed() string {
	rec, revision, ok := s.record(s.victim.Name)
	switch {
	case !ok:
		return "the record is missing, or can't be read"
	case revision != s.revision:
		return fmt.Sprintf("the record was written: %s, %d renewals", rec.State, rec.Renewals)
	}
	if _, ok := s.sim.User(s.victim.Username); !ok {
		return "the user is deleted"
	}
	return ""
}

// kvVictim returns the subject of bob's record.
func (s *attackTest) kvVictim() string { return "$KV." + s.ns.LeaseBucket() + "." + s.victim.Name }

// api returns the API's subject for bob's lease.
func (s *attackTest) api(verb string) string { return s.ns.API(verb, s.victim.Name) }

// settled waits until the broker has handled all messages in the streams.
func (s *attackTest) settled() {
	s.t.Helper()
	l := s.lease(s.alice, "alice", "")
	s.request(s.alice, s.ns.API("renew", l.Lease.Name), "")
	s.request(s.alice, s.ns.API("revoke", l.Lease.Name), "")
	clitest.Eventually(s.t, "the streams are empty", func() bool {
		for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
			stream, err := s.js.Stream(s.t.Context(), s.ns.Stream(v))
			s.ok(err)
			if stream.CachedInfo().State.Msgs > 0 {
				return false
			}
		}
		return true
	})
}

// listen subscribes and returns a function that returns what was received; "": nothing.
// NATS may refuse the subscriptions.
func (s *attackTest) listen(nc *nats.Conn, subjects ...string) func() string {
	s.t.Helper()
	var subs []*nats.Subscription
	for _, subject := range subjects {
		sub, err := nc.SubscribeSync(subject)
		s.ok(err)
		subs = append(subs, sub)
	}
	s.ok(nc.Flush())
	return func() string {
		for _, sub := range subs {
			if m, err := sub.NextMsg(time.Millisecond); err == nil {
				return fmt.Sprintf("received on %s: %.80s", m.Subject, m.Data)
			}
		}
		return ""
	}
}

// is returns harm if the reply is of this kind.
func (a response) is(kind string) func() string {
	return func() string {
		if a.reply.Kind == kind {
			return "the reply is " + kind
		}
		return ""
	}
}

// not returns harm if the reply is not of this kind.
func (a response) not(kind string) func() string {
	return func() string {
		if a.reply.Kind != kind {
			return fmt.Sprintf("the reply is %q, not %q: %v", a.reply.Kind, kind, a.reply.Error)
		}
		return ""
	}
}

// holds returns harm if the reply contains this text.
func (a response) holds(text string) func() string {
	return func() string {
		if a.msg != nil && bytes.Contains(a.msg.Data, []byte(text)) {
			return "the reply contains " + text
		}
		return ""
	}
}

// anyOf returns the first of several harms.
func anyOf(harms ...func() string) func() string {
	return func() string {
		for _, h := range harms {
			if what := h(); what != "" {
				return what
			}
		}
		return ""
	}
}

// requestAlice is the stream's subject for alice's requests, which bypasses the API.
const requestAlice = "lessor.request.alice.ci"

// aimed sends a request of alice's with a forged reply subject for the stream's
// acknowledgement.
func (s *attackTest) aimed(reply string) { s.send(s.alice, requestAlice, reply, "{}") }

// forged sends a request with headers that mean something to NATS or to the broker.
func (s *attackTest) forged(header ...string) response {
	return s.request(s.alice, s.ns.API("request", "alice", "ci"), "", header...)
}

// endedBy returns harm if a lease has ended for this reason.
func (s *attackTest) endedBy(name string, reason messages.Reason) func() string {
	return func() string {
		if rec, _, _ := s.record(name); rec.Reason == reason {
			return "the lease has ended with the reason " + string(reason)
		}
		return ""
	}
}

// lease returns a lease's name.
func lease(l messages.Lease) messages.LeaseName {
	return messages.LeaseName{Identity: l.Identity, Secret: l.Secret, ID: l.ID}
}

// useNames sends requests with invalid names. It is harm if one gets a lease.
func (s *attackTest) useNames(nc *nats.Conn, subject func(string) string) func() string {
	s.t.Helper()
	var harms []func() string
	for _, name := range names {
		harms = append(harms, s.request(nc, subject(name), "").is(messages.KindCredentials))
	}
	return anyOf(harms...)
}

// event reads the first event on a subject as an auditor.
func (s *attackTest) event(subject string) response {
	s.t.Helper()
	return s.request(s.connect("auditor", "audrey"), eventHistory(s.ns), fmt.Sprintf(`{"seq":1,"next_by_subj":%q}`, subject))
}

// eventCount returns the number of events in the stream.
func (s *attackTest) eventCount() uint64 {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.ns.EventStream())
	s.ok(err)
	return stream.CachedInfo().State.Msgs
}

// commands sends two of an operator's commands under a name: one that reads, and one that
// revokes.
func (s *attackTest) commands(nc *nats.Conn, name string) func() string {
	s.t.Helper()
	as := func(subject string) string {
		if name == "" {
			return subject
		}
		return s.ns.AdminAs(name, subject)
	}
	return anyOf(s.request(nc, as(s.ns.AdminSecret(messages.AdminList)), "").is(messages.KindSecrets),
		s.request(nc, as(s.ns.AdminLease(messages.AdminLeaseRevoke)), `{"lease":"`+s.victim.Name+`"}`).is(messages.KindAccepted), s.victimHarmed)
}

// commandEvent returns harm if there is an event of a command by this operator.
func (s *attackTest) commandEvent(operator string) func() string {
	return func() string {
		return s.event("lessor.event._admin." + operator + ".*.command").holds("lessor.admin.command")()
	}
}

// afterARequest returns the harm after bob has leased a secret.
func (s *attackTest) afterARequest(heard func() string) func() string {
	s.t.Helper()
	s.lease(s.bob, "bob", "")
	return heard
}

// TestAttacks makes every attack on the configuration that nats-config makes: all are
// refused.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, setup := range []natsSetup{staticUsers, jwtUsers} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			s, refused := newAttackTest(t, setup), 0
			var harms []func() string
			for _, a := range attacks() {
				harms = append(harms, a.do(s.next()))
			}
			s.settled()
			for i, a := range attacks() {
				t.Run(a.name, func(t *testing.T) {
					if what := harms[i](); what != "" {
						t.Fatalf("it succeeds: %s", what)
					}
					refused++
				})
			}
			s.notViolated()
			t.Logf("%d of %d attacks are refused", refused, len(attacks()))
		})
	}
}

// TestAttacksInOneAccount makes every attack with all users in the brokers' account, and
// checks which of them succeed.
func TestAttacksInOneAccount(t *testing.T) {
	t.Parallel()
	for setup, succeeds := range map[natsSetup]func(attack) bool{
		openAccount: func(a attack) bool { return a.alone == "" },
		oneAccount:  func(a attack) bool { return a.permitted },
	} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			s, succeeded := newAttackTest(t, setup), 0
			whole := s.t
			for _, a := range attacks() {
				t.Run(a.name, func(t *testing.T) {
					s.t = t
					defer func() { s.t = whole }()
					what := s.next().attempt(a, succeeds(a))
					if (what != "") != succeeds(a) {
						t.Fatalf("the harm is %q; refused by: %s", what, a.alone)
					}
					if what != "" {
						succeeded++
					}
				})
			}
			t.Logf("%d of %d attacks succeed", succeeded, len(attacks()))
		})
	}
}

// attempt makes an attack and returns its harm after everything was handled. It waits for
// an attack that should succeed.
func (s *attackTest) attempt(a attack, succeeds bool) (what string) {
	s.t.Helper()
	harm := a.do(s)
	if succeeds {
		clitest.Eventually(s.t, a.name+" succeeds", func() bool { what = harm(); return what != "" })
		return what
	}
	s.settled()
	return harm()
}

// TestAttacksAreDocumented checks that the documentation has the list of attacks and their
// results.
func TestAttacksAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/nats-accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	permitted, alone := 0, 0
	for _, a := range attacks() {
		with, without := "refused", a.alone
		if a.permitted {
			with = "**succeeds**"
			permitted++
		}
		if without == "" {
			without = "**succeeds**"
			alone++
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", a.name, with, without)
	}
	want := fmt.Sprintf("| %d attacks | with permissions: %d succeed | without: %d succeed, and the others are refused, because |\n| --- | --- | --- |\n%s",
		len(attacks()), permitted, alone, table.String())
	if !strings.Contains(string(text), want) {
		t.Errorf("docs/nats-accounts.md does not have\n%s", want)
	}
}
