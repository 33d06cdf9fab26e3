//go:build unix

package natsconfig

import (
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

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

func attacks() []attack {
	return slices.Concat(replyAttacks, headerAttacks, identityAttacks, messageAttacks, rightAttacks)
}

// defence is a setting of a stream or of the server that refuses an attack where
// permissions don't, and how it is switched off.
type defence struct {
	attack string
	server func(*server.Options) // nil: it is not the server's
	off    func(*siege)          // when the victim has its lease; nil: it is the server's
	then   func(*siege)          // when the attack is made; may be nil
}
