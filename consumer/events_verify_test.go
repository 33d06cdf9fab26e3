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

// wantFindings verifies the events, and fails the test unless it finds these kinds at
// these sequences.
func (w *world) wantFindings(want ...string) {
	w.T.Helper()
	have := []string{}
	r := w.verify()
	for _, f := range r.Findings {
		have = append(have, fmt.Sprintf("%s %d", f.Kind, f.Sequence))
	}
	if !slices.Equal(have, append([]string{}, want...)) {
		w.T.Errorf("the findings are %v, want %v: %+v", have, want, r)
	}
}

// history returns a world whose events are those of two leases.
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
	w.wantFindings()
	return w
}

// rewrite makes the event stream again, from its events with what f makes of each; nil
// leaves one out. An attacker with all rights in NATS can do that.
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
		if next == nil { // it keeps the sequence until it is deleted
			next = m
			defer func() { w.NoError(s.DeleteMsg(w.Context(), seq)) }()
		}
		_, err := w.JS.PublishMsg(w.Context(), next)
		w.NoError(err)
	}
}

func TestVerifyFindsRemovedChangedAndForgedEvents(t *testing.T) {
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
		"one is of another identity": {func(seq uint64, m *nats.Msg) *nats.Msg {
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
			t.Parallel()
			w := history(t)
			w.rewrite(c.change)
			w.wantFindings(c.want...)
		})
	}
}

func TestVerifyAcceptsEventsRemovedByAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.Streams.EventAge = 300 * time.Millisecond })
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
	w.Eventually("the events are removed", func() bool {
		s, err := w.JS.Stream(w.Context(), w.Namespace.EventStream())
		w.NoError(err)
		return s.CachedInfo().State.Msgs == 0
	})
	w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.wantFindings()
}

func TestVerifyNeedsTheKeysOfAllEvents(t *testing.T) {
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
		t.Error("no event was verified, and there is no error")
	}
}

// TestVerifyFindsEventsChangedOnDisk: the server drops an event with another checksum,
// and what it can't read after it. The first is a gap, the second an end that the marks
// contradict.
func TestVerifyFindsEventsChangedOnDisk(t *testing.T) {
	t.Parallel()
	for name, indexed := range map[string]bool{"with the server's index": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := history(t)
			w.Clock.Advance(2 * time.Minute)
			w.Broker().Close() // stores the position of the stream
			third := w.Events("")[2]
			w.Conn.Close()
			w.NATS.Close()
			changed := 0
			w.NoError(filepath.WalkDir(w.Dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.Contains(path, "LESSOR_EVENT") {
					return err
				}
				if filepath.Base(path) == "index.db" && !indexed {
					return os.Remove(path) // the server makes it again
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
