package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// arrived returns a received message, or nil if nats.go would drop it.
func arrived(header, body []byte) *nats.Msg {
	m := &nats.Msg{Subject: "_INBOX_alice.x", Data: body}
	if len(header) > 0 {
		var err error
		if m.Header, err = nats.DecodeHeadersMsg(header); err != nil {
			return nil
		}
	}
	return m
}

// FuzzDelivery checks that only a reply for the requested secret is accepted, and that no
// error shows the secret key.
func FuzzDelivery(f *testing.F) {
	const secret = "wJalrXUtnFEMI-K7MDENG"
	const lease = `"lease":{"name":"alice.ci.06ct","identity":"alice","secret":"ci","id":"06ct","expires_at":"2026-11-22T13:00:00Z"}`
	const key = `"credentials":{"access_key_id":"AKIAX","secret_access_key":"` + secret + `"}`
	for _, s := range []string{
		``, `{}`, `null`, `{"kind":"credentials",` + lease + `,` + key + `}`, `{"kind":"credentials",` + lease + `}`, `{"kind":"credentials",` + key + `}`,
		`{"kind":"credentials",` + strings.ReplaceAll(lease, "alice", "bob") + `,` + key + `}`, `{"kind":"renewed",` + lease + `,` + key + `}`,
		`{"kind":"credentials",` + lease + `,"sealed":{"from":"X","box":"AAAA"}}`, `{"kind":"error","error":{"code":"internal","message":"no"},` + lease + `}`,
		`{"kind":"credentials",` + lease + `,"credentials":{"secret_access_key":["` + secret + `"]}}`, `{"kind":"credentials",` + lease + `,"sealed":null,"ready":"` + secret + `"}`,
	} {
		for sealed := range 3 {
			f.Add([]byte("NATS/1.0\r\nNats-Service-Error: no\r\n\r\n"), []byte(s), sealed == 1, sealed == 2)
		}
	}
	f.Add([]byte("NATS/1.0 503\r\n\r\n"), []byte(nil), false, false)
	f.Add([]byte("NATS/1.0\r\nNats-Service-Error: no\r\n\r\n"), []byte(nil), false, false)
	c := &Client{o: Options{Identity: "alice"}}
	var sealedRequest messages.LeaseRequest
	open, err := newOpener(&sealedRequest)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, body []byte, sealed, own bool) {
		m := arrived(header, body)
		if m == nil {
			return
		}
		r, err := decode(m)
		if err != nil {
			wantNoKey(t, secret, err)
			return
		}
		var issued Issued
		var request messages.LeaseRequest
		opener := open
		if sealed || own {
			request = sealedRequest
		}
		if !sealed {
			opener = nil
		}
		if err := c.take(&issued, r, "ci", request, opener); err != nil {
			if r.Error == nil { // errors of the broker are passed on
				wantNoKey(t, secret, err)
			}
			if !issued.Credentials.SecretAccessKey.IsZero() {
				t.Errorf("got an error and a key: %v", err)
			}
			return
		}
		l := issued.Lease
		if l.Identity != "alice" || l.Secret != "ci" || l.Name != "alice.ci."+l.ID {
			t.Errorf("accepted: the lease %+v", l)
		}
		switch {
		case sealed:
			t.Errorf("a box without the right key opens: %s", body)
		case own:
			if issued.Sealed == nil || !issued.Credentials.SecretAccessKey.IsZero() {
				t.Errorf("accepted in clear: %s", body)
			}
		case issued.Credentials.AccessKeyID == "" || issued.Credentials.SecretAccessKey.IsZero():
			t.Errorf("accepted without a key: %s", body)
		}
	})
}

func wantNoKey(t *testing.T, key string, err error) {
	t.Helper()
	if strings.Contains(fmt.Sprintf("%v %+v", err, err), key) {
		t.Errorf("the error shows the key: %v", err)
	}
}

