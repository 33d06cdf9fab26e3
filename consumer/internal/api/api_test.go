package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// inbox is where the requests of [world.send] want their answers.
const inbox = "_INBOX.of.the.test"

// fakes are what the API asks.
type fakes struct {
	full   error // what limits say
	spent  bool
	known  bool
	health error
}

func (f *fakes) WouldRefuse(messages.DynamicSecret, messages.LeaseName) error { return f.full }
func (f *fakes) Spent() bool                                                  { return f.spent }
func (f *fakes) Err() error                                                   { return f.health }

// commands hands what is published to the test, which returns what comes of it.
type commands struct {
	published chan *nats.Msg
	result    chan error
}

func (c *commands) Publish(_ context.Context, _ messages.Verb, msg *nats.Msg) error {
	c.published <- msg
	return <-c.result
}

func (c *commands) PublishWhenFree(ctx context.Context, v messages.Verb, msg *nats.Msg) error {
	return c.Publish(ctx, v, msg)
}

// meter passes the outcomes on.
type meter chan string

func (m meter) Handled(verb messages.Verb, outcome string, _ time.Duration) {
	m <- string(verb) + " " + outcome
}

// world is an API and what it works with.
type world struct {
	*natstest.Server
	t        *testing.T
	fakes    *fakes
	commands *commands
	meter    meter
	api      *Service
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Server: natstest.Start(t, time.Now), t: t, fakes: &fakes{}, meter: make(meter, 1000),
		commands: &commands{published: make(chan *nats.Msg), result: make(chan error, 1000)},
	}
	var err error
	w.api, err = Open(Config{
		Conn: w.Conn, Leases: w.Leases, Outbox: w.commands, Events: w.Events, Limits: w.fakes, Reserve: w.fakes, Health: w.fakes,
		Secret: func(context.Context, string) (messages.DynamicSecret, error) {
			return messages.DynamicSecret{Name: "ci"}, nil
		},
		CheckRequester: func(identity string) error { return messages.CheckToken("identity", identity) },
		Known:          func(messages.LeaseName) bool { return w.fakes.known },
		Lifetime:       w.Lifetime, Now: time.Now, Log: zerolog.Nop(), Meter: w.meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// send publishes a request and does not wait for an answer.
func (w *world) send(subject, body string, header ...string) {
	w.t.Helper()
	msg := nats.NewMsg(subject)
	msg.Reply, msg.Data = inbox, []byte(body)
	for i := 0; i < len(header); i += 2 {
		msg.Header.Set(header[i], header[i+1])
	}
	if err := w.Conn.PublishMsg(msg); err != nil {
		w.t.Fatal(err)
	}
}

// refused makes a request, which must be refused.
func (w *world) refused(code messages.Code, subject, body string, header ...string) *messages.Error {
	w.t.Helper()
	r := w.Request(w.t, subject, body, header...)
	if r.Kind != messages.KindError || r.Error.Code != code {
		w.t.Fatalf("%s: %+v %v, want %s", subject, r, r.Error, code)
	}
	if got, want := <-w.meter, strings.Split(subject, ".")[2]+" "+string(code); got != want {
		w.t.Errorf("counted %q, want %q", got, want)
	}
	return r.Error
}

// issue writes a record of alice's.
func (w *world) issue(id string) {
	w.t.Helper()
	plan := record.Plan{Name: messages.LeaseName{Identity: "alice", Secret: "ci", ID: id}, TTL: messages.Duration(time.Hour)}
	if _, err := w.Leases.Save(w.t.Context(), record.New(plan, time.Now(), record.Timing{}.WithDefaults()), 0); err != nil {
		w.t.Fatal(err)
	}
}

func TestRequestIsForwardedWithKnownHeadersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue("1")
	answers, err := w.Conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"lessor.api.request.alice.ci":  "lessor.request.alice.ci",
		"lessor.api.renew.alice.ci.1":  "lessor.renew.alice.ci.1",
		"lessor.api.revoke.alice.ci.1": "lessor.revoke.alice.ci.1",
	} {
		w.send(subject, `{}`, messages.HeaderIdempotencyKey, "k", messages.HeaderTrace, "00-trace", messages.HeaderReason, "operator", "Nats-Msg-Id", "x")
		w.commands.result <- nil
		msg := <-w.commands.published
		h := msg.Header
		if msg.Subject != want || string(msg.Data) != `{}` || h.Get(messages.HeaderReplyTo) != inbox || h.Get(messages.HeaderTrace) != "00-trace" {
			t.Errorf("%s: %s %q %v", subject, msg.Subject, msg.Data, h)
		}
		request := strings.HasPrefix(want, "lessor.request.")
		if (h.Get(messages.HeaderIdempotencyKey) == "k") != request || (h.Get(messages.HeaderDeadline) != "") != request || h.Get(messages.HeaderReason) != "" || h.Get("Nats-Msg-Id") != "" {
			t.Errorf("%s: %v", subject, h)
		}
	}
	w.api.Stop()
	w.api.Wait()
	if n, _, err := answers.Pending(); n != 0 || err != nil {
		t.Errorf("%d answers, %v: the worker answers", n, err)
	}
}

