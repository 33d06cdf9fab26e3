package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

const (
	patience = 15 * time.Second
	inbox    = "_INBOX.test"
	// The waits before a redelivery are so long that none comes during a test.
	retryMin, retryMax = time.Hour, 4 * time.Hour
	ackWait            = 300 * time.Millisecond
)

// fixture is one worker for requests, and what it has done.
type fixture struct {
	*natstest.Server
	t       *testing.T
	workers *queue.Workers
	acks    *nats.Subscription // what the worker publishes about its messages
	replies *nats.Subscription

	mu        sync.Mutex
	rejected  []messages.Code
	rejectErr error // of the event of a rejection
	handled   []string
}

func (f *fixture) Handled(_ messages.Verb, outcome string, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handled = append(f.handled, outcome)
}

func (f *fixture) Redelivered(messages.Verb) {}

func (f *fixture) Rejected(_ context.Context, _ *queue.Task, why *messages.Error, _ *messages.Lease) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected = append(f.rejected, why.Code)
	return f.rejectErr
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Server: natstest.Start(t, time.Now), t: t}
	var err error
	f.acks, err = f.Conn.SubscribeSync("$JS.ACK." + f.Namespace.Stream(messages.VerbRequest) + ".>")
	f.ok(err)
	f.replies, err = f.Conn.SubscribeSync(inbox)
	f.ok(err)
	return f
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// start starts the worker.
func (f *fixture) start(handle queue.Handler) {
	f.t.Helper()
	topology := &queue.Topology{JS: f.JS, Namespace: f.Namespace, EventAge: time.Hour, AckWait: ackWait}
	cons, err := topology.EnsureConsumer(f.t.Context(), messages.VerbRequest)
	f.ok(err)
	f.workers = queue.StartWorkers(queue.WorkersConfig{
		Namespace: f.Namespace, Topology: topology, Replier: queue.Replier{Conn: f.Conn}, Rejecter: f, Lifetime: f.Lifetime, Meter: f,
		Now: time.Now, Log: zerolog.Nop(), AckWait: ackWait, RetryMin: retryMin, RetryMax: retryMax, Heartbeat: time.Second,
	}, messages.VerbRequest, 1, cons, handle)
	f.t.Cleanup(func() { f.workers.Drain(); f.Lifetime.Abort(); f.workers.Wait() })
}

// publish publishes a request.
func (f *fixture) publish() {
	f.t.Helper()
	_, err := f.JS.Publish(f.t.Context(), f.Namespace.Request("alice", "ci"), []byte("{}"))
	f.ok(err)
}

// finish waits until the worker has carried out what its handler returned, and returns
// what it has published about its messages, without the signs of progress.
func (f *fixture) finish() (published []string) {
	f.t.Helper()
	f.workers.Drain()
	f.workers.Wait()
	f.Lifetime.Wait()
	f.ok(f.Conn.Flush())
	for n, _, _ := f.acks.Pending(); n > 0; n-- {
		m, err := f.acks.NextMsg(patience)
		f.ok(err)
		if string(m.Data) != "+WPI" {
			published = append(published, string(m.Data))
		}
	}
	return published
}

// nak is the negative acknowledgement with a delay.
func nak(delay time.Duration) string { return fmt.Sprintf("-NAK {\"delay\": %d}", delay.Nanoseconds()) }