// FuzzStoredEvent checks that sequences increase and that headers of the publisher do not
// replace those of the server.
func FuzzStoredEvent(f *testing.F) {
	const headers = "Nats-Sequence: 7\r\nNats-Time-Stamp: 2026-11-22T12:00:00.5Z\r\nNats-Subject: lessor.event.alice.ci.06ct.issued\r\n"
	for _, h := range []string{
		"", headers, "Nats-Sequence: 9\r\n" + headers, headers + "Nats-Sequence: x\r\n", "Nats-Sequence: 0\r\n", "Nats-Sequence: 18446744073709551615\r\n", "Nats-Sequence: -1\r\n",
		strings.Replace(headers, "2026", "soon", 1), "Nats-Sequence:\r\n 8\r\n",
	} {
		f.Add([]byte("NATS/1.0\r\n"+h+"\r\n"), []byte(`{"specversion":"1.0","type":"x"}`), uint64(6))
	}
	f.Fuzz(func(t *testing.T, header, body []byte, last uint64) {
		m := arrived(header, body)
		if m == nil {
			return
		}
		var got *storedEvent
		r := &eventReader{last: last, handle: func(e storedEvent) (bool, error) {
			got = &e
			return true, nil
		}}
		err := r.take(m)
		if (err == nil) != (got != nil) || r.last < last {
			t.Errorf("%v, and the sequence is %d after %d: %+v", err, r.last, last, got)
		}
		if err != nil {
			return
		}
		values := m.Header.Values(jetstream.SequenceHeader)
		if got.seq <= last || fmt.Sprint(got.seq) != strings.TrimLeft(strings.TrimPrefix(values[len(values)-1], "+"), "0") || !bytes.Equal(got.data, body) {
			t.Errorf("after %d: got sequence %d, of %q", last, got.seq, values)
		}
	})
}

// FuzzAudit changes one thing in a history of signed events. The audit must find it.
func FuzzAudit(f *testing.F) {
	for what := range uint8(8) {
		f.Add(what, uint8(3), uint8(5), []byte("x"))
	}
	f.Add(uint8(0), uint8(0), uint8(0), []byte(`{"n":0}`))
	seed, err := messages.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	keys, err := messages.ParseKeyring(seed)
	if err != nil {
		f.Fatal(err)
	}
	begin := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const n = 12
	var history []storedEvent
	var marks messages.AuditMarks
	for i := range n {
		e := storedEvent{
			seq: uint64(i + 1), at: begin.Add(time.Duration(i) * 5 * time.Minute), subject: fmt.Sprintf("lessor.event.alice.ci.x%d.issued", i),
			header: nats.Header{}, data: fmt.Appendf(nil, `{"n":%d}`, i),
		}
		e.header.Set(jetstream.MsgIDHeader, fmt.Sprintf("x%d", i))
		e.header.Set(messages.HeaderSignature, keys.SignEvent(e.subject, fmt.Sprintf("x%d", i), e.data))
		history = append(history, e)
		marks = keys.AddMark(marks, e.at, e.seq)
	}
	f.Fuzz(func(t *testing.T, what, at, other uint8, text []byte) {
		events := slices.Clone(history)
		i, j := int(at)%n, int(other)%n
		marked, changed := slices.Clone(marks.Marks), i != j
		switch what % 8 {
		case 0:
			events[i].data = text
			changed = !bytes.Equal(text, history[i].data)
		case 1:
			events[i].subject = events[j].subject
		case 2: // the same event in another place
			events[i].data, events[i].subject, events[i].header = events[j].data, events[j].subject, events[j].header
		case 3: // with a line break in its signature
			h := nats.Header{}
			h.Set(jetstream.MsgIDHeader, events[j].header.Get(jetstream.MsgIDHeader))
			signature := events[j].header.Get(messages.HeaderSignature)
			cut := int(at) % len(signature)
			h.Set(messages.HeaderSignature, signature[:cut]+"\r"+signature[cut:])
			events[i].data, events[i].subject, events[i].header = events[j].data, events[j].subject, h
			changed = true
		case 4:
			events, changed = slices.Delete(events, i, i+1), i > 0 // no mark covers what was before the first mark
		case 5:
			events, changed = events[:i], i > 0 // the state of the stream reveals an empty stream
		case 6:
			marked[i%len(marked)].Last += uint64(other)
			changed = other > 0
		case 7:
			events[i].at = events[i].at.Add(time.Duration(other) * time.Hour)
			changed = other > 0 && i < n-1
		}
		if !changed {
			return
		}
		w := &auditWalk{o: AuditOptions{Keys: keys.AuditKeys()}, seen: map[[16]byte]uint64{}}
		w.verifyMarks(marked)
		for _, e := range events {
			w.event(e)
		}
		last := uint64(0)
		if len(events) > 0 {
			last = events[len(events)-1].seq
		}
		w.finish(jetstream.StreamState{FirstSeq: 1, LastSeq: last}, w.result.First, 0, begin.Add(time.Hour))
		if len(w.result.Findings) == 0 {
			t.Errorf("no finding: change %d of event %d, %d, %q", what%8, i, j, text)
		}
		if out, err := json.Marshal(w.result); err != nil || len(out) > 20_000 {
			t.Errorf("the findings have %d bytes, %v", len(out), err)
		}
	})
}
