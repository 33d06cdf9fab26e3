package consumer_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// verify verifies the events with the world's keys.
func (w *world) verify(change ...func(*client.AuditOptions)) client.Audit {
	w.T.Helper()
	o := client.AuditOptions{Namespace: w.Namespace, Keys: w.Keys.AuditKeys()}
	for _, f := range change {
		f(&o)
	}
	r, err := client.VerifyEvents(w.Context(), w.JS, o)
	w.NoError(err)
	return r
}

// finds verifies the events, and checks what is found: kinds with sequences.
func (w *world) finds(want ...string) {
	w.T.Helper()
	have := []string{}
	r := w.verify()
	for _, f := range r.Findings {
		have = append(have, fmt.Sprintf("%s %d", f.Kind, f.Sequence))
	}
	if !slices.Equal(have, append([]string{}, want...)) {
		w.T.Errorf("found %v, want %v: %+v", have, want, r)
	}
}

// commands are the operators' commands that events tell of, in order.
func (w *world) commands() (told []string) {
	w.T.Helper()
	for _, e := range w.Events("") {
		if e.Type != "lessor.admin.command" {
			continue
		}
		c, line := e.Data.Command, ""
		for _, part := range []string{c.Name, string(c.Outcome), c.By, c.Secret, c.Identity, c.Lease} {
			if part != "" {
				line += " " + part
			}
		}
		if e.Data.Error != nil {
			line += " " + string(e.Data.Error.Code)
		}
		told = append(told, line[1:])
	}
	return told
}

func TestOperatorsCommandsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	as := func(operator, subject, body string) messages.Reply {
		return w.Operate(w.Namespace.AdminAs(operator, subject), body)
	}
	w.admin(messages.AdminPut, putBody(lessortest.Secret, `,"no_check":true`))
	as("kim", w.Namespace.AdminSecret(messages.AdminPut), putBody(`{"name":"db","max_leases":-1}`, ""))
	w.admin(messages.AdminGet, `{"name":"ci"}`)
	w.admin(messages.AdminList, "")
	as("kim", w.Namespace.AdminSecret(messages.AdminGet), `{"name":"nope"}`)
	as("kim", w.Namespace.AdminLease(messages.AdminLeaseRevoke), `{"identity":"alice","reason":"has left"}`)
	as("kim", w.Namespace.AdminLease(messages.AdminLeaseRevoke), `{"lease":"bob.ci.1"}`)
	as("kim", w.Namespace.AdminSweep(), `{"apply":true}`)
	if r := as("Kim", w.Namespace.AdminSweep(), ""); r.Error == nil || r.Error.Code != messages.CodeInvalidSubject {
		t.Errorf("an operator that can't be: %+v", r)
	}
	want := []string{
		"secret-put asked ci", "secret-put done ci",
		"secret-put asked kim db", "secret-put refused kim db invalid_secret",
		"secret-get refused kim nope secret_not_found",
		"lease-revoke asked kim alice", "lease-revoke done kim alice",
		"lease-revoke asked kim bob.ci.1", "lease-revoke refused kim bob.ci.1 lease_not_found",
		"sweep asked kim", "sweep done kim",
	}
	if have := w.commands(); !slices.Equal(have, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range w.Events("") {
		if c := e.Data.Command; c != nil && c.Name == "secret-put" && c.Outcome == messages.OutcomeDone && c.Revision == 0 {
			t.Error("it does not tell what was put")
		}
	}
	w.finds()
}

// TestACommandThatCanNotBeToldIsNotDone: without its event it would never have been.
func TestACommandThatCanNotBeToldIsNotDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	r := w.adminLease(messages.AdminLeaseRevoke, `{"identity":"alice"}`)
	if r.Error == nil || r.Error.Code != messages.CodeUnavailable || !strings.Contains(r.Error.Message, "not carried out") {
		t.Fatalf("%+v", r)
	}
	if r := w.admin(messages.AdminGet, `{"name":"ci"}`); r.Kind != messages.KindSecret {
		t.Errorf("one that only looks is refused: %v", r.Error)
	}
	if n := w.Sim.UserCount(); n != 1 {
		t.Errorf("%d users", n)
	}
}

// TestRefusedMessagesAreTold: at the door and from the streams, whatever they ask.
func TestRefusedMessagesAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	bobs := w.askAs("bob", false)
	for verb, body := range map[string]string{"request": `{"x":1}`, "renew": "", "revoke": "", "get": "", "list": `{"x":1}`} {
		tail := map[string]string{"request": ".alice.ci", "list": ".alice"}[verb]
		if tail == "" {
			tail = ".alice.ci." + bobs.Lease.ID // which is not hers
		}
		w.Call(w.Conn, w.Namespace.API(verb)+tail, body)
	}
	w.Answer(w.Publish("lessor.renew.alice.ci."+bobs.Lease.ID, ""))
	w.WaitQueuesEmpty()
	told := map[messages.Verb]int{}
	for _, e := range w.Events("") {
		if e.Type == "lessor.lease.rejected" && strings.HasPrefix(e.Subject, "alice.") && e.Data.Error != nil {
			told[e.Data.Verb]++
		}
	}
	if len(told) != 5 || told["renew"] != 2 || told["get"] != 1 || told["list"] != 1 {
		t.Errorf("told of %v", told)
	}
	w.finds()
}