// TestEachOutcomeSettlesItsMessageOnce has a handler return each outcome for one message.
func TestEachOutcomeSettlesItsMessageOnce(t *testing.T) {
	t.Parallel()
	refusal := messages.Errorf(messages.CodeSecretNotFound, "no such secret")
	for name, c := range map[string]struct {
		outcome   queue.Outcome
		rejectErr error
		published string // about the message; "" is nothing
		handled   string // as counted
		reply     string // its kind or the code of its error
		rejected  bool   // there is an event
	}{
		"Ack":               {outcome: queue.Ack(queue.LabelNothing), published: "+ACK", handled: queue.LabelNothing},
		"Answer":            {outcome: queue.Answer(queue.LabelRenewed, messages.Reply{Kind: messages.KindRenewed, Lease: &messages.Lease{}}), published: "+ACK", handled: queue.LabelRenewed, reply: messages.KindRenewed},
		"Retry":             {outcome: queue.Retry(errors.New("away")), published: nak(retryMin)},
		"Retry, conflict":   {outcome: queue.Retry(fmt.Errorf("save: %w", bucket.ErrConflict)), published: nak(retryMin / 4)},
		"RetryIn":           {outcome: queue.RetryIn(2 * time.Hour), published: nak(2 * time.Hour)},
		"Reject":            {outcome: queue.Reject(refusal, nil), published: "+ACK", handled: string(refusal.Code), reply: string(refusal.Code), rejected: true},
		"Reject, no event":  {outcome: queue.Reject(refusal, nil), rejectErr: errors.New("away"), published: nak(retryMin), rejected: true},
		"Reject, any error": {outcome: queue.Reject(errors.New("a cause"), nil), published: "+ACK", handled: string(messages.CodeInternal), reply: string(messages.CodeInternal), rejected: true},
		"NoAck":             {outcome: queue.NoAck()},
		"zero":              {},
	} {
		for _, detached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, detached %v", name, detached), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				f.rejectErr = c.rejectErr
				handling := make(chan struct{})
				f.start(func(_ context.Context, task *queue.Task) queue.Outcome {
					task.ReplyTo = inbox
					close(handling)
					if detached {
						return queue.Detach(func(context.Context) queue.Outcome { return c.outcome })
					}
					return c.outcome
				})
				f.publish()
				<-handling
				if got := strings.Join(f.finish(), ", "); got != c.published {
					t.Errorf("published %q, want %q", got, c.published)
				}
				if got := strings.Join(f.handled, ", "); got != c.handled {
					t.Errorf("counted %q, want %q", got, c.handled)
				}
				if got := len(f.rejected) == 1; got != c.rejected {
					t.Errorf("rejected %v", f.rejected)
				}
				if got := f.replied(); got != c.reply {
					t.Errorf("replied %q, want %q", got, c.reply)
				}
			})
		}
	}
}

// replied returns the kinds of the replies, or the codes of their errors.
func (f *fixture) replied() string {
	f.t.Helper()
	var all []string
	for n, _, _ := f.replies.Pending(); n > 0; n-- {
		m, err := f.replies.NextMsg(patience)
		f.ok(err)
		r, err := messages.DecodeReply(m.Data)
		f.ok(err)
		if r.Error != nil {
			all = append(all, string(r.Error.Code))
		} else {
			all = append(all, r.Kind)
		}
	}
	return strings.Join(all, ", ")
}

// TestDetachedTaskHoldsNoWorker handles a second message while the first is detached, and
// redelivers neither: both are in progress for longer than AckWait.
func TestDetachedTaskHoldsNoWorker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, second := make(chan struct{}), make(chan struct{})
	var deliveries []uint64
	f.start(func(_ context.Context, task *queue.Task) queue.Outcome {
		deliveries = append(deliveries, task.Deliveries)
		if task.Sequence == 2 {
			close(second)
			return queue.Ack("")
		}
		return queue.Detach(func(context.Context) queue.Outcome { <-first; return queue.Ack("") })
	})
	f.publish()
	f.publish()
	<-second
	progress := 0
	for progress < 5 { // at a third of AckWait each
		m, err := f.acks.NextMsg(patience)
		f.ok(err)
		if string(m.Data) == "+WPI" {
			progress++
		}
	}
	close(first)
	if got := f.finish(); !slices.Equal(got, []string{"+ACK"}) { // the second's came before
		t.Errorf("published %v", got)
	}
	if !slices.Equal(deliveries, []uint64{1, 1}) {
		t.Errorf("the deliveries are %v", deliveries)
	}
}

func TestMessageWithoutAckIsRedeliveredAfterAckWait(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	delivered := make(chan uint64, 2)
	f.start(func(_ context.Context, task *queue.Task) queue.Outcome {
		delivered <- task.Deliveries
		if task.Redelivered() {
			return queue.Ack("")
		}
		return queue.NoAck()
	})
	f.publish()
	for want := range uint64(2) {
		if got := <-delivered; got != want+1 {
			t.Errorf("delivery %d counts as %d", want+1, got)
		}
	}
	if got := f.finish(); !slices.Equal(got, []string{"+ACK"}) {
		t.Errorf("published %v", got)
	}
}

