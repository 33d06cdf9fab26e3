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

// siege is a NATS world with people in it: alice, who attacks, and bob.
type siege struct {
	*natsWorld
	alice, bob *nats.Conn
	js         jetstream.JetStream // with the broker's rights
	own        messages.Lease      // alice's
	victim     messages.Lease      // bob's
	key        string              // of the victim
	revision   uint64              // of the victim's record
}

func newSiege(t *testing.T, setup natsSetup, change ...func(*server.Options)) *siege {
	t.Helper()
	w := newNATSWorld(t, setup, change...)
	w.serve()
	s := &siege{natsWorld: w, alice: w.connect("requester", "alice"), bob: w.connect("requester", "bob"), js: w.inspect()}
	s.own = *s.lease(s.alice, "alice", "").Lease
	return s
}

// next is the siege of one attack, with a victim of its own.
func (s *siege) next() *siege {
	s.t.Helper()
	if rec, _, ok := s.record(s.own.Name); !ok || rec.State != messages.StateActive {
		s.own = *s.lease(s.alice, "alice", "").Lease
	}
	w := *s
	r := w.lease(w.bob, "bob", "")
	w.victim, w.key = *r.Lease, r.Credentials.AccessKeyID
	clitest.Eventually(s.t, "the delivery is written down", func() bool {
		rec, revision, ok := w.record(w.victim.Name)
		w.revision = revision
		return ok && rec.Settled()
	})
	return &w
}

// record reads a lease's record as the broker does.
func (s *siege) record(name string) (record.Record, uint64, bool) {
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

// victimHarmed says what has become of bob's lease, if anything has.
func (s *siege) victimHarmed() string {
	rec, revision, ok := s.record(s.victim.Name)
	switch {
	case !ok:
		return "the record is gone, or can't be read"
	case revision != s.revision:
		return fmt.Sprintf("the record was written: %s, %d renewals", rec.State, rec.Renewals)
	}
	if _, ok := s.sim.User(s.victim.Username); !ok {
		return "the user is gone"
	}
	return ""
}

// kvVictim is the subject on which bob's record is written.
func (s *siege) kvVictim() string { return "$KV." + s.ns.LeaseBucket() + "." + s.victim.Name }

// door is the front door's subject about bob's lease.
func (s *siege) door(verb string) string { return s.ns.API(verb, s.victim.Name) }

// settled waits until the broker has handled all that the streams have.
func (s *siege) settled() {
	s.t.Helper()
	l := s.lease(s.alice, "alice", "")
	s.ask(s.alice, s.ns.API("renew", l.Lease.Name), "")
	s.ask(s.alice, s.ns.API("revoke", l.Lease.Name), "")
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

// heard listens, as somebody, and tells whether anything came. NATS may not allow
// it to listen.
func (s *siege) heard(nc *nats.Conn, subjects ...string) func() string {
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
				return fmt.Sprintf("heard on %s: %.80s", m.Subject, m.Data)
			}
		}
		return ""
	}
}

// is says that an answer is of a kind that it should not be.
func (a asked) is(kind string) func() string {
	return func() string {
		if a.reply.Kind == kind {
			return "the answer is " + kind
		}
		return ""
	}
}

// not says that an answer is not of the kind that it should be.
func (a asked) not(kind string) func() string {
	return func() string {
		if a.reply.Kind != kind {
			return fmt.Sprintf("the answer is %q, not %q: %v", a.reply.Kind, kind, a.reply.Error)
		}
		return ""
	}
}

// holds says that an answer has what should not be in it.
func (a asked) holds(text string) func() string {
	return func() string {
		if a.msg != nil && bytes.Contains(a.msg.Data, []byte(text)) {
			return "the answer holds " + text
		}
		return ""
	}
}

// anyOf is the first harm of several.
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

// requestAlice is the stream's own subject for alice's requests, beside the front
// door.
const requestAlice = "lessor.request.alice.ci"

// aimed is a request of alice's whose acknowledgement by the stream is to go somewhere.
func (s *siege) aimed(reply string) { s.send(s.alice, requestAlice, reply, "{}") }

