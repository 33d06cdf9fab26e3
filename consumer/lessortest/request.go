package lessortest

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// Identity is the requester of [World.Request] and [World.Lease].
const Identity = "alice"

// Secret is a definition of the dynamic secret "ci" with one group, one managed policy
// and one inline policy.
const Secret = `{"name":"ci","default_ttl":"1h","max_ttl":"24h","aws":{
	"groups":["` + Group + `"],"managed_policies":["arn:aws:iam::aws:policy/ReadOnlyAccess"],
	"inline_policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}}}`

// Put stores a definition through a broker, without a dry run.
func (w *World) Put(b *Broker, definition string) {
	w.T.Helper()
	d, err := messages.DecodeDynamicSecret([]byte(definition))
	w.NoError(err)
	_, err = b.Secrets().Put(w.Context(), d, "test")
	w.NoError(err)
}

// NameOf returns the name of the lease of a reply.
func (w *World) NameOf(r messages.Reply) messages.LeaseName {
	w.T.Helper()
	n, err := messages.ParseLeaseName(r.Lease.Name)
	w.NoError(err)
	return n
}

// Publish publishes a message to a verb's stream, as a program in the brokers' account
// does, and returns where its answers arrive. The header is keys and values by turns.
func (w *World) Publish(subject, body string, header ...string) *nats.Subscription {
	w.T.Helper()
	sub, err := w.Conn.SubscribeSync(w.Conn.NewInbox())
	w.NoError(err)
	w.PublishReply(sub.Subject, subject, body, header...)
	return sub
}

// PublishReply is [World.Publish] with a reply subject, which may be "". It waits
// while an earlier message about the same lease is pending, and while the stream has no
// leader.
func (w *World) PublishReply(replyTo, subject, body string, header ...string) {
	w.T.Helper()
	msg := message(subject, body, header)
	if replyTo != "" {
		msg.Header.Set(messages.HeaderReplyTo, replyTo)
	}
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		_, err := w.JS.PublishMsg(w.Context(), msg)
		again := err != nil && (strings.Contains(err.Error(), "per subject") || errors.Is(err, jetstream.ErrNoStreamResponse))
		if !again || time.Now().After(end) {
			w.NoError(err)
			return
		}
	}
}

func message(subject, body string, header []string) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	for i := 0; i+1 < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	return msg
}

// Answer waits for the next answer, and returns it with its message.
func (w *World) Answer(sub *nats.Subscription) (messages.Reply, *nats.Msg) {
	w.T.Helper()
	return w.AnswerWithin(Patience, sub)
}

// AnswerWithin is [World.Answer] with another patience.
func (w *World) AnswerWithin(d time.Duration, sub *nats.Subscription) (messages.Reply, *nats.Msg) {
	w.T.Helper()
	msg, err := sub.NextMsg(d)
	if err != nil {
		w.T.Fatalf("no answer within %s: %v\n%s", d, err, w.Logs)
	}
	r, err := messages.DecodeReply(msg.Data)
	w.NoError(err)
	return r, msg
}

// Send publishes a message to a verb's stream and returns the answer.
func (w *World) Send(subject, body string, header ...string) messages.Reply {
	w.T.Helper()
	r, _ := w.Answer(w.Publish(subject, body, header...))
	return r
}

// Request requests a lease for [Identity] and returns the answer.
func (w *World) Request(secret, body string, header ...string) messages.Reply {
	w.T.Helper()
	return w.Send(w.Namespace.Request(Identity, secret), body, header...)
}

// Lease requests a lease, which must be issued.
func (w *World) Lease(secret, body string, header ...string) messages.Reply {
	w.T.Helper()
	r := w.Request(secret, body, header...)
	w.WantKind(r, messages.KindCredentials)
	return r
}

// Renew renews a lease and returns the answer.
func (w *World) Renew(lease messages.Reply, body string) messages.Reply {
	w.T.Helper()
	return w.Send(w.Namespace.Renew(w.NameOf(lease)), body)
}

// Revoke revokes a lease by command and returns the answer.
func (w *World) Revoke(lease messages.Reply) messages.Reply {
	w.T.Helper()
	return w.Send(w.Namespace.Revoke(w.NameOf(lease)), "")
}

// WantKind fails the test if an answer is of another kind.
func (w *World) WantKind(r messages.Reply, kind string) {
	w.T.Helper()
	if r.Kind != kind {
		w.T.Fatalf("the answer is %s (%v), want %s\n%+v\n%s", r.Kind, r.Error, kind, r, w.Logs)
	}
}

// WantError fails the test if an answer is no error with the code.
func (w *World) WantError(r messages.Reply, code messages.Code) {
	w.T.Helper()
	if r.Kind != messages.KindError || r.Error.Code != code {
		w.T.Fatalf("the answer is %s (%v), want error %s\n%+v\n%s", r.Kind, r.Error, code, r, w.Logs)
	}
}

// secondReply is how long [World.Call] waits for a reply that must not come.
const secondReply = 20 * time.Millisecond

// Call makes a NATS request on a connection, as "nats request" does, and fails the
// test unless exactly one reply arrives. Any goroutine may call it that the test waits
// for.
func (w *World) Call(nc *nats.Conn, subject, body string, header ...string) messages.Reply {
	w.T.Helper()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	w.NoError(err)
	defer func() { _ = sub.Unsubscribe() }()
	msg := message(subject, body, header)
	msg.Reply = sub.Subject
	w.NoError(nc.PublishMsg(msg))
	r, _ := w.Answer(sub)
	if extra, err := sub.NextMsg(secondReply); err == nil {
		w.T.Fatalf("a second reply: %s", extra.Data)
	}
	return r
}

// operatorWait is how long [World.Operate] waits for a reply before it asks again.
const operatorWait = 15 * time.Second

// Operate makes a request to the admin service and returns the answer. It asks again
// if none comes: NATS may have given the request to a broker that was just killed, and
// requests to the admin service are on no stream.
func (w *World) Operate(subject, body string) messages.Reply {
	w.T.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		msg, err := w.Conn.Request(subject, []byte(body), operatorWait)
		if err == nil {
			r, err := messages.DecodeReply(msg.Data)
			w.NoError(err)
			return r
		}
	}
	w.T.Fatalf("no answer on %s\n%s", subject, w.Logs)
	return messages.Reply{}
}