// TestAFloodOfRefusalsDoesNotFloodTheEvents: they are told one by one up to a number, and
// then counted. Nobody's are lost, and nobody else's are left out.
func TestAFloodOfRefusalsDoesNotFloodTheEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) {
		c.MaintainEvery = 10 * time.Millisecond
		c.Streams.AckWait = 30 * time.Second // a refusal that comes again is counted again
	})
	w.Put(b, lessortest.Secret)
	const flood, told = 200, 60
	var subs []*nats.Subscription
	for range flood {
		subs = append(subs, w.Publish(w.Namespace.Request("alice", "nope"), ""))
	}
	for _, s := range subs {
		r, _ := w.Answer(s)
		w.WantError(r, messages.CodeSecretNotFound)
	}
	w.WantError(w.askAs("bob", false, messages.HeaderIdempotencyKey, strings.Repeat("x", 300)), messages.CodeInvalidRequest)
	w.WaitQueuesEmpty()
	count := func() (one, omitted, bobs int) {
		for _, e := range w.Events("") {
			switch {
			case e.Type == "lessor.lease.rejected" && strings.HasPrefix(e.Subject, "bob."):
				bobs++
			case e.Type == "lessor.lease.rejected" && e.Data.Omitted > 0:
				omitted += e.Data.Omitted
			case e.Type == "lessor.lease.rejected":
				one++
			}
		}
		return one, omitted, bobs
	}
	if one, omitted, bobs := count(); one != told || omitted != 0 || bobs != 1 {
		t.Errorf("%d were told, %d counted, and %d of bob's", one, omitted, bobs)
	}
	w.Clock.Advance(time.Minute)
	w.Eventually("the rest is counted", func() bool { _, omitted, _ := count(); return omitted == flood-told })

	for range told + 5 { // a broker that stops tells what it has counted
		w.Answer(w.Publish(w.Namespace.Request("alice", "nope"), ""))
	}
	w.WaitQueuesEmpty()
	b.Close()
	if one, omitted, _ := count(); one+omitted != flood+told+5 {
		t.Errorf("%d were told and %d counted, of %d", one, omitted, flood+told+5)
	}
	w.finds()
}

// history is a world whose events are those of two leases' lives.
func history(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	for range 2 {
		r := w.Lease("ci", "{}")
		w.Renew(r, `{"ttl":"2h"}`)
		w.Revoke(r)
		w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRenewed, messages.EventRevoked)
	}
	w.WaitQueuesEmpty()
	b.Close()
	w.finds()
	return w
}

// rewrite makes the event stream anew, from its events with what f makes of each: nil
// leaves one out. It is what somebody can do who may do everything in NATS.
func (w *world) rewrite(f func(seq uint64, m *nats.Msg) *nats.Msg) {
	w.T.Helper()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	cfg, last := s.CachedInfo().Config, s.CachedInfo().State.LastSeq
	var kept []*nats.Msg
	for seq := uint64(1); seq <= last; seq++ {
		m, err := s.GetMsg(w.Context(), seq)
		w.NoError(err)
		kept = append(kept, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	}
	w.NoError(w.JS.DeleteStream(w.Context(), cfg.Name))
	cfg.DenyDelete, cfg.DenyPurge = false, false
	s, err = w.JS.CreateStream(w.Context(), cfg)
	w.NoError(err)
	for i, m := range kept {
		seq := uint64(i + 1)
		next := f(seq, m)
		if next == nil { // as long as it stands there it keeps the place
			next = m
			defer func() { w.NoError(s.DeleteMsg(w.Context(), seq)) }()
		}
		_, err := w.JS.PublishMsg(w.Context(), next)
		w.NoError(err)
	}
}

func TestVerifyFindsWhatWasRemovedChangedOrForged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(uint64, *nats.Msg) *nats.Msg
		want   []string
	}{
		"one is removed": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq == 3 {
				return nil
			}
			return m
		}, []string{"unguarded 0", "gap 3"}},
		"one is changed": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq == 3 {
				m.Data = []byte(strings.Replace(string(m.Data), "alice", "malin", 1))
			}
			return m
		}, []string{"unguarded 0", "forged 3"}},
		"one is another's": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq == 2 {
				m.Subject = strings.Replace(m.Subject, "alice", "bob", 1)
			}
			return m
		}, []string{"unguarded 0", "forged 2"}},
		"one is not signed": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq == 5 {
				m.Header.Del(messages.HeaderSignature)
			}
			return m
		}, []string{"unguarded 0", "forged 5"}},
		"the first are removed": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq <= 2 {
				return nil
			}
			return m
		}, []string{"unguarded 0", "head 1"}},
		"the last are removed": {func(seq uint64, m *nats.Msg) *nats.Msg {
			if seq >= 5 {
				return nil
			}
			return m
		}, []string{"unguarded 0", "tail 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := history(t)
			w.rewrite(c.change)
			w.finds(c.want...)
		})
	}
}

