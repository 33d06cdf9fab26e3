package lease

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
)

// taskOf makes a task of a message on the wire; nil if NATS's client would not accept
// its header.
func taskOf(verb messages.Verb, subject string, header, body []byte) *queue.Task {
	var h nats.Header
	if len(header) > 0 {
		var err error
		if h, err = nats.DecodeHeadersMsg(header); err != nil {
			return nil
		}
	}
	var n messages.Namespace
	return &queue.Task{
		Verb: verb, Subject: subject, Tokens: n.Tokens(subject, 1), Header: h, Data: body,
		Sequence: 7, Stored: noon, Deliveries: 1, Log: zerolog.Nop(),
	}
}

// checkRefusal checks that an error can be answered and emitted: it is a short
// messages.Error on one line, and its event has a subject that the event stream takes.
func checkRefusal(t *testing.T, task *queue.Task, err error) {
	t.Helper()
	e, ok := err.(*messages.Error)
	if !ok || e.Code == "" || e.Message == "" || len(e.Message) > 1600 || strings.ContainsAny(e.Message, "\r\n") {
		t.Errorf("the error is %T: %v", err, err)
	}
	var n messages.Namespace
	tokens := strings.Split(n.Event(events.NameOf(task.Tokens, "msg7"), messages.EventRejected), ".")
	if len(tokens) != 6 || slices.ContainsFunc(tokens, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' })
	}) {
		t.Errorf("the event's subject is %q", tokens)
	}
}

// checkReplyTo checks that the task is answered only where its identity may be.
func checkReplyTo(t *testing.T, task *queue.Task) {
	t.Helper()
	var n messages.Namespace
	if task.ReplyTo != "" && n.CheckReply(task.Tokens[0], task.ReplyTo) != nil {
		t.Errorf("%q is answered on %q", task.Subject, task.ReplyTo)
	}
}

const replyHeader = "NATS/1.0\r\nLessor-Reply-To: _INBOX_alice.x\r\n"

// FuzzDecodeRequest decodes anything as a request. The requester is the identity of the
// subject, and only subjects of that identity are answered.
func FuzzDecodeRequest(f *testing.F) {
	for _, h := range []string{
		"", replyHeader + "\r\n", replyHeader + "Lessor-Idempotency-Key: k\r\nLessor-Deadline: 2026-11-22T12:00:30Z\r\n\r\n",
		"NATS/1.0\r\nLessor-Reply-To: _INBOX_bob.x\r\n\r\n", "NATS/1.0\r\nLessor-Reply-To: $KV.x\r\nLessor-Reply-To: _INBOX.x\r\n\r\n",
		replyHeader + "Lessor-Deadline: soon\r\n\r\n", replyHeader + "lessor-reply-to: _INBOX.y\r\n\r\n", replyHeader + "Lessor-Idempotency-Key: a\rb\r\n\r\n",
	} {
		f.Add("lessor.request.alice.ci", []byte(h), []byte(`{"ttl":"15m","labels":{"job":"1"}}`))
	}
	for _, s := range []string{"lessor.request.Alice.ci", "lessor.request.alice", "lessor.request.alice.ci.x", "lessor.request._admin.ci", "lessor.request.alice.*", "x"} {
		f.Add(s, []byte(replyHeader+"\r\n"), []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, subject string, header, body []byte) {
		task := taskOf(messages.VerbRequest, subject, header, body)
		if task == nil {
			return
		}
		h := &Requests{}
		r, err := h.decode(task)
		checkReplyTo(t, task)
		if err != nil {
			checkRefusal(t, task, err)
			return
		}
		if _, err := messages.ParseLeaseName(r.name.String()); err != nil || strings.Join(task.Tokens, ".") != r.name.Identity+"."+r.name.Secret {
			t.Errorf("%q is decoded as %s: %v", subject, r.name, err)
		}
		if r.replyTo == "" || r.replyTo != task.ReplyTo || CheckRequester(r.name.Identity) != nil {
			t.Errorf("%q is decoded as %s, with the reply subject %q", subject, r.name, r.replyTo)
		}
		if b, err := messages.DecodeLeaseRequest(body); err != nil || b.Fingerprint() != r.origin.Fingerprint {
			t.Errorf("%s is decoded as another request: %v", body, err)
		}
		if d := r.body.Deadline; !d.IsZero() && (r.deadline.IsZero() || r.deadline.After(d)) {
			t.Errorf("the deadline %s is decoded as %s", d, r.deadline)
		}
	})
}

// FuzzDecodeCommand decodes anything as a message about a lease.
func FuzzDecodeCommand(f *testing.F) {
	for _, s := range []string{"lessor.revoke.alice.ci.06ct", "lessor.revoke.alice.ci", "lessor.revoke.alice.ci.*", "lessor.revoke.alice..06ct", "lessor.renew.a.b.c.d", ""} {
		f.Add(s, []byte(replyHeader+"\r\n"))
		f.Add(s, []byte(nil))
		f.Add(s, []byte("NATS/1.0\r\nLessor-Reply-To: lessor.deliver.bob.x\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, subject string, header []byte) {
		task := taskOf(messages.VerbRevoke, subject, header, nil)
		if task == nil {
			return
		}
		c, err := Settings{}.decodeCommand(task)
		checkReplyTo(t, task)
		if err != nil {
			checkRefusal(t, task, err)
			return
		}
		if c.name.String() != strings.Join(task.Tokens, ".") || c.wantsReply != (task.ReplyTo != "") {
			t.Errorf("%q is decoded as %+v", subject, c)
		}
	})
}
