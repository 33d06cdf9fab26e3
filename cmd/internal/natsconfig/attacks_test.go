//go:build unix

package natsconfig

import (
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// What refuses an attack that NATS permissions allow.
const (
	byReply   = "the broker replies to inboxes only"
	byNames   = "the broker accepts names of a-z, 0-9, _ and - only"
	byBody    = "the broker rejects a body with unknown fields"
	byHeaders = "the API passes on no headers but its own"
	byName    = "a lease is looked up by its whole name, identity included"
	byToken   = "a confirmation needs a token of the broker"
	byKey     = "an idempotency key is valid for one identity"
	byRenewal = "a renewal never moves the end back, or past max_ttl"
	bySize    = "the broker bounds bodies and keys"
	byRate    = "the API looks the lease up first, and the events about refusals are limited"
	byStream  = "the streams' own settings"
	byServer  = "the NATS server bounds subjects, and closes the connection"
	byAPI     = "JetStream's API rejects unknown fields"
)

// attack is something that a user must not be able to do. It returns a function that
// returns, when everything has been handled, which harm it did: "" for none.
type attack struct {
	name string
	do   func(*attackTest) (harm func() string)
	// alone is what refuses it if all users are in one account without permissions; "":
	// nothing does.
	alone string
	// permitted is whether it succeeds in one account in spite of permissions.
	permitted bool
}

// names are invalid names.
var names = []string{
	"*", ">", "alice.bob", "Bob", "bob\u200b", "b\u043eb", "ｂｏｂ", "bob%2e", "_R_", "$SYS", "~", strings.Repeat("b", 65), strings.Repeat("b", 3000),
}

var replyAttacks = []attack{
	{name: "a stream's acknowledgement written over a record", permitted: true, do: func(s *attackTest) func() string {
		s.aimed(s.kvVictim())
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement sent to JetStream's API", alone: byAPI, do: func(s *attackTest) func() string {
		s.aimed("$JS.API.STREAM.PURGE.KV_lessor_lease")
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement as a revocation of another's lease", alone: byBody, do: func(s *attackTest) func() string {
		s.aimed(s.ns.Revoke(lease(s.victim)))
		return s.victimHarmed
	}},
	{name: "a stream's acknowledgement as a command to the admin service", alone: byReply, do: func(s *attackTest) func() string {
		s.aimed(s.ns.AdminSecret(messages.AdminDelete))
		return s.request(s.bob, s.ns.API("request", "bob", "ci"), "").not(messages.KindCredentials)
	}},
	{name: "the API's reply written over a record", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.API("list", "alice"), s.kvVictim(), "")
		s.send(s.alice, s.ns.API("request", "alice", "ci"), s.kvVictim(), "")
		return s.victimHarmed
	}},
	{name: "the API's reply sent to JetStream's API", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.API("list", "alice"), "$JS.API.STREAM.PURGE.KV_lessor_lease", "")
		return s.victimHarmed
	}},
	{name: "the API's reply as a revocation of another's lease", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.API("get", s.own.Name), s.ns.Revoke(lease(s.victim)), "")
		s.send(s.alice, s.ns.API("get", s.own.Name), s.api("revoke"), "")
		return s.victimHarmed
	}},
	{name: "the API's reply sent to another's inbox", do: func(s *attackTest) func() string {
		inbox := s.bob.NewInbox()
		heard := s.listen(s.bob, inbox)
		s.send(s.alice, s.ns.API("get", s.own.Name), inbox, "")
		return heard
	}},
	{name: "the API's reply sent to another's deliver subject", alone: byReply, do: func(s *attackTest) func() string {
		heard := s.listen(s.bob, "lessor.deliver.bob.x")
		s.send(s.alice, s.ns.API("get", s.own.Name), "lessor.deliver.bob.x", "")
		return heard
	}},
	{name: "the admin service's reply written over a record", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.connect("operator", "olga"), s.ns.AdminAs("olga", s.ns.AdminSecret(messages.AdminList)), s.kvVictim(), "")
		return s.victimHarmed
	}},
	{name: "an auditor's read written over a record", permitted: true, do: func(s *attackTest) func() string {
		s.send(s.connect("auditor", "audrey"), eventHistory(s.ns), s.kvVictim(), `{"seq":1}`)
		return s.victimHarmed
	}},
	{name: "an operator's read written over a record", permitted: true, do: func(s *attackTest) func() string {
		s.send(s.connect("operator", "olga"), eventHistory(s.ns), s.kvVictim(), `{"seq":2}`)
		return s.victimHarmed
	}},
	{name: "an operator's read as a command under another's name", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.connect("operator", "olga"), eventHistory(s.ns), s.ns.AdminAs("kim", s.ns.AdminSecret(messages.AdminGet)), `{"seq":2}`)
		return s.commandEvent("kim")
	}},
}

