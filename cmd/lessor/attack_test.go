//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// attack is something that somebody does who should not. It returns what tells, when
// all has been handled, what harm came of it: "" for none.
type attack struct {
	name string
	do   func(*siege) (harm func() string)
	// alone says what refuses it where everybody is in one account without
	// permissions; "": nothing does.
	alone string
	// permitted says that it succeeds in one account in spite of permissions.
	permitted bool
}

// What refuses an attack that NATS lets through.
const (
	byReply   = "the broker answers on inboxes only"
	byNames   = "the broker takes names of a-z, 0-9, _ and - only"
	byBody    = "the broker takes no body with fields that it does not know"
	byHeaders = "the front door passes on no header but its own"
	byName    = "a lease is found by its whole name, identity included"
	byToken   = "a confirmation needs a token that the broker has made"
	byKey     = "an idempotency key counts for its identity alone"
	byRenewal = "a renewal never moves the end back, nor past the most"
	bySize    = "the broker bounds bodies and keys"
	byRation  = "the door asks for the lease first, and tells so many refusals a minute"
	byStream  = "the streams' own settings"
	byServer  = "the NATS server bounds a subject, and ends the connection"
	byAPI     = "JetStream's API takes no fields that it does not know"
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
	eventually(s.t, "the delivery is written down", func() bool {
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
	eventually(s.t, "the streams are empty", func() bool {
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

// names are what is no name of anybody.
var names = []string{
	"*", ">", "alice.bob", "Bob", "bob\u200b", "b\u043eb", "ｂｏｂ", "bob%2e", "_R_", "$SYS", "~", strings.Repeat("b", 65), strings.Repeat("b", 3000),
}

var replyAttacks = []attack{
	{name: "a stream's acknowledgement written over a record", permitted: true, do: func(s *siege) func() string {
		s.aimed(s.kvVictim())
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement sent to JetStream's API", alone: byAPI, do: func(s *siege) func() string {
		s.aimed("$JS.API.STREAM.PURGE.KV_lessor_lease")
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement as a revocation of another's lease", alone: byBody, do: func(s *siege) func() string {
		s.aimed(s.ns.Revoke(lease(s.victim)))
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement as an order to the admin service", alone: byReply, do: func(s *siege) func() string {
		s.aimed(s.ns.AdminSecret(messages.AdminDelete))
		return s.ask(s.bob, s.ns.API("request", "bob", "ci"), "").not(messages.KindCredentials)
	}},
	{name: "the front door's answer written over a record", alone: byReply, do: func(s *siege) func() string {
		s.send(s.alice, s.ns.API("list", "alice"), s.kvVictim(), "")
		s.send(s.alice, s.ns.API("request", "alice", "ci"), s.kvVictim(), "")
		return s.victimHarmed
	}},
	{name: "the front door's answer sent to JetStream's API", alone: byReply, do: func(s *siege) func() string {
		s.send(s.alice, s.ns.API("list", "alice"), "$JS.API.STREAM.PURGE.KV_lessor_lease", "")
		return s.victimHarmed
	}},
	{name: "the front door's answer as a revocation of another's lease", alone: byReply, do: func(s *siege) func() string {
		s.send(s.alice, s.ns.API("get", s.own.Name), s.ns.Revoke(lease(s.victim)), "")
		s.send(s.alice, s.ns.API("get", s.own.Name), s.door("revoke"), "")
		return s.victimHarmed
	}},
	{name: "the front door's answer sent to another's inbox", do: func(s *siege) func() string {
		inbox := s.bob.NewInbox()
		heard := s.heard(s.bob, inbox)
		s.send(s.alice, s.ns.API("get", s.own.Name), inbox, "")
		return heard
	}},
	{name: "the front door's answer sent to another's deliver subject", alone: byReply, do: func(s *siege) func() string {
		heard := s.heard(s.bob, "lessor.deliver.bob.x")
		s.send(s.alice, s.ns.API("get", s.own.Name), "lessor.deliver.bob.x", "")
		return heard
	}},
	{name: "the admin service's answer written over a record", alone: byReply, do: func(s *siege) func() string {
		s.send(s.connect("operator", "olga"), s.ns.AdminAs("olga", s.ns.AdminSecret(messages.AdminList)), s.kvVictim(), "")
		return s.victimHarmed
	}},
	{name: "an auditor's reading written over a record", permitted: true, do: func(s *siege) func() string {
		s.send(s.connect("auditor", "audrey"), eventHistory(s.ns), s.kvVictim(), `{"seq":1}`)
		return s.victimHarmed
	}},
	{name: "an operator's reading written over a record", permitted: true, do: func(s *siege) func() string {
		s.send(s.connect("operator", "olga"), eventHistory(s.ns), s.kvVictim(), `{"seq":2}`)
		return s.victimHarmed
	}},
	{name: "an operator's reading as an order under another's name", alone: byReply, do: func(s *siege) func() string {
		s.send(s.connect("operator", "olga"), eventHistory(s.ns), s.ns.AdminAs("kim", s.ns.AdminSecret(messages.AdminGet)), `{"seq":2}`)
		return s.toldOf("kim")
	}},
}

// forged are headers that mean something to NATS or to the broker.
func (s *siege) forged(header ...string) asked {
	return s.ask(s.alice, s.ns.API("request", "alice", "ci"), "", header...)
}

var headerAttacks = []attack{
	{name: "Lessor-Reply-To at the front door", alone: byHeaders, do: func(s *siege) func() string {
		inbox := s.bob.NewInbox()
		heard := s.heard(s.bob, inbox)
		return anyOf(s.forged(messages.HeaderReplyTo, inbox).not(messages.KindCredentials), heard)
	}},
	{name: "Lessor-Reply-To on the stream", do: func(s *siege) func() string {
		inbox := s.bob.NewInbox()
		heard := s.heard(s.bob, inbox)
		s.send(s.alice, requestAlice, "", "", messages.HeaderReplyTo, inbox)
		return heard
	}},
	{name: "Lessor-Reply-To on the stream, a record", alone: byReply, do: func(s *siege) func() string {
		s.send(s.alice, requestAlice, "", "", messages.HeaderReplyTo, s.kvVictim())
		return s.victimHarmed
	}},
	{name: "Lessor-Reason, an operator's", alone: byHeaders, do: func(s *siege) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		s.ask(s.alice, s.ns.API("revoke", l.Name), "", messages.HeaderReason, string(messages.ReasonOperator))
		return s.endedBy(l.Name, messages.ReasonOperator)
	}},
	{name: "Lessor-Reason on the stream, an operator's", do: func(s *siege) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		s.send(s.alice, s.ns.Revoke(lease(*l)), "", "", messages.HeaderReason, string(messages.ReasonOperator))
		return s.endedBy(l.Name, messages.ReasonOperator)
	}},
	{name: "Lessor-Due, a reminder that is nobody's to send", alone: byHeaders, do: func(s *siege) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		return s.ask(s.alice, s.ns.API("revoke", l.Name), "", messages.HeaderDue, "2026-01-01T00:00:00Z").not(messages.KindRevoked)
	}},
	{name: "Lessor-Deadline, one that has passed", alone: byHeaders, do: func(s *siege) func() string {
		return s.forged(messages.HeaderDeadline, "2026-01-01T00:00:00Z").not(messages.KindCredentials)
	}},
	{name: "Nats-Msg-Id, twice the same", alone: byHeaders, do: func(s *siege) func() string {
		return anyOf(s.forged("Nats-Msg-Id", "x").not(messages.KindCredentials), s.forged("Nats-Msg-Id", "x").not(messages.KindCredentials))
	}},
	{name: "Nats-Rollup", alone: byHeaders, do: func(s *siege) func() string {
		return anyOf(s.forged("Nats-Rollup", "all").not(messages.KindCredentials), s.forged("Nats-Rollup", "sub").not(messages.KindCredentials))
	}},
	{name: "Nats-Rollup on the records", alone: byStream, do: func(s *siege) func() string {
		s.send(s.alice, "$KV.lessor_lease.alice.ci.none", "", "{}", "Nats-Rollup", "all")
		return s.victimHarmed
	}},
	{name: "Nats-Schedule with another's record as target", alone: byHeaders, do: func(s *siege) func() string {
		return anyOf(s.forged("Nats-Schedule", "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target", s.kvVictim(), "Nats-Schedule-TTL", "1h").
			not(messages.KindCredentials), s.victimHarmed)
	}},
	{name: "Nats-Schedule on the stream, with another's revocation as target", alone: byStream, do: func(s *siege) func() string {
		s.send(s.alice, s.ns.Revoke(lease(s.own)), "", "{}", "Nats-Schedule", "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target", s.ns.Revoke(lease(s.victim)))
		s.own = *s.lease(s.alice, "alice", "").Lease
		return s.victimHarmed
	}},
	{name: "Nats-Expected-…", alone: byHeaders, do: func(s *siege) func() string {
		var harms []func() string
		for header, value := range map[string]string{
			"Nats-Expected-Last-Sequence": "99999", "Nats-Expected-Last-Subject-Sequence": "99999",
			"Nats-Expected-Last-Msg-Id": "x", "Nats-Expected-Stream": "KV_lessor_lease", "Nats-TTL": "1s", "Nats-Batch-Id": "x",
		} {
			harms = append(harms, s.forged(header, value).not(messages.KindCredentials))
		}
		return anyOf(harms...)
	}},
	{name: "Nats-Msg-Id of an event that is to come", do: func(s *siege) func() string {
		e := messages.NewEvent(s.broker.Installation(), lease(s.victim), messages.EventRevoked, "1", s.now(), messages.EventData{})
		s.send(s.alice, s.ns.Event(lease(s.victim), messages.EventRevoked), "", "{}", "Nats-Msg-Id", e.ID)
		s.ask(s.bob, s.door("revoke"), "")
		return func() string {
			if s.told(s.ns.Event(lease(s.victim), messages.EventRevoked)).holds(`"reason":"requested"`)() == "" {
				return "the event is not the broker's"
			}
			return ""
		}
	}},
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

var identityAttacks = []attack{
	{name: "a lease for another", do: func(s *siege) func() string {
		return s.ask(s.alice, s.ns.API("request", "bob", "ci"), "").is(messages.KindCredentials)
	}},
	{name: "a lease for another on the stream", do: func(s *siege) func() string {
		inbox := s.alice.NewInbox()
		heard := s.heard(s.alice, inbox)
		s.send(s.alice, s.ns.Request("bob", "ci"), "", "", messages.HeaderReplyTo, inbox)
		return heard
	}},
	{name: "a lease of a secret that is not for her", do: func(s *siege) func() string {
		return s.ask(s.alice, s.ns.API("request", "alice", "prod"), "").is(messages.KindCredentials)
	}},
	{name: "a renewal with a leaked lease name", do: func(s *siege) func() string {
		s.ask(s.alice, s.door("renew"), `{"ttl":"5h"}`)
		return s.victimHarmed
	}},
	{name: "a revocation with a leaked lease name", do: func(s *siege) func() string {
		s.ask(s.alice, s.door("revoke"), "")
		return s.victimHarmed
	}},
	{name: "a renewal on the stream with a leaked lease name", do: func(s *siege) func() string {
		s.send(s.alice, s.ns.Renew(lease(s.victim)), "", `{"ttl":"5h"}`)
		return s.victimHarmed
	}},
	{name: "a revocation on the stream with a leaked lease name", do: func(s *siege) func() string {
		s.send(s.alice, s.ns.Revoke(lease(s.victim)), "", "")
		return s.victimHarmed
	}},
	{name: "another's lease id under her own name", alone: byName, do: func(s *siege) func() string {
		name := "alice.ci." + s.victim.ID
		s.ask(s.alice, s.ns.API("renew", name), `{"ttl":"5h"}`)
		s.ask(s.alice, s.ns.API("revoke", name), "")
		return anyOf(s.ask(s.alice, s.ns.API("get", name), "").is(messages.KindLease), s.victimHarmed)
	}},
	{name: "reading another's lease", do: func(s *siege) func() string {
		return s.ask(s.alice, s.door("get"), "").is(messages.KindLease)
	}},
	{name: "listing another's leases", do: func(s *siege) func() string {
		return s.ask(s.alice, s.ns.API("list", "bob"), "").is(messages.KindLeases)
	}},
	{name: "a confirmation in another's place", alone: byToken, do: func(s *siege) func() string {
		l := s.lease(s.bob, "bob", `{"confirm":true}`).Lease
		s.send(s.alice, s.ns.Confirm(lease(*l), "guessed"), "", "")
		return func() string {
			return s.told(s.ns.Event(lease(*l), messages.EventConfirmed)).holds("lessor.lease.confirmed")()
		}
	}},
	{name: "identities that are none", alone: byNames, do: func(s *siege) func() string {
		return s.named(s.alice, func(name string) string { return s.ns.API("request", name, "ci") })
	}},
	{name: "secrets that are none", alone: byNames, do: func(s *siege) func() string {
		// This one may lease all, so that its names reach the broker.
		return s.named(s.connect("requester", "deploy-bot"), func(name string) string { return s.ns.API("request", "deploy-bot", name) })
	}},
	{name: "names that are none on the stream", alone: byNames, do: func(s *siege) func() string {
		inbox := s.alice.NewInbox()
		heard := s.heard(s.alice, inbox)
		for _, name := range names {
			s.send(s.alice, s.ns.Request(name, "ci"), "", "", messages.HeaderReplyTo, inbox)
			s.send(s.alice, s.ns.Revoke(messages.LeaseName{Identity: name, Secret: "ci", ID: s.victim.ID}), "", "")
			s.send(s.alice, s.ns.Revoke(messages.LeaseName{Identity: "bob", Secret: name, ID: s.victim.ID}), "", "")
		}
		return anyOf(s.victimHarmed, func() string {
			if what := heard(); strings.Contains(what, messages.KindCredentials) {
				return what
			}
			return ""
		})
	}},
	{name: "a name of 10 kB", alone: byServer, do: func(s *siege) func() string {
		nc := s.connect("requester", "alice", nats.NoReconnect())
		long := strings.Repeat("b", 10<<10)
		s.ok(nc.PublishRequest(s.ns.API("request", long, "ci"), nc.NewInbox(), nil))
		ended := nc.Flush() // by the server
		return func() string {
			if ended == nil {
				return "the server takes it"
			}
			return ""
		}
	}},
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

var messageAttacks = []attack{
	{name: "another's idempotency key, used up before", alone: byKey, do: func(s *siege) func() string {
		s.forged(messages.HeaderIdempotencyKey, "job-7 "+s.victim.ID)
		return s.ask(s.bob, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-7 "+s.victim.ID).not(messages.KindCredentials)
	}},
	{name: "another's idempotency key, used up in his name", do: func(s *siege) func() string {
		s.ask(s.alice, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-8 "+s.victim.ID)
		s.settled() // until then he would be given the same key
		return s.ask(s.bob, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-8 "+s.victim.ID).not(messages.KindCredentials)
	}},
	{name: "an idempotency key of 10 kB", alone: bySize, do: func(s *siege) func() string {
		return s.forged(messages.HeaderIdempotencyKey, strings.Repeat("k", 10<<10)).is(messages.KindCredentials)
	}},
	{name: "a body of 17 kB", alone: bySize, do: func(s *siege) func() string {
		return s.ask(s.alice, s.ns.API("request", "alice", "ci"), strings.Repeat(" ", 17<<10)).is(messages.KindCredentials)
	}},
	{name: "renewals that are replayed and come in another order", alone: byRenewal, do: func(s *siege) func() string {
		l := *s.lease(s.alice, "alice", "").Lease
		var harms []func() string
		end := l.ExpiresAt
		for _, ttl := range []string{"3h", "1h", "5h", "3h", "1m", "5h", "24h", "24h"} {
			a := s.ask(s.alice, s.ns.API("renew", l.Name), `{"ttl":"`+ttl+`","clamp":true}`)
			harms = append(harms, a.not(messages.KindRenewed))
			if a.reply.Lease != nil {
				before, now, most := end, a.reply.Lease.ExpiresAt, l.MaxExpiresAt
				end = now
				harms = append(harms, func() string {
					if now.Before(before) || now.After(most) {
						return fmt.Sprintf("the end moved from %s to %s, the most is %s", before, now, most)
					}
					return ""
				})
			}
		}
		return anyOf(harms...)
	}},
	{name: "a flood of renewals and revocations of leases that do not exist", alone: byRation, do: func(s *siege) func() string {
		before := s.happened()
		inbox, err := s.alice.SubscribeSync(s.alice.NewInbox())
		s.ok(err)
		const flood = 150
		for i := range flood {
			for _, verb := range []string{"renew", "revoke"} {
				s.ok(s.alice.PublishRequest(s.ns.API(verb, fmt.Sprintf("alice.ci.none%d", i)), inbox.Subject, nil))
			}
		}
		bob := s.ask(s.bob, s.door("get"), "") // is served meanwhile
		for range 2 * flood {
			_, err := inbox.NextMsg(patience)
			s.ok(err)
		}
		return anyOf(bob.not(messages.KindLease), s.victimHarmed, func() string {
			if told := s.happened() - before; told > 250 { // twice 100, where a minute ends meanwhile
				return fmt.Sprintf("the event stream has %d more events", told)
			}
			return ""
		})
	}},
	{name: "a flood of revocations on the stream of leases that do not exist", do: func(s *siege) func() string {
		for i := range 20 {
			s.send(s.alice, fmt.Sprintf("lessor.revoke.bob.ci.none%d", i), "", "")
		}
		return func() string {
			return s.told("lessor.event.bob.ci.none19.rejected").holds("lessor.lease.rejected")()
		}
	}},
	{name: "a flood of renewals of another's lease", do: func(s *siege) func() string {
		for range 50 {
			s.ok(s.alice.PublishRequest(s.door("renew"), s.alice.NewInbox(), []byte(`{"ttl":"1m"}`)))
		}
		s.ok(s.alice.Flush())
		return s.victimHarmed
	}},
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

var rightAttacks = []attack{
	{name: "a direct get of another's record", alone: byStream, do: func(s *siege) func() string {
		return anyOf(
			s.ask(s.alice, "$JS.API.DIRECT.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(s.key),
			s.ask(s.alice, "$JS.API.DIRECT.GET.KV_lessor_lease."+s.kvVictim(), "").holds(s.key))
	}},
	{name: "another's record by JetStream's API", do: func(s *siege) func() string {
		return s.ask(s.alice, "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
	{name: "a direct get of events", do: func(s *siege) func() string {
		return s.ask(s.alice, "$JS.API.DIRECT.GET.LESSOR_EVENT", `{"seq":1}`).holds("lessor.lease.")
	}},
	{name: "a consumer on all records", do: func(s *siege) func() string {
		return s.ask(s.alice, "$JS.API.CONSUMER.CREATE.KV_lessor_lease", `{"stream_name":"KV_lessor_lease","config":{"ack_policy":"none","deliver_policy":"all"}}`).holds(`"num_pending"`)
	}},
	{name: "the broker's work taken from its queue", do: func(s *siege) func() string {
		return s.ask(s.alice, "$JS.API.CONSUMER.INFO.LESSOR_REVOKE.lessor_revoke", "").holds(`"num_pending"`)
	}},
	{name: "a record written", do: func(s *siege) func() string {
		s.send(s.alice, s.kvVictim(), "", "", "KV-Operation", "DEL")
		return s.victimHarmed
	}},
	{name: "the records purged", do: func(s *siege) func() string {
		s.ask(s.alice, "$JS.API.STREAM.PURGE.KV_lessor_lease", "")
		return s.victimHarmed
	}},
	{name: "an event made up", do: func(s *siege) func() string {
		s.send(s.alice, s.ns.Event(lease(s.victim), messages.EventExpiring), "", `{"made":"up"}`)
		return func() string { return s.told(s.ns.Event(lease(s.victim), messages.EventExpiring)).holds("made")() }
	}},
	{name: "listening to what others are told", do: func(s *siege) func() string {
		heard := s.heard(s.alice, ">", "_INBOX.>", "_INBOX_bob.>", "_R_.>")
		s.lease(s.bob, "bob", "")
		return heard
	}},
	{name: "listening to what others ask", do: func(s *siege) func() string {
		heard := s.heard(s.alice, "lessor.>", "lessor.api.>", "lessor.request.>", "lessor.event.>", "$JS.>", "$KV.>")
		s.lease(s.bob, "bob", "")
		return heard
	}},
	{name: "answering in the broker's place", do: func(s *siege) func() string {
		return s.heardAfter(s.heard(s.alice, s.ns.API("request", "bob", "ci"), s.ns.API("request", "*", "*")))
	}},
	{name: "orders of an operator", do: func(s *siege) func() string {
		return anyOf(s.ask(s.alice, s.ns.AdminSecret(messages.AdminList), "").is(messages.KindSecrets),
			s.ask(s.alice, s.ns.AdminLease(messages.AdminLeaseRevoke), `{"lease":"`+s.victim.Name+`"}`).is(messages.KindAccepted), s.victimHarmed)
	}},
	{name: "orders under an operator's name", do: func(s *siege) func() string {
		return s.orders(s.alice, "olga")
	}},
	{name: "an operator's orders under another's name", do: func(s *siege) func() string {
		return s.orders(s.connect("operator", "olga"), "kim")
	}},
	{name: "an operator's orders under no name", do: func(s *siege) func() string {
		return s.orders(s.connect("operator", "olga"), "")
	}},
	{name: "an auditor's orders under an operator's name", do: func(s *siege) func() string {
		return s.orders(s.connect("auditor", "audrey"), "olga")
	}},
	{name: "an auditor's lease", do: func(s *siege) func() string {
		return s.ask(s.connect("auditor", "audrey"), s.ns.API("request", "audrey", "ci"), "").is(messages.KindCredentials)
	}},
	{name: "an auditor's order", do: func(s *siege) func() string {
		return s.ask(s.connect("auditor", "audrey"), s.ns.AdminSecret(messages.AdminList), "").is(messages.KindSecrets)
	}},
	{name: "an auditor's consumer that writes among the records", do: func(s *siege) func() string {
		audrey := s.connect("auditor", "audrey")
		s.heard(audrey, s.kvVictim()) // a consumer delivers where somebody listens
		s.ask(audrey, "$JS.API.CONSUMER.CREATE.LESSOR_EVENT",
			`{"stream_name":"LESSOR_EVENT","config":{"ack_policy":"none","deliver_policy":"last","deliver_subject":"`+s.kvVictim()+`"}}`)
		return func() string {
			stream, err := s.js.Stream(s.t.Context(), "KV_"+s.ns.LeaseBucket())
			s.ok(err)
			info, err := stream.Info(s.t.Context(), jetstream.WithSubjectFilter(s.ns.EventFilter()))
			s.ok(err)
			if len(info.State.Subjects) > 0 {
				return "there is an event among the records"
			}
			return ""
		}
	}},
	{name: "an auditor deletes from the audit log", alone: byStream, do: func(s *siege) func() string {
		audrey, before := s.connect("auditor", "audrey"), s.happened()
		s.ask(audrey, "$JS.API.STREAM.MSG.DELETE.LESSOR_EVENT", `{"seq":1}`)
		s.ask(audrey, "$JS.API.STREAM.PURGE.LESSOR_EVENT", "")
		return func() string {
			if s.happened() < before {
				return "events are gone"
			}
			return ""
		}
	}},
	{name: "an auditor reads records", do: func(s *siege) func() string {
		return s.ask(s.connect("auditor", "audrey"), "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
	{name: "an auditor writes beside the brokers' marks", do: func(s *siege) func() string {
		s.send(s.connect("auditor", "audrey"), "$KV.lessor_state.attack", "", "{}")
		return func() string {
			stream, err := s.js.Stream(s.t.Context(), "KV_"+s.ns.StateBucket())
			s.ok(err)
			if _, err := stream.GetLastMsgForSubject(s.t.Context(), "$KV.lessor_state.attack"); err == nil {
				return "it is written"
			}
			return ""
		}
	}},
	{name: "an operator reads records", do: func(s *siege) func() string {
		return s.ask(s.connect("operator", "olga"), "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
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

func attacks() []attack {
	return slices.Concat(replyAttacks, headerAttacks, identityAttacks, messageAttacks, rightAttacks)
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
		eventually(s.t, a.name+" succeeds", func() bool { what = harm(); return what != "" })
		return what
	}
	s.settled()
	return harm()
}

// TestTheAttacksAreDocumented makes sure that the documentation has the list, and what
// comes of each attack.
func TestTheAttacksAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/nats-accounts.md")
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
