package consumer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
	"github.com/lessorhq/lessor/provider/username"
)

func TestABadRequestIsRejectedAndLeavesTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	long := strings.Repeat("x", 70)
	for _, c := range []struct {
		name, subject, body string
		header              []string
		code                messages.Code
		says                string
	}{
		{name: "not JSON", body: `{`, code: messages.CodeInvalidRequest, says: "JSON"},
		{name: "not an object", body: `[]`, code: messages.CodeInvalidRequest, says: "object"},
		{name: "unknown field", body: `{"tll":"1h"}`, code: messages.CodeInvalidRequest, says: "tll"},
		{name: "wrong case", body: `{"TTL":"1h"}`, code: messages.CodeInvalidRequest, says: "TTL"},
		{name: "twice", body: `{"ttl":"1h","ttl":"2h"}`, code: messages.CodeInvalidRequest, says: "ttl is given twice"},
		{name: "wrong type", body: `{"ttl":3600}`, code: messages.CodeInvalidRequest, says: "ttl"},
		{name: "too large", body: `{"labels":{"a":"` + strings.Repeat("x", messages.MaxBody) + `"}}`, code: messages.CodeTooLarge, says: "limit is 16384"},
		{name: "above max ttl", body: `{"ttl":"48h"}`, code: messages.CodeTTLExceedsMax, says: "maximum of 1d"},
		{name: "zero ttl", body: `{"ttl":"0s"}`, code: messages.CodeInvalidRequest, says: "ttl"},
		{name: "label", body: `{"labels":{"` + long + `":"v"}}`, code: messages.CodeInvalidRequest, says: "labels"},
		{name: "bad xkey", body: `{"xkey":"XABC"}`, code: messages.CodeInvalidRequest, says: "xkey"},
		{name: "deadline passed", body: `{"deadline":"2020-01-01T00:00:00Z"}`, code: messages.CodeDeadlineExceeded, says: "deadline"},
		{name: "no such secret", subject: "lessor.request.alice.nope", code: messages.CodeSecretNotFound, says: "nope"},
		{name: "upper case secret", subject: "lessor.request.alice.CI", code: messages.CodeInvalidSubject, says: "secret"},
		{name: "long idempotency key", header: []string{messages.HeaderIdempotencyKey, strings.Repeat("k", 300)}, code: messages.CodeInvalidRequest, says: "limit is 256"},
		{name: "bad deadline header", header: []string{messages.HeaderDeadline, "soon"}, code: messages.CodeInvalidRequest, says: messages.HeaderDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject := c.subject
			if subject == "" {
				subject = w.Namespace.Request("alice", "ci")
			}
			before := len(w.Events(""))
			r, msg := w.Answer(w.Publish(subject, c.body, c.header...))
			w.WantError(r, c.code)
			if !strings.Contains(r.Error.Message, c.says) {
				t.Fatalf("the message %q does not say %q", r.Error.Message, c.says)
			}
			if h := msg.Header.Get(messages.HeaderError); !strings.HasPrefix(h, string(c.code)) || msg.Header.Get(messages.HeaderErrorCode) == "" {
				t.Fatalf("the NATS error headers are missing: %v", msg.Header)
			}
			w.WaitQueuesEmpty()
			told := w.Events("")[before:]
			if len(told) != 1 || told[0].Type != "lessor.lease.rejected" || told[0].Data.Error.Code != c.code {
				t.Fatalf("not told as rejected: %+v", told)
			}
		})
	}
	t.Run("and nothing was made", func(t *testing.T) {
		if calls := w.Sim.Calls(); len(calls) > 0 {
			t.Fatalf("%d calls to AWS", len(calls))
		}
	})
}

func TestARequestThatNobodyMayBeAnsweredForMakesNothing(t *testing.T) {
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
			w.Eventually("it is told as rejected", func() bool {
				told := w.Events("")[before:]
				return len(told) == 1 && told[0].Data.Error != nil && told[0].Data.Error.Code == messages.CodeInvalidReply
			})
			w.WaitQueuesEmpty()
		})
	}
	for _, subject := range []string{"lessor.request.Alice.ci", "lessor.request.аlice.ci", "lessor.request." + strings.Repeat("a", 65) + ".ci"} {
		before := len(w.Events(""))
		w.PublishReply("_INBOX.x", subject, "{}")
		w.Eventually("it is told as rejected", func() bool { return len(w.Events("")) == before+1 })
		w.WaitQueuesEmpty()
	}
	if calls := w.Sim.Calls(); len(calls) > 0 || len(w.Records()) > 0 {
		t.Fatalf("something was made: %v %v", calls, w.Records())
	}
}