var headerAttacks = []attack{
	{name: "Lessor-Reply-To to the API", alone: byHeaders, do: func(s *attackTest) func() string {
		inbox := s.bob.NewInbox()
		heard := s.listen(s.bob, inbox)
		return anyOf(s.forged(messages.HeaderReplyTo, inbox).not(messages.KindCredentials), heard)
	}},
	{name: "Lessor-Reply-To on the stream", do: func(s *attackTest) func() string {
		inbox := s.bob.NewInbox()
		heard := s.listen(s.bob, inbox)
		s.send(s.alice, requestAlice, "", "", messages.HeaderReplyTo, inbox)
		return heard
	}},
	{name: "Lessor-Reply-To on the stream, a record", alone: byReply, do: func(s *attackTest) func() string {
		s.send(s.alice, requestAlice, "", "", messages.HeaderReplyTo, s.kvVictim())
		return s.victimHarmed
	}},
	{name: "Lessor-Reason, an operator's", alone: byHeaders, do: func(s *attackTest) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		s.request(s.alice, s.ns.API("revoke", l.Name), "", messages.HeaderReason, string(messages.ReasonOperator))
		return s.endedBy(l.Name, messages.ReasonOperator)
	}},
	{name: "Lessor-Reason on the stream, an operator's", do: func(s *attackTest) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		s.send(s.alice, s.ns.Revoke(lease(*l)), "", "", messages.HeaderReason, string(messages.ReasonOperator))
		return s.endedBy(l.Name, messages.ReasonOperator)
	}},
	{name: "Lessor-Due, a forged reminder", alone: byHeaders, do: func(s *attackTest) func() string {
		l := s.lease(s.alice, "alice", "").Lease
		return s.request(s.alice, s.ns.API("revoke", l.Name), "", messages.HeaderDue, "2026-01-01T00:00:00Z").not(messages.KindRevoked)
	}},
	{name: "Lessor-Deadline, one that has passed", alone: byHeaders, do: func(s *attackTest) func() string {
		return s.forged(messages.HeaderDeadline, "2026-01-01T00:00:00Z").not(messages.KindCredentials)
	}},
	{name: "Nats-Msg-Id, twice the same", alone: byHeaders, do: func(s *attackTest) func() string {
		return anyOf(s.forged("Nats-Msg-Id", "x").not(messages.KindCredentials), s.forged("Nats-Msg-Id", "x").not(messages.KindCredentials))
	}},
	{name: "Nats-Rollup", alone: byHeaders, do: func(s *attackTest) func() string {
		return anyOf(s.forged("Nats-Rollup", "all").not(messages.KindCredentials), s.forged("Nats-Rollup", "sub").not(messages.KindCredentials))
	}},
	{name: "Nats-Rollup on the records", alone: byStream, do: func(s *attackTest) func() string {
		s.send(s.alice, "$KV.lessor_lease.alice.ci.none", "", "{}", "Nats-Rollup", "all")
		return s.victimHarmed
	}},
	{name: "Nats-Schedule with another's record as target", alone: byHeaders, do: func(s *attackTest) func() string {
		return anyOf(s.forged("Nats-Schedule", "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target", s.kvVictim(), "Nats-Schedule-TTL", "1h").
			not(messages.KindCredentials), s.victimHarmed)
	}},
	{name: "Nats-Schedule on the stream, with another's revocation as target", alone: byStream, do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.Revoke(lease(s.own)), "", "{}", "Nats-Schedule", "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target", s.ns.Revoke(lease(s.victim)))
		s.own = *s.lease(s.alice, "alice", "").Lease
		return s.victimHarmed
	}},
	{name: "Nats-Expected-…", alone: byHeaders, do: func(s *attackTest) func() string {
		var harms []func() string
		for header, value := range map[string]string{
			"Nats-Expected-Last-Sequence": "99999", "Nats-Expected-Last-Subject-Sequence": "99999",
			"Nats-Expected-Last-Msg-Id": "x", "Nats-Expected-Stream": "KV_lessor_lease", "Nats-TTL": "1s", "Nats-Batch-Id": "x",
		} {
			harms = append(harms, s.forged(header, value).not(messages.KindCredentials))
		}
		return anyOf(harms...)
	}},
	{name: "Nats-Msg-Id of a future event", do: func(s *attackTest) func() string {
		e := messages.NewEvent(s.broker.Installation(), lease(s.victim), messages.EventRevoked, "1", s.now(), messages.EventData{})
		s.send(s.alice, s.ns.Event(lease(s.victim), messages.EventRevoked), "", "{}", "Nats-Msg-Id", e.ID)
		s.request(s.bob, s.api("revoke"), "")
		return func() string {
			if s.event(s.ns.Event(lease(s.victim), messages.EventRevoked)).holds(`"reason":"requested"`)() == "" {
				return "the event is not the broker's"
			}
			return ""
		}
	}},
}

