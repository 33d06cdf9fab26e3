package consumer_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestInvalidRequestIsRejectedAndLeavesTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	long := strings.Repeat("x", 70)
	for _, c := range []struct {
		name, subject, body string
		header              []string
		code                messages.Code
		words               string
	}{
		{name: "not JSON", body: `{`, code: messages.CodeInvalidRequest, words: "JSON"},
		{name: "not an object", body: `[]`, code: messages.CodeInvalidRequest, words: "object"},
		{name: "unknown field", body: `{"tll":"1h"}`, code: messages.CodeInvalidRequest, words: "tll"},
		{name: "wrong case", body: `{"TTL":"1h"}`, code: messages.CodeInvalidRequest, words: "TTL"},
		{name: "twice", body: `{"ttl":"1h","ttl":"2h"}`, code: messages.CodeInvalidRequest, words: "ttl is given twice"},
		{name: "wrong type", body: `{"ttl":3600}`, code: messages.CodeInvalidRequest, words: "ttl"},
		{name: "too large", body: `{"labels":{"a":"` + strings.Repeat("x", messages.MaxBody) + `"}}`, code: messages.CodeTooLarge, words: "limit is 16384"},
		{name: "above max ttl", body: `{"ttl":"48h"}`, code: messages.CodeTTLExceedsMax, words: "maximum of 1d"},
		{name: "zero ttl", body: `{"ttl":"0s"}`, code: messages.CodeInvalidRequest, words: "ttl"},
		{name: "label", body: `{"labels":{"` + long + `":"v"}}`, code: messages.CodeInvalidRequest, words: "labels"},
		{name: "bad xkey", body: `{"xkey":"XABC"}`, code: messages.CodeInvalidRequest, words: "xkey"},
		{name: "deadline passed", body: `{"deadline":"2020-01-01T00:00:00Z"}`, code: messages.CodeDeadlineExceeded, words: "deadline"},
		{name: "no such secret", subject: "lessor.request.alice.nope", code: messages.CodeSecretNotFound, words: "nope"},
		{name: "upper case secret", subject: "lessor.request.alice.CI", code: messages.CodeInvalidSubject, words: "secret"},
		{name: "long idempotency key", header: []string{messages.HeaderIdempotencyKey, strings.Repeat("k", 300)}, code: messages.CodeInvalidRequest, words: "limit is 256"},
		{name: "bad deadline header", header: []string{messages.HeaderDeadline, "soon"}, code: messages.CodeInvalidRequest, words: messages.HeaderDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject := c.subject
			if subject == "" {
				subject = w.Namespace.Request("alice", "ci")
			}
			before := len(w.Events(""))
			r, msg := w.Answer(w.Publish(subject, c.body, c.header...))
			w.WantError(r, c.code)
			if !strings.Contains(r.Error.Message, c.words) {
				t.Fatalf("the message %q does not contain %q", r.Error.Message, c.words)
			}
			if h := msg.Header.Get(messages.HeaderError); !strings.HasPrefix(h, string(c.code)) || msg.Header.Get(messages.HeaderErrorCode) == "" {
				t.Fatalf("the NATS error headers are missing: %v", msg.Header)
			}
			w.WaitQueuesEmpty()
			emitted := w.Events("")[before:]
			if len(emitted) != 1 || emitted[0].Type != "lessor.lease.rejected" || emitted[0].Data.Error.Code != c.code {
				t.Fatalf("the events are %+v", emitted)
			}
		})
	}
	t.Run("no call was made", func(t *testing.T) {
		if calls := w.Sim.Calls(); len(calls) > 0 {
			t.Fatalf("%d calls to AWS", len(calls))
		}
	})
}

func TestRequestWithoutAllowedReplySubjectMakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	for name, replyTo := range map[string]string{
		"none":               "",
		"a bucket":           "$KV.lessor_lease.bob.ci.x",
		"JetStream's API":    "$JS.API.STREAM.PURGE.LESSOR_EVENT",
		"another's revoke":   "lessor.revoke.bob.ci.x",
		"another's inbox":    "_INBOX_bob.x",
		"another's delivery": "lessor.deliver.bob.x",
		"a wildcard":         "_INBOX.>",
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.Events(""))
			w.PublishReply(replyTo, w.Namespace.Request("alice", "ci"), "{}")
			w.Eventually("the event rejected is emitted", func() bool {
				emitted := w.Events("")[before:]
				return len(emitted) == 1 && emitted[0].Data.Error != nil && emitted[0].Data.Error.Code == messages.CodeInvalidReply
			})
			w.WaitQueuesEmpty()
		})
	}
	for _, subject := range []string{"lessor.request.Alice.ci", "lessor.request.аlice.ci", "lessor.request." + strings.Repeat("a", 65) + ".ci"} {
		before := len(w.Events(""))
		w.PublishReply("_INBOX.x", subject, "{}")
		w.Eventually("the event rejected is emitted", func() bool { return len(w.Events("")) == before+1 })
		w.WaitQueuesEmpty()
	}
	if calls := w.Sim.Calls(); len(calls) > 0 || len(w.Records()) > 0 {
		t.Fatalf("a lease was made: %v %v", calls, w.Records())
	}
}

// TestReservedIdentitiesAreRefused: leases and events under those names are lessor's
// own.
func TestReservedIdentitiesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	var asked sync.WaitGroup
	for _, identity := range []string{"_check", "_admin"} {
		asked.Go(func() {
			w.WantError(w.requestBy(identity, true), messages.CodeInvalidSubject)
			w.WantError(w.Call(w.Conn, w.Namespace.API("list", identity), ""), messages.CodeInvalidSubject)
		})
	}
	asked.Wait()
	if n := len(w.Records()); n != 0 {
		t.Errorf("%d leases", n)
	}
}