func TestAHundredRequestsWithOneKeyMakeOneLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Broker() // a second replica
	w.Sim.SetFaults(iamsim.Faults{Latency: 20 * time.Millisecond})

	const n = 100
	var all sync.WaitGroup
	answers := make([]messages.Reply, n)
	subs := make([]*nats.Subscription, n)
	for i := range n {
		inbox := w.Conn.NewInbox()
		var err error
		subs[i], err = w.Conn.SubscribeSync(inbox)
		w.NoError(err)
		all.Go(func() {
			msg := nats.NewMsg(w.Namespace.Request("alice", "ci"))
			msg.Data = []byte(`{"confirm":true}`) // so that the delivery stays open until all have asked
			msg.Header.Set(messages.HeaderReplyTo, inbox)
			msg.Header.Set(messages.HeaderIdempotencyKey, "job-7")
			if _, err := w.JS.PublishMsg(context.Background(), msg); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var confirm *nats.Msg
	for i, sub := range subs {
		answers[i], confirm = w.Answer(sub)
	}
	w.NoError(confirm.Respond(nil))
	for _, r := range answers {
		if r.Kind != messages.KindCredentials || r.Credentials.AccessKeyID != answers[0].Credentials.AccessKeyID ||
			r.Credentials.SecretAccessKey.Reveal() != answers[0].Credentials.SecretAccessKey.Reveal() {
			t.Fatalf("not the same key for all: %+v and %+v", r, answers[0])
		}
	}
	w.WaitQueuesEmpty()
	if n := w.Sim.UserCount(); n != 1 {
		t.Fatalf("%d users for one key", n)
	}

	late := w.Request("ci", `{"confirm":true}`, messages.HeaderIdempotencyKey, "job-7")
	w.WantError(late, messages.CodeAlreadyDelivered)
	if late.Lease == nil || late.Lease.Name != answers[0].Lease.Name {
		t.Fatalf("which lease was delivered is not said: %+v", late.Lease)
	}
	w.WantError(w.Request("ci", `{"ttl":"2h"}`, messages.HeaderIdempotencyKey, "job-7"), messages.CodeIdempotencyMismatch)
	other, _ := w.Answer(w.Publish(w.Namespace.Request("bob", "ci"), "{}", messages.HeaderIdempotencyKey, "job-7"))
	if other.Kind != messages.KindCredentials || other.Lease.Name == answers[0].Lease.Name {
		t.Fatalf("another identity's key is not its own: %+v", other)
	}
}

func TestARepeatAfterAPassingFailureBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{InternalError: 1})
	soon := func() string {
		return `{"deadline":"` + w.Clock.Now().Add(500*time.Millisecond).UTC().Format(time.RFC3339Nano) + `"}`
	}
	r := w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k") // before there is a record
	for try := 1; try < 10 && r.Error != nil && r.Error.Code == messages.CodeDeadlineExceeded; try++ {
		r = w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k") // it came again too late to be told why
	}
	w.WantError(r, messages.CodeProviderUnavailable)
	w.Sim.SetFaults(iamsim.Faults{})
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{}
		}
		return iamsim.Verdict{Do: iamsim.Fail, Status: 500, Code: "ServiceFailure"}
	})
	r = w.Request("ci", soon(), messages.HeaderIdempotencyKey, "k")
	w.WantError(r, messages.CodeDeadlineExceeded)
	w.Sim.SetHook(nil)
	w.Sim.SetFaults(iamsim.Faults{})
	w.Clock.Advance(3 * time.Minute) // what is left, if anything, is old enough to be gone
	r = w.Lease("ci", "{}", messages.HeaderIdempotencyKey, "k")
	w.WantActive(r)
}

func TestEveryRefusalOfAWSLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateUser", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "CreateAccessKey"} {
		t.Run(action, func(t *testing.T) {
			w := newWorld(t)
			w.Put(w.Broker(), lessortest.Secret)
			w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				if c.Action == action {
					return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: "not you"}
				}
				return iamsim.Verdict{}
			})
			r := w.Request("ci", "{}")
			w.WantError(r, messages.CodeProviderDenied)
			if !strings.Contains(r.Error.Message, action) || !strings.Contains(r.Error.Message, "AccessDenied") {
				t.Fatalf("the message does not say what was refused: %q", r.Error.Message)
			}
			if n := w.Sim.UserCount(); n != 0 {
				t.Fatalf("%d users are left", n)
			}
			w.WaitState(r.Lease.Name, messages.StateFailed)
			w.WaitEvents(r.Lease.Name, messages.EventFailed)
			w.WaitQueuesEmpty()
		})
	}
}

func TestAPassingFaultOfAWSIsWaitedOut(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]iamsim.Faults{
		"throttling":              {Rate: 50, Burst: 1},
		"errors":                  {InternalError: 0.3},
		"lost answers":            {DropAnswer: 0.3},
		"empty answers":           {EmptyBody: 0.3},
		"concurrent modification": {ConcurrentModification: 0.5},
		"users visible late":      {UserVisibleAfter: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Put(w.Broker(), lessortest.Secret)
			w.Sim.SetFaults(f)
			var answers []*nats.Subscription
			for range 10 {
				answers = append(answers, w.Publish(w.Namespace.Request("alice", "ci"), "{}"))
			}
			for _, a := range answers {
				r, _ := w.Answer(a)
				w.WantKind(r, messages.KindCredentials)
				w.Eventually("the key works", func() bool { return w.Works(r.Credentials) })
			}
			if n := w.Sim.UserCount(); n != 10 {
				t.Fatalf("%d users for 10 leases", n)
			}
			w.Clock.Advance(2 * time.Hour)
			w.Eventually("all leases are over", func() bool {
				w.Clock.Advance(time.Second)
				for _, r := range w.Records() {
					if !r.State.Ended() {
						return false
					}
				}
				return w.Sim.UserCount() == 0
			})
		})
	}
}

