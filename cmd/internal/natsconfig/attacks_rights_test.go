//go:build unix

package natsconfig

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

var messageAttacks = []attack{
	{name: "another's idempotency key, used first by the attacker", alone: byKey, do: func(s *attackTest) func() string {
		s.forged(messages.HeaderIdempotencyKey, "job-7 "+s.victim.ID)
		return s.request(s.bob, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-7 "+s.victim.ID).not(messages.KindCredentials)
	}},
	{name: "another's idempotency key, used under the victim's identity", do: func(s *attackTest) func() string {
		s.request(s.alice, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-8 "+s.victim.ID)
		s.settled() // before that the victim would be delivered the same key
		return s.request(s.bob, s.ns.API("request", "bob", "ci"), "", messages.HeaderIdempotencyKey, "job-8 "+s.victim.ID).not(messages.KindCredentials)
	}},
	{name: "an idempotency key of 10 kB", alone: bySize, do: func(s *attackTest) func() string {
		return s.forged(messages.HeaderIdempotencyKey, strings.Repeat("k", 10<<10)).is(messages.KindCredentials)
	}},
	{name: "a body of 17 kB", alone: bySize, do: func(s *attackTest) func() string {
		return s.request(s.alice, s.ns.API("request", "alice", "ci"), strings.Repeat(" ", 17<<10)).is(messages.KindCredentials)
	}},
	{name: "renewals that are replayed and reordered", alone: byRenewal, do: func(s *attackTest) func() string {
		l := *s.lease(s.alice, "alice", "").Lease
		var harms []func() string
		end := l.ExpiresAt
		for _, ttl := range []string{"3h", "1h", "5h", "3h", "1m", "5h", "24h", "24h"} {
			a := s.request(s.alice, s.ns.API("renew", l.Name), `{"ttl":"`+ttl+`","clamp":true}`)
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
	{name: "a flood of renewals and revocations of leases that do not exist", alone: byRate, do: func(s *attackTest) func() string {
		before := s.eventCount()
		inbox, err := s.alice.SubscribeSync(s.alice.NewInbox())
		s.ok(err)
		const flood = 150
		for i := range flood {
			for _, verb := range []string{"renew", "revoke"} {
				s.ok(s.alice.PublishRequest(s.ns.API(verb, fmt.Sprintf("alice.ci.none%d", i)), inbox.Subject, nil))
			}
		}
		bob := s.request(s.bob, s.api("get"), "") // must be served during the flood
		for range 2 * flood {
			_, err := inbox.NextMsg(clitest.Patience)
			s.ok(err)
		}
		return anyOf(bob.not(messages.KindLease), s.victimHarmed, func() string {
			if emitted := s.eventCount() - before; emitted > 250 { // twice 100, if a minute ends during the flood
				return fmt.Sprintf("the event stream has %d more events", emitted)
			}
			return ""
		})
	}},
	{name: "a flood of revocations on the stream of leases that do not exist", do: func(s *attackTest) func() string {
		for i := range 20 {
			s.send(s.alice, fmt.Sprintf("lessor.revoke.bob.ci.none%d", i), "", "")
		}
		return func() string {
			return s.event("lessor.event.bob.ci.none19.rejected").holds("lessor.lease.rejected")()
		}
	}},
	{name: "a flood of renewals of another's lease", do: func(s *attackTest) func() string {
		for range 50 {
			s.ok(s.alice.PublishRequest(s.api("renew"), s.alice.NewInbox(), []byte(`{"ttl":"1m"}`)))
		}
		s.ok(s.alice.Flush())
		return s.victimHarmed
	}},
}

var rightAttacks = []attack{
	{name: "a direct get of another's record", alone: byStream, do: func(s *attackTest) func() string {
		return anyOf(
			s.request(s.alice, "$JS.API.DIRECT.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(s.key),
			s.request(s.alice, "$JS.API.DIRECT.GET.KV_lessor_lease."+s.kvVictim(), "").holds(s.key))
	}},
	{name: "another's record by JetStream's API", do: func(s *attackTest) func() string {
		return s.request(s.alice, "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
	{name: "a direct get of events", do: func(s *attackTest) func() string {
		return s.request(s.alice, "$JS.API.DIRECT.GET.LESSOR_EVENT", `{"seq":1}`).holds("lessor.lease.")
	}},
	{name: "a consumer on all records", do: func(s *attackTest) func() string {
		return s.request(s.alice, "$JS.API.CONSUMER.CREATE.KV_lessor_lease", `{"stream_name":"KV_lessor_lease","config":{"ack_policy":"none","deliver_policy":"all"}}`).holds(`"num_pending"`)
	}},
	{name: "the broker's messages taken from its queue", do: func(s *attackTest) func() string {
		return s.request(s.alice, "$JS.API.CONSUMER.INFO.LESSOR_REVOKE.lessor_revoke", "").holds(`"num_pending"`)
	}},
	{name: "a write to a record", do: func(s *attackTest) func() string {
		s.send(s.alice, s.kvVictim(), "", "", "KV-Operation", "DEL")
		return s.victimHarmed
	}},
	{name: "a purge of the records", do: func(s *attackTest) func() string {
		s.request(s.alice, "$JS.API.STREAM.PURGE.KV_lessor_lease", "")
		return s.victimHarmed
	}},
	{name: "a forged event", do: func(s *attackTest) func() string {
		s.send(s.alice, s.ns.Event(lease(s.victim), messages.EventExpiring), "", `{"made":"up"}`)
		return func() string { return s.event(s.ns.Event(lease(s.victim), messages.EventExpiring)).holds("made")() }
	}},
	{name: "a subscription to the replies to others", do: func(s *attackTest) func() string {
		heard := s.listen(s.alice, ">", "_INBOX.>", "_INBOX_bob.>", "_R_.>")
		s.lease(s.bob, "bob", "")
		return heard
	}},
	{name: "a subscription to the requests of others", do: func(s *attackTest) func() string {
		heard := s.listen(s.alice, "lessor.>", "lessor.api.>", "lessor.request.>", "lessor.event.>", "$JS.>", "$KV.>")
		s.lease(s.bob, "bob", "")
		return heard
	}},
	{name: "a reply in the broker's place", do: func(s *attackTest) func() string {
		return s.afterARequest(s.listen(s.alice, s.ns.API("request", "bob", "ci"), s.ns.API("request", "*", "*")))
	}},
	{name: "commands of an operator", do: func(s *attackTest) func() string {
		return anyOf(s.request(s.alice, s.ns.AdminSecret(messages.AdminList), "").is(messages.KindSecrets),
			s.request(s.alice, s.ns.AdminLease(messages.AdminLeaseRevoke), `{"lease":"`+s.victim.Name+`"}`).is(messages.KindAccepted), s.victimHarmed)
	}},
	{name: "commands under an operator's name", do: func(s *attackTest) func() string {
		return s.commands(s.alice, "olga")
	}},
	{name: "an operator's commands under another's name", do: func(s *attackTest) func() string {
		return s.commands(s.connect("operator", "olga"), "kim")
	}},
	{name: "an operator's commands under no name", do: func(s *attackTest) func() string {
		return s.commands(s.connect("operator", "olga"), "")
	}},
	{name: "an auditor's commands under an operator's name", do: func(s *attackTest) func() string {
		return s.commands(s.connect("auditor", "audrey"), "olga")
	}},
	{name: "an auditor's lease", do: func(s *attackTest) func() string {
		return s.request(s.connect("auditor", "audrey"), s.ns.API("request", "audrey", "ci"), "").is(messages.KindCredentials)
	}},
	{name: "an auditor's command", do: func(s *attackTest) func() string {
		return s.request(s.connect("auditor", "audrey"), s.ns.AdminSecret(messages.AdminList), "").is(messages.KindSecrets)
	}},
	{name: "an auditor's consumer that writes among the records", do: func(s *attackTest) func() string {
		audrey := s.connect("auditor", "audrey")
		s.listen(audrey, s.kvVictim()) // a consumer delivers only to a subject with a subscriber
		s.request(audrey, "$JS.API.CONSUMER.CREATE.LESSOR_EVENT",
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
	{name: "an auditor deletes events", alone: byStream, do: func(s *attackTest) func() string {
		audrey, before := s.connect("auditor", "audrey"), s.eventCount()
		s.request(audrey, "$JS.API.STREAM.MSG.DELETE.LESSOR_EVENT", `{"seq":1}`)
		s.request(audrey, "$JS.API.STREAM.PURGE.LESSOR_EVENT", "")
		return func() string {
			if s.eventCount() < before {
				return "events are gone"
			}
			return ""
		}
	}},
	{name: "an auditor reads records", do: func(s *attackTest) func() string {
		return s.request(s.connect("auditor", "audrey"), "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
	{name: "an auditor writes to the state bucket", do: func(s *attackTest) func() string {
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
	{name: "an operator reads records", do: func(s *attackTest) func() string {
		return s.request(s.connect("operator", "olga"), "$JS.API.STREAM.MSG.GET.KV_lessor_lease", `{"last_by_subj":"`+s.kvVictim()+`"}`).holds(`"data"`)
	}},
}