// unfence takes out what NATS would refuse a replay for.
func unfence(h nats.Header) {
	h.Del(jetstream.ExpectedLastSubjSeqHeader)
	h.Del(jetstream.ExpectedLastSubjSeqSubjHeader)
}

// TestAForgedPlaceOfAnEventIsNotBelieved: an event that was stored with headers in which
// the server says where an event stands is read where it stands, and so are those behind
// it.
func TestAForgedPlaceOfAnEventIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := history(t)
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	m, err := s.GetMsg(w.Context(), 1)
	w.NoError(err)
	forged := nats.NewMsg(m.Subject)
	forged.Data = m.Data
	forged.Header.Set(nats.MsgIdHdr, "another")
	forged.Header.Set(jetstream.SequenceHeader, "1000000")
	forged.Header.Set(jetstream.TimeStampHeaer, "2000-01-02T03:04:05Z")
	forged.Header.Set(jetstream.SubjectHeader, w.Namespace.Event(messages.LeaseName{Identity: "bob", Secret: "ci", ID: "1"}, messages.EventRevoked))
	forged.Header.Set("Status", "404")
	_, err = w.JS.PublishMsg(w.Context(), forged)
	w.NoError(err)
	next := &nats.Msg{Subject: m.Subject, Header: nats.Header{nats.MsgIdHdr: {"the next"}}, Data: m.Data}
	_, err = w.JS.PublishMsg(w.Context(), next)
	w.NoError(err)
	for filter, want := range map[messages.EventType]int{
		messages.EventIssued:  4, // two of them and these
		messages.EventRevoked: 2,
	} {
		n := 0
		f := client.EventFilter{Types: []messages.EventType{filter, messages.EventConfirmed}}
		for _, err := range client.Events(w.Context(), w.JS, w.Namespace, f) {
			w.NoError(err)
			n++
		}
		if n != want {
			t.Errorf("%d events of type %s, not %d", n, filter, want)
		}
	}
	w.finds("forged 7", "forged 8")
}

func TestVerifyFindsAReplay(t *testing.T) {
	t.Parallel()
	w := history(t)
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	m, err := s.GetMsg(w.Context(), 1)
	w.NoError(err)
	unfence(m.Header)
	// With the same message id NATS itself drops it for a while; with another the
	// signature does not hold.
	_, err = w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	w.NoError(err)
	w.finds()
	m.Header.Set(nats.MsgIdHdr, "another")
	_, err = w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	w.NoError(err)
	w.finds("forged 7")

	w = history(t)
	twice := 0
	w.rewrite(func(seq uint64, m *nats.Msg) *nats.Msg {
		if seq == 6 { // in the place of the last; the stream that is made anew takes any id
			s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
			w.NoError(err)
			cfg := s.CachedInfo().Config
			cfg.Duplicates = 100 * time.Millisecond
			_, err = w.JS.UpdateStream(w.Context(), cfg)
			w.NoError(err)
			first, err := s.GetMsg(w.Context(), 1)
			w.NoError(err)
			unfence(first.Header)
			w.Eventually("NATS forgets the id", func() bool {
				ack, err := w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: first.Subject, Header: first.Header, Data: first.Data})
				w.NoError(err)
				twice = int(ack.Sequence)
				return !ack.Duplicate
			})
		}
		return m
	})
	w.finds("unguarded 0", fmt.Sprintf("repeated %d", twice))
}