func TestRefusalIsAnsweredCountedAndEmitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue("1")
	cases := []struct {
		subject, body string
		code          messages.Code
	}{
		{"lessor.api.request.alice.ci", `{"x":1}`, messages.CodeInvalidRequest},
		{"lessor.api.request.Alice.ci", "", messages.CodeInvalidSubject},
		{"lessor.api.request.alice.CI", "", messages.CodeInvalidSubject},
		{"lessor.api.renew.alice.ci.none", "", messages.CodeLeaseNotFound},
		{"lessor.api.renew.alice.ci.1", `{"ttl":7}`, messages.CodeInvalidRequest},
		{"lessor.api.revoke.bob.ci.1", "", messages.CodeLeaseNotFound},
		{"lessor.api.get.alice.ci.none", "", messages.CodeLeaseNotFound},
		{"lessor.api.get.alice.ci.1", `{"a":1}`, messages.CodeInvalidRequest},
		{"lessor.api.list.alice", `{"limit":9999}`, messages.CodeInvalidRequest},
	}
	for _, c := range cases {
		w.refused(c.code, c.subject, c.body)
	}
	e := w.Emitted(t, messages.EventRejected)
	if len(e) != len(cases) || e[1].Subject != "~.ci.door" || e[3].Subject != "alice.ci.none" || e[3].Data.Verb != messages.VerbRenew || e[3].Data.Error.Code != messages.CodeLeaseNotFound {
		t.Fatalf("%+v", e)
	}
}

func TestReadingIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issue("1")
	w.issue("2")
	if r := w.Request(t, "lessor.api.get.alice.ci.2", ""); r.Kind != messages.KindLease || r.Lease.ID != "2" {
		t.Errorf("%+v", r)
	}
	if r := w.Request(t, "lessor.api.list.alice", `{"limit":1}`); r.Kind != messages.KindLeases || len(r.Leases) != 1 || r.Next != "alice.ci.1" {
		t.Errorf("%+v", r)
	}
	if r := w.Request(t, "lessor.api.list.bob", ""); r.Kind != messages.KindLeases || len(r.Leases) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestRequestBeyondALimitIsRefusedUnlessItIsARepeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fakes.full = messages.Errorf(messages.CodeLimitExceeded, "full").After(time.Minute)
	if e := w.refused(messages.CodeLimitExceeded, "lessor.api.request.alice.ci", "", messages.HeaderIdempotencyKey, "new"); e.RetryAfter.Std() != time.Minute {
		t.Errorf("%+v", e)
	}
	w.issue(record.LeaseID("alice", "ci", "old", 0, time.Time{}))
	w.send("lessor.api.request.alice.ci", "", messages.HeaderIdempotencyKey, "old")
	w.commands.result <- nil
	<-w.commands.published
	w.fakes.full = errors.New("the count is not known yet")
	w.send("lessor.api.request.alice.ci", "")
	w.commands.result <- nil
	<-w.commands.published
}

// An event would need the room that is not there.
func TestThereIsNoEventOfARefusalForLackOfRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fakes.spent = true
	w.refused(messages.CodeUnavailable, "lessor.api.request.alice.ci", "")
	if e := w.Emitted(t, messages.EventRejected); len(e) != 0 {
		t.Fatalf("%+v", e)
	}
}