// forged are headers that mean something to NATS or to the broker.
func (s *siege) forged(header ...string) asked {
	return s.ask(s.alice, s.ns.API("request", "alice", "ci"), "", header...)
}

// endedBy says that a lease has ended for a reason.
func (s *siege) endedBy(name string, reason messages.Reason) func() string {
	return func() string {
		if rec, _, _ := s.record(name); rec.Reason == reason {
			return "the lease has ended, it is said, by " + string(reason)
		}
		return ""
	}
}

// lease is a lease's name.
func lease(l messages.Lease) messages.LeaseName {
	return messages.LeaseName{Identity: l.Identity, Secret: l.Secret, ID: l.ID}
}

// named asks with names that are none, and is harm where one is served.
func (s *siege) named(nc *nats.Conn, subject func(string) string) func() string {
	s.t.Helper()
	var harms []func() string
	for _, name := range names {
		harms = append(harms, s.ask(nc, subject(name), "").is(messages.KindCredentials))
	}
	return anyOf(harms...)
}

// told is the first event on a subject, as an auditor reads it.
func (s *siege) told(subject string) asked {
	s.t.Helper()
	return s.ask(s.connect("auditor", "audrey"), eventHistory(s.ns), fmt.Sprintf(`{"seq":1,"next_by_subj":%q}`, subject))
}

// happened is how many events the stream has.
func (s *siege) happened() uint64 {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.ns.EventStream())
	s.ok(err)
	return stream.CachedInfo().State.Msgs
}

// orders are an operator's, under a name: one that looks, and one that does something.
func (s *siege) orders(nc *nats.Conn, name string) func() string {
	s.t.Helper()
	as := func(subject string) string {
		if name == "" {
			return subject
		}
		return s.ns.AdminAs(name, subject)
	}
	return anyOf(s.ask(nc, as(s.ns.AdminSecret(messages.AdminList)), "").is(messages.KindSecrets),
		s.ask(nc, as(s.ns.AdminLease(messages.AdminLeaseRevoke)), `{"lease":"`+s.victim.Name+`"}`).is(messages.KindAccepted), s.victimHarmed)
}

// toldOf is harm that shows in an event of an operator's command.
func (s *siege) toldOf(operator string) func() string {
	return func() string {
		return s.told("lessor.event._admin." + operator + ".*.command").holds("lessor.admin.command")()
	}
}

// heardAfter is harm that shows when bob has asked for a lease.
func (s *siege) heardAfter(heard func() string) func() string {
	s.t.Helper()
	s.lease(s.bob, "bob", "")
	return heard
}

// TestAttacks tries every attack on the configuration that nats-config makes: all are
// refused.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, setup := range []natsSetup{staticUsers, jwtUsers} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			s, refused := newSiege(t, setup), 0
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

// TestAttacksInOneAccount tries them where everybody is in the brokers' account, and
// makes sure which succeed there.
func TestAttacksInOneAccount(t *testing.T) {
	t.Parallel()
	for setup, succeeds := range map[natsSetup]func(attack) bool{
		openAccount: func(a attack) bool { return a.alone == "" },
		oneAccount:  func(a attack) bool { return a.permitted },
	} {
		t.Run(string(setup), func(t *testing.T) {
			t.Parallel()
			s, succeeded := newSiege(t, setup), 0
			whole := s.t
			for _, a := range attacks() {
				t.Run(a.name, func(t *testing.T) {
					s.t = t
					defer func() { s.t = whole }()
					what := s.next().suffer(a, succeeds(a))
					if (what != "") != succeeds(a) {
						t.Fatalf("what came of it is %q; refused by: %s", what, a.alone)
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

// suffer makes an attack, and returns what came of it when all has been handled. One
// that should succeed may take its time.
func (s *siege) suffer(a attack, succeeds bool) (what string) {
	s.t.Helper()
	harm := a.do(s)
	if succeeds {
		clitest.Eventually(s.t, a.name+" succeeds", func() bool { what = harm(); return what != "" })
		return what
	}
	s.settled()
	return harm()
}

// TestTheAttacksAreDocumented makes sure that the documentation has the list, and what
// comes of each attack.
func TestTheAttacksAreDocumented(t *testing.T) {
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
