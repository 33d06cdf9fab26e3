package load

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/retry"
)

// plainly asks once, by hand, as the nats command does. What is lost is not asked
// for again.
func (r *requester) plainly(ctx context.Context) {
	secret, q := r.request()
	if reply, m, ok := r.byHand(ctx, r.nc, secret, q); ok {
		if q.Confirm {
			_ = m.Respond(nil) // lost, the lease is taken back
		}
		if reply.Kind != messages.KindCredentials || reply.Credentials == nil {
			r.failedByHand(reply)
			return
		}
		r.use(ctx, *reply.Lease, *reply.Credentials, q.Confirm)
	}
}

// sealed asks by hand, with an xkey.
func (r *requester) sealed(ctx context.Context) {
	secret, q := r.request()
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		panic(err) // there is no randomness
	}
	defer pair.Wipe()
	q.XKey, _ = pair.PublicKey()
	seed, _ := pair.Seed()
	q.Confirm = true
	reply, m, ok := r.byHand(ctx, r.nc, secret, q)
	if !ok {
		return
	}
	if reply.Kind != messages.KindCredentials {
		r.failedByHand(reply)
		return
	}
	if reply.Sealed == nil || reply.Credentials != nil {
		r.tally.Violated(verdict.Wrong, reply.Lease.Name, "it came in clear, and was asked for sealed")
		return
	}
	contents, err := messages.OpenSealed(seed, reply.Sealed)
	if err != nil {
		r.tally.Violated(verdict.Wrong, reply.Lease.Name, "its seal does not open: %s", err)
		return
	}
	_ = m.Respond(nil) // lost, the lease is taken back
	r.use(ctx, *reply.Lease, contents.Credentials, true)
}

func (r *requester) failedByHand(reply messages.Reply) {
	if reply.Error == nil {
		r.tally.Violated(verdict.Wrong, r.identity, "the request was answered with %q", reply.Kind)
		return
	}
	r.failed(reply.Error)
}

// byHand sends one request and waits for one reply.
func (r *requester) byHand(ctx context.Context, nc *nats.Conn, secret string, q messages.LeaseRequest) (messages.Reply, *nats.Msg, bool) {
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // plain values
	}
	once, cancel := patient(ctx)
	defer cancel()
	m, err := nc.RequestWithContext(once, messages.Namespace{}.API("request", r.identity, secret), body)
	if err != nil {
		r.tally.Lost("requests by hand without an answer, never repeated")
		return messages.Reply{}, nil, false
	}
	reply, err := messages.DecodeReply(m.Data)
	if err != nil {
		r.tally.Violated(verdict.Wrong, r.identity, "an answer that can't be read: %s", err)
		return messages.Reply{}, nil, false
	}
	return reply, m, true
}

// directly puts a request on the stream, as a program in the broker's account does.
// Once it is stored an answer is owed, whoever dies.
func (r *requester) directly(ctx context.Context) {
	_, q := r.request()
	r.secret = world.Hard
	q.TTL = messages.Duration(time.Duration(r.least+r.random.IntN(r.spread)) * time.Second)
	label := fmt.Sprintf("%s-%d", r.identity, r.asked)
	q.Labels = map[string]string{world.RequestLabel: label}
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // plain values
	}
	inbox := r.nc.NewInbox()
	answers, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return
	}
	msg := nats.NewMsg(messages.Namespace{}.Request(r.identity, world.Hard))
	msg.Data = body
	msg.Header.Set(messages.HeaderReplyTo, inbox)
	once, cancel := patient(ctx)
	defer cancel()
	if _, err := r.w.JS.PublishMsg(once, msg); err != nil {
		r.tally.Lost("requests that NATS did not say it stored")
		_ = answers.Unsubscribe() // whatever comes
		return
	}
	r.tally.Owed(label)
	if m, err := answers.NextMsgWithContext(once); err == nil {
		r.answered(ctx, label, m)
		return
	}
	r.later(func(ctx context.Context) {
		once, cancel := patient(ctx)
		defer cancel()
		if _, err := answers.NextMsgWithContext(once); err == nil {
			r.tally.Paid(label)
		}
	})
}

// answered takes the answer to a direct request.
func (r *requester) answered(ctx context.Context, label string, m *nats.Msg) {
	r.tally.Paid(label)
	reply, err := messages.DecodeReply(m.Data)
	switch {
	case err != nil:
		r.tally.Violated(verdict.Wrong, label, "an answer that can't be read: %s", err)
	case reply.Kind != messages.KindCredentials || reply.Credentials == nil:
		r.failedByHand(reply)
	default:
		if m.Reply != "" {
			_ = m.Respond(nil) // lost, the lease may be taken back
		}
		r.use(ctx, *reply.Lease, *reply.Credentials, true)
	}
}

// dying asks and goes away before the answer, or with it in hand.
func (r *requester) dying(ctx context.Context) {
	nc, err := r.w.Connect("a requester that dies")
	if err != nil {
		return
	}
	defer nc.Close()
	secret, q := r.request()
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // plain values
	}
	inbox := nc.NewInbox()
	if _, err := nc.SubscribeSync(inbox); err != nil {
		return
	}
	_ = nc.PublishRequest(messages.Namespace{}.API("request", r.identity, secret), inbox, body) // or it dies before
	_ = retry.Sleep(ctx, time.Duration(r.random.IntN(1200))*time.Millisecond)                   // it dies then, or with the load
	r.tally.Lost("requesters that died after asking")
}
