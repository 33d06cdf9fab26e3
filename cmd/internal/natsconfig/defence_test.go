//go:build unix

package natsconfig

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

var defences = []defence{
	{attack: "a stream's acknowledgement sent to JetStream's API", server: func(o *server.Options) { o.NoJetStreamStrict = true }, off: func(s *attackTest) {
		// It is read as a purge up to the message's sequence, which must be above those of
		// the records.
		_, last, _ := s.record(s.victim.Name)
		for range last + 1 {
			s.send(s.alice, requestAlice, "", `{"no":"request"}`)
		}
	}},
	{attack: "a name of 10 kB", server: func(o *server.Options) { o.MaxControlLine = 64 << 10 }},
	{attack: "Nats-Rollup on the records", off: func(s *attackTest) {
		s.set("KV_"+s.ns.LeaseBucket(), func(c *jetstream.StreamConfig) { c.AllowRollup = true })
	}},
	{attack: "a direct get of another's record", off: func(s *attackTest) {
		s.set("KV_"+s.ns.LeaseBucket(), func(c *jetstream.StreamConfig) { c.AllowDirect = true })
	}},
	{attack: "Nats-Schedule on the stream, with another's revocation as target", off: func(s *attackTest) {
		s.set(s.ns.Stream(messages.VerbRevoke), func(c *jetstream.StreamConfig) {
			c.AllowMsgSchedules = true
			c.Discard, c.DiscardNewPerSubject = jetstream.DiscardOld, false // NATS allows no schedules with it
		})
		// NATS may send on a message that is not consumed yet.
		_, err := s.js.PauseConsumer(s.t.Context(), s.ns.Stream(messages.VerbRevoke), s.ns.Consumer(messages.VerbRevoke), time.Now().Add(time.Hour))
		s.ok(err)
	}, then: func(s *attackTest) {
		stream, err := s.js.Stream(s.t.Context(), s.ns.Stream(messages.VerbRevoke))
		s.ok(err)
		clitest.Eventually(s.t, "NATS sends the revocation", func() bool {
			_, err := stream.GetLastMsgForSubject(s.t.Context(), s.ns.Revoke(lease(s.victim)))
			return err == nil
		})
		_, err = s.js.ResumeConsumer(s.t.Context(), s.ns.Stream(messages.VerbRevoke), s.ns.Consumer(messages.VerbRevoke))
		s.ok(err)
	}},
	{attack: "an auditor deletes events", off: func(s *attackTest) {
		s.stop() // the broker would create the stream again with its settings
		stream, err := s.js.Stream(s.t.Context(), s.ns.EventStream())
		s.ok(err)
		c := stream.CachedInfo().Config
		s.ok(s.js.DeleteStream(s.t.Context(), c.Name))
		c.DenyDelete, c.DenyPurge = false, false
		_, err = s.js.CreateStream(s.t.Context(), c)
		s.ok(err)
		_, err = s.js.Publish(s.t.Context(), s.ns.Event(lease(s.victim), messages.EventExpiring), []byte("{}"))
		s.ok(err)
	}},
}

// set changes the settings of a stream.
func (s *attackTest) set(stream string, change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	have, err := s.js.Stream(s.t.Context(), stream)
	s.ok(err)
	c := have.CachedInfo().Config
	change(&c)
	_, err = s.js.UpdateStream(s.t.Context(), c)
	s.ok(err)
}

// TestEachSettingIsNeeded switches off each setting that refuses an attack in one account
// without permissions: the attack then succeeds. The other attacks that are refused there
// are refused by the broker.
func TestEachSettingIsNeeded(t *testing.T) {
	t.Parallel()
	for _, d := range defences {
		t.Run(d.attack, func(t *testing.T) {
			t.Parallel()
			at := slices.IndexFunc(attacks(), func(a attack) bool { return a.name == d.attack })
			if at < 0 {
				t.Fatal("there is no such attack")
			}
			var change []func(*server.Options)
			if d.server != nil {
				change = append(change, d.server)
			}
			s := newAttackTest(t, openAccount, change...).next()
			if d.off != nil {
				d.off(s)
			}
			harm := attacks()[at].do(s)
			if d.then != nil {
				d.then(s)
			}
			clitest.Eventually(t, "it succeeds", func() bool { return harm() != "" })
		})
	}
	for _, a := range attacks() {
		isSetting := a.alone == byStream || a.alone == byAPI || a.alone == byServer
		if isSetting != slices.ContainsFunc(defences, func(d defence) bool { return d.attack == a.name }) {
			t.Errorf("%s is refused by %q, and no defence is tested", a.name, a.alone)
		}
	}
}