// TestRetryWaitDoublesWithEachDelivery gives a message back at once, so that it is
// delivered again and again, and looks at the wait that Retry would have had.
func TestRetryWaitDoublesWithEachDelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := []time.Duration{retryMin, 2 * retryMin, retryMax, retryMax}
	waits := make(chan time.Duration, len(want))
	f.start(func(_ context.Context, task *queue.Task) queue.Outcome {
		waits <- task.RetryWait
		if int(task.Deliveries) == len(want) {
			return queue.Ack("")
		}
		return queue.RetryIn(time.Millisecond)
	})
	f.publish()
	for i, want := range want {
		if got := <-waits; got != want {
			t.Errorf("delivery %d: %s, want %s", i+1, got, want)
		}
	}
}

// TestStopGivesTasksBack ends the lifetime while a task waits in each of the ways.
func TestStopGivesTasksBack(t *testing.T) {
	t.Parallel()
	wait := func(ctx context.Context) queue.Outcome {
		<-ctx.Done()
		return queue.Retry(ctx.Err())
	}
	for name, c := range map[string]struct {
		outcome   queue.Outcome
		end       func(*queue.Lifetime)
		published string
	}{
		"a stop interrupts DetachUntilStop":  {queue.DetachUntilStop(wait), (*queue.Lifetime).Stop, nak(retryMin)},
		"an abort leaves what is not done":   {queue.Detach(wait), (*queue.Lifetime).Abort, ""},
		"an abort leaves DetachUntilStop":    {queue.DetachUntilStop(wait), (*queue.Lifetime).Abort, ""},
		"a stop alone does not interrupt it": {queue.Detach(func(ctx context.Context) queue.Outcome { return queue.Ack(fmt.Sprint(ctx.Err())) }), (*queue.Lifetime).Stop, "+ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			handling := make(chan struct{})
			f.start(func(context.Context, *queue.Task) queue.Outcome { close(handling); return c.outcome })
			f.publish()
			<-handling
			f.workers.Drain()
			f.workers.Wait() // the task is detached
			c.end(f.Lifetime)
			if got := strings.Join(f.finish(), ", "); got != c.published {
				t.Errorf("published %q, want %q", got, c.published)
			}
		})
	}
}

func TestDrainFinishesTheTaskAndTakesNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handling, finish, handled := make(chan struct{}), make(chan struct{}), 0
	f.start(func(context.Context, *queue.Task) queue.Outcome {
		handled++
		close(handling)
		<-finish
		return queue.Ack("")
	})
	f.publish()
	<-handling
	f.workers.Drain()
	f.publish()
	close(finish)
	if got := f.finish(); handled != 1 || !slices.Equal(got, []string{"+ACK"}) {
		t.Errorf("handled %d messages, published %v", handled, got)
	}
	s, err := f.JS.Stream(t.Context(), f.Namespace.Stream(messages.VerbRequest))
	f.ok(err)
	if left := s.CachedInfo().State.Msgs; left != 1 {
		t.Errorf("%d messages are left, not the second alone", left)
	}
}

func TestTaskHasTheMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tasks := make(chan *queue.Task, 1)
	f.start(func(_ context.Context, task *queue.Task) queue.Outcome { tasks <- task; return queue.Ack("") })
	msg := nats.NewMsg(f.Namespace.Request("alice", "ci"))
	msg.Data = []byte(`{"ttl":"1h"}`)
	msg.Header.Set(messages.HeaderReplyTo, inbox)
	before := time.Now().Add(-time.Second)
	_, err := f.JS.PublishMsg(t.Context(), msg)
	f.ok(err)
	task := <-tasks
	data, _ := json.Marshal(task.Tokens)
	if task.Verb != messages.VerbRequest || string(data) != `["alice","ci"]` || string(task.Data) != `{"ttl":"1h"}` || task.Header.Get(messages.HeaderReplyTo) != inbox ||
		task.Sequence != 1 || task.Deliveries != 1 || task.Redelivered() || task.Stored.Before(before) || task.ID() != "request:1" {
		t.Errorf("the task is %+v", task)
	}
	if task.ReplyTo != "" {
		t.Error("a reply subject counts before the handler has checked it")
	}
}