// TestVerifyKnowsTheEndFromTheMarks: a stream that was cut off, or made anew, has no gap.
func TestVerifyKnowsTheEndFromTheMarks(t *testing.T) {
	t.Parallel()
	w := history(t)
	w.Clock.Advance(11 * time.Minute)
	w.Broker().Close() // notes where the stream stands
	if r := w.verify(); r.Marks != 2 || r.Last != 6 {
		t.Fatalf("%+v", r)
	}
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	cfg := s.CachedInfo().Config
	var all []*jetstream.RawStreamMsg
	for seq := range uint64(4) {
		m, err := s.GetMsg(w.Context(), seq+1)
		w.NoError(err)
		all = append(all, m)
	}
	w.NoError(w.JS.DeleteStream(w.Context(), cfg.Name))
	_, err = w.JS.CreateStream(w.Context(), cfg)
	w.NoError(err)
	for _, m := range all {
		_, err := w.JS.PublishMsg(w.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		w.NoError(err)
	}
	w.finds("tail 5")
	// What somebody has written down elsewhere counts, too.
	r := w.verify(func(o *client.AuditOptions) { o.AtLeast = 48 })
	if len(r.Findings) != 1 || r.Findings[0].Until != 48 {
		t.Errorf("%+v", r)
	}
	// A mark that somebody made up is none.
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	e, err := kv.Get(w.Context(), messages.AuditMarksKey)
	w.NoError(err)
	_, err = kv.Put(w.Context(), messages.AuditMarksKey, []byte(strings.Replace(string(e.Value()), `"last":6`, `"last":4`, 1)))
	w.NoError(err)
	w.finds("mark 0")
}

// TestVerifyTakesAgeForNoLoss: the events that have come of age are gone, and that is all.
func TestVerifyTakesAgeForNoLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.Streams.EventAge = 300 * time.Millisecond })
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.Eventually("the events are gone", func() bool {
		s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
		w.NoError(err)
		return s.CachedInfo().State.Msgs == 0
	})
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.finds()
}

// TestEventsWithAnotherKeyAreForged: a verification needs the keys of all the events.
func TestEventsWithAnotherKeyAreForged(t *testing.T) {
	t.Parallel()
	w := history(t)
	seed, err := messages.NewKey()
	w.NoError(err)
	other, err := messages.ParseKeyring(seed)
	w.NoError(err)
	r := w.verify(func(o *client.AuditOptions) { o.Keys = other.AuditKeys() })
	if len(r.Findings) != r.Events+r.Marks || r.Events != 6 {
		t.Errorf("%+v", r)
	}
	r = w.verify(func(o *client.AuditOptions) { o.Keys = append(other.AuditKeys(), w.Keys.AuditKeys()...) })
	if len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := client.VerifyEvents(w.Context(), w.JS, client.AuditOptions{Namespace: w.Namespace}); err == nil {
		t.Error("nothing is verified, and that is no error")
	}
}

// TestVerifyFindsWhatWasChangedOnTheDisk: the server drops what its checksums do not
// know, and what it can't read behind that. The one is a gap, and the other an end that
// the marks know of.
func TestVerifyFindsWhatWasChangedOnTheDisk(t *testing.T) {
	t.Parallel()
	for name, indexed := range map[string]bool{"with the server's index": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			w := history(t)
			w.Clock.Advance(2 * time.Minute)
			w.Broker().Close() // notes where the stream stands
			third := w.Events("")[2]
			w.Conn.Close()
			w.NATS.Close()
			changed := 0
			w.NoError(filepath.WalkDir(w.Dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.Contains(path, "LESSOR_EVENT") {
					return err
				}
				if filepath.Base(path) == "index.db" && !indexed {
					return os.Remove(path) // the server makes it anew
				}
				data, err := os.ReadFile(path)
				if at := bytes.Index(data, []byte(`"id":"`+third.ID)); err == nil && at >= 0 {
					data[at+7] ^= 1
					changed++
					err = os.WriteFile(path, data, 0o600)
				}
				return err
			}))
			if changed != 1 {
				t.Fatalf("the event is in %d files", changed)
			}
			w.StartNATS()
			r := w.verify()
			if len(r.Findings) == 0 || r.Findings[0].Kind != client.AuditGap && r.Findings[0].Kind != client.AuditTail || r.Findings[0].Sequence != 3 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestTheEventStreamTakesNoDeletions, nor does one that was made without that.
func TestTheEventStreamTakesNoDeletions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.JS.CreateStream(w.Context(), jetstream.StreamConfig{Name: w.Namespace.EventStream(), Subjects: []string{w.Namespace.EventFilter()}})
	w.NoError(err)
	w.Put(w.Broker(), lessortest.Secret)
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
	w.NoError(err)
	if err := s.DeleteMsg(w.Context(), 1); err == nil {
		t.Error("an event was deleted")
	}
	if err := s.SecureDeleteMsg(w.Context(), 1); err == nil {
		t.Error("an event was erased")
	}
	if err := s.Purge(w.Context()); err == nil {
		t.Error("the events were purged")
	}
	cfg := s.CachedInfo().Config
	cfg.DenyDelete, cfg.DenyPurge = false, false
	if _, err := w.JS.UpdateStream(w.Context(), cfg); err == nil {
		t.Error("deletions were allowed again")
	}
	w.finds()
}

// TestBrokersThatStartTogetherMakeOneMark: a mark is the installation's.
func TestBrokersThatStartTogetherMakeOneMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.Broker()
	}
	if r := w.verify(); r.Marks != 1 || len(r.Findings) != 0 {
		t.Errorf("%+v", r)
	}
}