var identityAttacks = []attack{
	{name: "a lease for another", do: func(s *attackTest) func() string {
		return s.request(s.alice, s.ns.API("request", "bob", "ci"), "").is(messages.KindCredentials)
	}},
	{name: "a lease for another on the stream", do: func(s *attackTest) func() string {
		inbox := s.alice.NewInbox()
		heard := s.listen(s.alice, inbox)
		s.send(s.alice, s.ns.Request("bob", "ci"), "", "", messages.HeaderReplyTo, inbox)
		return heard
	}},
	{name: "a lease of a secret that the requester may not lease", do: func(s *attackTest) func() string {
		return s.request(s.alice, s.ns.API("request", "alice", "prod"), "").is(messages.KindCredentials)
	}},
	{name: "a renewal with a leaked lease name", do: func(s *attackTest) func() string {
		s.request(s.alice, s.api("renew"), `{"ttl":"5h"}`)
		return s.victimHarmed
	}},
	{name: "a revocation with a leaked lease name", do: func(s *attackTest) func() string {
		s.request(s.alice, s.api("revoke"), "")
		return s.victimHarmed
	}},
	{name: "a renewal on the stream with a leaked lease name", do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.Renew(lease(s.victim)), "", `{"ttl":"5h"}`)
		return s.victimHarmed
	}},
	{name: "a revocation on the stream with a leaked lease name", do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.Revoke(lease(s.victim)), "", "")
		return s.victimHarmed
	}},
	{name: "another's lease id under the requester's own identity", alone: byName, do: func(s *attackTest) func() string {
		name := "alice.ci." + s.victim.ID
		s.request(s.alice, s.ns.API("renew", name), `{"ttl":"5h"}`)
		s.request(s.alice, s.ns.API("revoke", name), "")
		return anyOf(s.request(s.alice, s.ns.API("get", name), "").is(messages.KindLease), s.victimHarmed)
	}},
	{name: "reading another's lease", do: func(s *attackTest) func() string {
		return s.request(s.alice, s.api("get"), "").is(messages.KindLease)
	}},
	{name: "listing another's leases", do: func(s *attackTest) func() string {
		return s.request(s.alice, s.ns.API("list", "bob"), "").is(messages.KindLeases)
	}},
	{name: "a confirmation of another's lease", alone: byToken, do: func(s *attackTest) func() string {
		l := s.lease(s.bob, "bob", `{"confirm":true}`).Lease
		s.send(s.alice, s.ns.Confirm(lease(*l), "guessed"), "", "")
		return func() string {
			return s.event(s.ns.Event(lease(*l), messages.EventConfirmed)).holds("lessor.lease.confirmed")()
		}
	}},
	{name: "invalid identities", alone: byNames, do: func(s *attackTest) func() string {
		return s.useNames(s.alice, func(name string) string { return s.ns.API("request", name, "ci") })
	}},
	{name: "invalid secrets", alone: byNames, do: func(s *attackTest) func() string {
		// This requester may lease all secrets, so the names reach the broker.
		return s.useNames(s.connect("requester", "deploy-bot"), func(name string) string { return s.ns.API("request", "deploy-bot", name) })
	}},
	{name: "invalid names on the stream", alone: byNames, do: func(s *attackTest) func() string {
		inbox := s.alice.NewInbox()
		heard := s.listen(s.alice, inbox)
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
	{name: "a name of 10 kB", alone: byServer, do: func(s *attackTest) func() string {
		nc := s.connect("requester", "alice", nats.NoReconnect())
		long := strings.Repeat("b", 10<<10)
		s.ok(nc.PublishRequest(s.ns.API("request", long, "ci"), nc.NewInbox(), nil))
		ended := nc.Flush() // the server closes the connection
		return func() string {
			if ended == nil {
				return "the server accepts it"
			}
			return ""
		}
	}},
}

// attacks returns all attacks.
func attacks() []attack {
	return slices.Concat(replyAttacks, headerAttacks, identityAttacks, messageAttacks, rightAttacks)
}

// defence is a setting of a stream or of the server that refuses an attack which permissions
// allow, and how to switch it off.
type defence struct {
	attack string
	server func(*server.Options) // nil: it is not a setting of the server
	off    func(*attackTest)     // after the victim has its lease; nil: it is a setting of the server
	then   func(*attackTest)     // after the attack; may be nil
}