// luck is a source of randomness that gives zeros until it turns.
type luck struct{ turned atomic.Bool }

func (l *luck) Read(p []byte) (int, error) {
	if l.turned.Load() {
		return rand.Read(p)
	}
	clear(p)
	return len(p), nil
}

// firstName is the user name that a broker without luck makes first.
func firstName(t *testing.T) string {
	u, err := username.Parse(messages.DefaultUsernameTemplate)
	if err != nil {
		t.Fatal(err)
	}
	name, err := u.Render(username.Data{Identity: "alice", Secret: "ci", Rand: &luck{}, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAForeignUserIsNeverTouched(t *testing.T) {
	t.Parallel()
	for name, turns := range map[string]bool{"another name is found": true, "no other name": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			foreign := firstName(t)
			w.Sim.AddUser(foreign, "/lessor/", map[string]string{"owner": "somebody"})
			w.Sim.AddLoginProfile(foreign)
			before, _ := w.Sim.User(foreign)
			var source luck
			w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
				source.turned.Store(turns)
				return iamsim.Verdict{}
			})
			w.Put(w.Broker(func(c *consumer.Config) { c.Rand = &source }), lessortest.Secret)
			r := w.Request("ci", "{}")
			if turns {
				if r.Kind != messages.KindCredentials || r.Credentials.Username == foreign {
					t.Fatalf("%+v %v", r, r.Error)
				}
				w.Revoke(r)
			} else {
				w.WantError(r, messages.CodeUsernameTaken)
				w.WaitState(r.Lease.Name, messages.StateFailed)
			}
			w.WaitQueuesEmpty()
			after, _ := w.Sim.User(foreign)
			if a, b := mustJSON(before), mustJSON(after); a != b {
				t.Fatalf("the foreign user has changed:\n%s\n%s", a, b)
			}
			if n := w.Sim.UserCount(); n != 1 {
				t.Fatalf("%d users, not the foreign one alone", n)
			}
		})
	}
}

func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestSealedCredentialsAreForTheHolderAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	pair, err := nkeys.CreateCurveKeys()
	w.NoError(err)
	public, err := pair.PublicKey()
	w.NoError(err)
	seed, err := pair.Seed()
	w.NoError(err)
	sub := w.Publish(w.Namespace.Request("alice", "ci"), fmt.Sprintf(`{"xkey":%q}`, public))
	r, msg := w.Answer(sub)
	if r.Kind != messages.KindCredentials || r.Credentials != nil || r.Sealed == nil {
		t.Fatalf("not sealed: %+v", r)
	}
	for _, s := range w.Sim.IssuedSecrets() {
		if bytes.Contains(msg.Data, []byte(s)) {
			t.Fatal("the secret is in the message in clear")
		}
	}
	c, err := messages.OpenSealed(seed, r.Sealed)
	w.NoError(err)
	if c.Lease != r.Lease.Name || c.Identity != "alice" || !c.ExpiresAt.Equal(r.Lease.ExpiresAt) || !w.Works(&c.Credentials) {
		t.Fatalf("the box holds something else: %+v", c)
	}
}

func TestReadyWaitsForAWSToAcceptTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: 300 * time.Millisecond})
	if r := w.Lease("ci", `{"ready_within":"10s"}`); r.Ready == nil || !*r.Ready || !w.Works(r.Credentials) {
		t.Fatalf("not ready: %+v", r)
	}
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: time.Hour})
	if r := w.Lease("ci", `{"ready_within":"1s"}`); r.Ready == nil || *r.Ready {
		t.Fatalf("ready: %+v", r)
	}
	if r := w.Lease("ci", `{}`); r.Ready != nil {
		t.Fatalf("told without having been asked: %+v", r)
	}
}

// slowReady holds no worker: with one worker, a request that waits for AWS to
// accept its key does not keep another from being served.
func TestWaitingHoldsNoWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(func(c *consumer.Config) { c.Workers.Request = 1 }), lessortest.Secret)
	w.Sim.SetFaults(iamsim.Faults{VisibleAfter: time.Hour})
	waiting := w.Publish(w.Namespace.Request("alice", "ci"), `{"ready_within":"60s"}`)
	w.PublishReply(w.Conn.NewInbox(), w.Namespace.Request("alice", "ci"), `{}`) // nobody there
	w.Lease("ci", `{}`)
	w.Lease("ci", `{"confirm":true}`) // not confirmed
	w.Lease("ci", `{}`)
	if n, _, _ := waiting.Pending(); n != 0 {
		t.Fatal("the first was answered early: nothing was waited for")
	}
}