func TestRequestThatFindsItsStreamFullMayBeRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commands.result <- &jetstream.APIError{ErrorCode: 10077, Description: "maximum messages per subject exceeded"}
	go func() { <-w.commands.published }()
	e := w.refused(messages.CodeUnavailable, "lessor.api.request.alice.ci", "")
	if !e.Retryable || e.RetryAfter.Std() != pendingWait || !strings.Contains(e.Message, "4096 requests of alice for ci") {
		t.Errorf("%+v", e)
	}
}

// While NATS is known to fail, a command about a known lease gets the error of the
// bucket at once.
func TestKnownLeaseIsNotLookedUpUnlessNATSFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fakes.known = true
	w.send("lessor.api.renew.alice.ci.none", "")
	w.commands.result <- nil
	<-w.commands.published
	w.fakes.health = errors.New("no leader")
	w.refused(messages.CodeLeaseNotFound, "lessor.api.renew.alice.ci.none", "")
}

func TestIdentityThatFloodsKeepsNoOtherOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range maxRequestsIdentity {
		w.send("lessor.api.request.alice.ci", "")
	}
	r := w.Request(t, "lessor.api.request.alice.ci", "")
	if r.Error == nil || r.Error.Code != messages.CodeUnavailable || r.Error.RetryAfter == 0 {
		t.Errorf("%+v", r)
	}
	if len(w.meter) != 0 || len(w.Emitted(t, messages.EventRejected)) != 0 {
		t.Error("the refusal is counted or emitted one by one")
	}
	if r := w.Request(t, "lessor.api.list.bob", ""); r.Kind != messages.KindLeases {
		t.Errorf("bob: %+v", r)
	}
	w.Events.EmitOmitted(t.Context(), true)
	if e := w.Emitted(t, messages.EventRejected); len(e) != 1 || e[0].Data.Omitted != 1 {
		t.Errorf("%+v", e)
	}
	for range maxRequestsIdentity {
		w.commands.result <- nil
		<-w.commands.published
	}
}

func TestStopWaitsForRequestsAndRefusesLaterOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("lessor.api.request.alice.ci", "")
	msg := <-w.commands.published
	stopped := make(chan struct{})
	go func() { w.api.Wait(); close(stopped) }()
	for { // until Wait has begun, requests are served
		if r := w.Request(t, "lessor.api.list.alice", ""); r.Kind == messages.KindError {
			if r.Error.Code != messages.CodeUnavailable {
				t.Errorf("%+v", r.Error)
			}
			break
		}
	}
	select {
	case <-stopped:
		t.Fatalf("stopped while %s is handled", msg.Subject)
	default:
	}
	w.commands.result <- nil
	<-stopped
	w.api.Stop()
}

func TestErrorOfNATSIsWorthARetry(t *testing.T) {
	t.Parallel()
	own := messages.Errorf(messages.CodeLeaseEnded, "it has ended").Because(nats.ErrTimeout)
	for err, want := range map[error]messages.Code{
		own: messages.CodeLeaseEnded,
		fmt.Errorf("x: %w", nats.ErrDisconnected): messages.CodeUnavailable,
		context.Canceled:             messages.CodeUnavailable,
		errors.New("something else"): messages.CodeInternal,
	} {
		if e := publicError(err); e.Code != want || e.Code != messages.CodeLeaseEnded && !errors.Is(e, err) {
			t.Errorf("%v: %v", err, e)
		}
	}
}

func TestAdmissionIsSharedAndGivenBack(t *testing.T) {
	t.Parallel()
	var a admission
	for i := range maxRequests {
		if e := a.enter(fmt.Sprint(i / maxRequestsIdentity)); e != nil {
			t.Fatalf("%d: %v", i, e)
		}
	}
	if e := a.enter("0"); e != errIdentityFull {
		t.Errorf("%v", e)
	}
	if e := a.enter("another"); e != errFull {
		t.Errorf("%v", e)
	}
	for i := range maxRequests {
		a.leave(fmt.Sprint(i / maxRequestsIdentity))
	}
	if a.all != 0 || len(a.identities) != 0 {
		t.Errorf("left are %d of %v", a.all, a.identities)
	}
}
