package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// came is a message as it came over the wire, for functions that only read it.
type came struct {
	jetstream.Msg // nil: nothing may be answered
	header        nats.Header
	body          []byte
}

func (m came) Headers() nats.Header { return m.header }
func (m came) Data() []byte         { return m.body }

// arrived makes a message of what stands on the wire, or nil where NATS's own client
// would not take it.
func arrived(verb messages.Verb, subject string, header, body []byte) *inbound {
	var h nats.Header
	if len(header) > 0 {
		var err error
		if h, err = nats.DecodeHeadersMsg(header); err != nil {
			return nil
		}
	}
	var n messages.Namespace
	return &inbound{
		Msg: came{header: h, body: body}, verb: verb, tokens: n.Tokens(subject, 1), sequence: 7,
		stored: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), delivered: 1,
	}
}

// wantRefusal fails unless the error can be answered and told: one of ours, short, on
// one line, under a subject that the event stream keeps.
func wantRefusal(t *testing.T, m *inbound, err error) {
	t.Helper()
	e, ok := err.(*messages.Error)
	if !ok || e.Code == "" || e.Message == "" || len(e.Message) > 1600 || strings.ContainsAny(e.Message, "\r\n") {
		t.Errorf("the error is %T: %v", err, err)
	}
	var n messages.Namespace
	tokens := strings.Split(n.Event(safeName(m.tokens, m.id()), messages.EventRejected), ".")
	if len(tokens) != 6 || slices.ContainsFunc(tokens, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' })
	}) {
		t.Errorf("it would be told on %q", tokens)
	}
}

const theAnswer = "NATS/1.0\r\nLessor-Reply-To: _INBOX_alice.x\r\n"

// FuzzDecodeAsk reads anything as a request: who asks is the subject's alone, and
// whoever is answered is somebody whom that identity may have answered.
func FuzzDecodeAsk(f *testing.F) {
	for _, h := range []string{
		"", theAnswer + "\r\n", theAnswer + "Lessor-Idempotency-Key: k\r\nLessor-Deadline: 2026-11-22T12:00:30Z\r\n\r\n",
		"NATS/1.0\r\nLessor-Reply-To: _INBOX_bob.x\r\n\r\n", "NATS/1.0\r\nLessor-Reply-To: $KV.x\r\nLessor-Reply-To: _INBOX.x\r\n\r\n",
		theAnswer + "Lessor-Deadline: soon\r\n\r\n", theAnswer + "lessor-reply-to: _INBOX.y\r\n\r\n", theAnswer + "Lessor-Idempotency-Key: a\rb\r\n\r\n",
	} {
		f.Add("lessor.request.alice.ci", []byte(h), []byte(`{"ttl":"15m","labels":{"job":"1"}}`))
	}
	for _, s := range []string{"lessor.request.Alice.ci", "lessor.request.alice", "lessor.request.alice.ci.x", "lessor.request._admin.ci", "lessor.request.alice.*", "x"} {
		f.Add(s, []byte(theAnswer+"\r\n"), []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, subject string, header, body []byte) {
		m := arrived(messages.VerbRequest, subject, header, body)
		if m == nil {
			return
		}
		c := &Consumer{}
		a, err := c.decodeAsk(m)
		if a.replyTo != "" && c.cfg.Namespace.CheckReply(m.tokens[0], a.replyTo) != nil {
			t.Errorf("%q is answered on %q", subject, a.replyTo)
		}
		if err != nil {
			wantRefusal(t, m, err)
			return
		}
		if _, err := messages.ParseLeaseName(a.name.String()); err != nil || subject != c.cfg.Namespace.Request(a.name.Identity, a.name.Secret) &&
			strings.Join(m.tokens, ".") != a.name.Identity+"."+a.name.Secret || a.replyTo == "" || checkRequester(a.name.Identity) != nil {
			t.Errorf("%q asks for %s, to be told on %q: %v", subject, a.name, a.replyTo, err)
		}
		if r, err := messages.DecodeLeaseRequest(body); err != nil || r.Fingerprint() != a.origin.Fingerprint {
			t.Errorf("%s is another request: %v", body, err)
		}
		if d := a.request.Deadline; !d.IsZero() && (a.deadline.IsZero() || a.deadline.After(d)) {
			t.Errorf("the deadline %s becomes %s", d, a.deadline)
		}
	})
}

// FuzzDecodeOrder reads anything as a message about a lease that exists.
func FuzzDecodeOrder(f *testing.F) {
	for _, s := range []string{"lessor.revoke.alice.ci.06ct", "lessor.revoke.alice.ci", "lessor.revoke.alice.ci.*", "lessor.revoke.alice..06ct", "lessor.renew.a.b.c.d", ""} {
		f.Add(s, []byte(theAnswer+"\r\n"))
		f.Add(s, []byte(nil))
		f.Add(s, []byte("NATS/1.0\r\nLessor-Reply-To: lessor.deliver.bob.x\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, subject string, header []byte) {
		m := arrived(messages.VerbRevoke, subject, header, nil)
		if m == nil {
			return
		}
		c := &Consumer{}
		o, err := c.decodeOrder(m)
		if o.replyTo != "" && c.cfg.Namespace.CheckReply(m.tokens[0], o.replyTo) != nil {
			t.Errorf("%q is answered on %q", subject, o.replyTo)
		}
		if err != nil {
			wantRefusal(t, m, err)
			return
		}
		if o.name.String() != strings.Join(m.tokens, ".") {
			t.Errorf("%q is about %s", subject, o.name)
		}
	})
}

// FuzzDescribe: what an event tells of a command names what can be, and has nothing
// else of its body.
func FuzzDescribe(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	for _, s := range []string{
		``, `{}`, `{"name":"ci","force":true}`, `{"lease":"alice.ci.06ct","reason":"` + key + `"}`, `{"identity":"alice","secret":"` + key + `"}`,
		`{"definition":{"name":"ci","aws":{"auth":{"secret_access_key":"` + key + `"}}},"no_check":true,"sealed":{"from":"X","box":"AAAA"}}`,
		`{"definition":{"name":"` + key + `"}}`, `{"NAME":"ci","Definition":[]}`, `{"name":1,"lease":"*.*.*","secret":"ci"}`, `{"apply":true}{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := describe(body)
		for _, s := range []string{c.Secret, c.Identity} {
			if s != "" && (messages.CheckToken("token", s) != nil || !bytes.Contains(bytes.ToLower(body), []byte(s)) && !bytes.ContainsRune(body, '\\')) {
				t.Errorf("%q is told of %s", s, body)
			}
		}
		if _, err := messages.ParseLeaseName(c.Lease); c.Lease != "" && err != nil {
			t.Errorf("%q is told of %s", c.Lease, body)
		}
		told, err := json.Marshal(c)
		if err != nil || len(told) > 600 || bytes.Contains(told, []byte(key)) {
			t.Errorf("%s is told, %v", told, err)
		}
	})
}

// FuzzStored reads anything as what stands in the buckets of definitions and of
// connections: it is that key's or none, and an error shows no secret key.
func FuzzStored(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"v":1,"definition":{"name":"ci"}}`, `{"v":1,"source":"file","deleting":true,"definition":{"name":"ci","aws":{"region":"eu-central-1"}}}`,
		`{"v":2,"definition":{"name":"ci"}}`, `{"v":1,"definition":{"name":"cd"}}`, `{"v":1,"definition":{"name":"ci","aws":{"auth":{"secret_access_key":["` + key + `"]}}}}`,
		`{"v":1,"name":"ci","region":"eu-central-1","auth":{"method":"access_key","access_key_id":"AKIAX"},"secret":{"from":"X","box":"AAAA"},"kept_at":"2026-11-22T12:00:00Z"}`,
		`{"v":1,"name":"ci","auth":{"secret_access_key":"` + key + `"}}`, `{"v":1,"name":"ci","auth":{"` + key + `":1}}`, `{"v":1,"kept_at":"` + key + `"}`, `{"v":1,"kept_at":"a\nb"}`,
	} {
		f.Add("ci", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if messages.CheckToken("name", name) != nil {
			return
		}
		stored, err := openStored(name, data)
		wantShort(t, key, err)
		if err == nil && (stored.Definition.Name != name || stored.Version > storedSecretVersion) {
			t.Errorf("%s has %+v", name, stored)
		}
		if errors.Is(err, errNewerSecret) && stored.Definition.Name != "" {
			t.Errorf("a newer broker's is used: %+v", stored)
		}
		d, err := decodeStored(name, data)
		if err == nil && (d.Name != name || stored.Deleting) {
			t.Errorf("%s gives leases: %s", name, data)
		}
		c, err := decodeConnection(name, data)
		wantShort(t, "", err)
		if err != nil {
			return
		}
		if c.Name != name || c.Version != storedConnectionVersion {
			t.Errorf("%s has the connection %+v", name, c)
		}
		once, err := json.Marshal(c)
		if err != nil {
			return // a time that JSON can read and not write
		}
		if c.Auth.SecretAccessKey.IsZero() == bytes.Contains(once, []byte("secret_access_key")) {
			t.Errorf("written as %s", once)
		}
		again, err := decodeConnection(name, once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("came back as\n%s, was\n%s: %v", twice, once, err)
		}
	})
}

// wantShort fails if an error is long, or shows the key; "": none stands there.
func wantShort(t *testing.T, key string, err error) {
	t.Helper()
	if err != nil && (len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n") || key != "" && strings.Contains(err.Error(), key)) {
		t.Errorf("the error is %v", err)
	}
}
