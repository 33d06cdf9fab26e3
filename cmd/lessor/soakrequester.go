package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// soakRequester is one of many, with an identity of its own.
type soakRequester struct {
	*soakLoad
	identity string
	random   *rand.Rand
	nc       *nats.Conn
	asked    int
	secret   string // asked for last
}

// work asks for leases, one after another.
func (r *soakRequester) work(ctx context.Context) {
	kinds := []func(context.Context){r.politely, r.politely, r.plainly, r.directly, r.directly, r.sealed, r.repeatedly, r.repeatedly, r.dying, r.tooMuch}
	for ctx.Err() == nil {
		kinds[r.random.IntN(len(kinds))](ctx)
		soakSleep(ctx, time.Duration(r.random.IntN(400))*time.Millisecond)
	}
}

// what is asked for.
func (r *soakRequester) request() (secret string, q messages.LeaseRequest) {
	secret = []string{soakHard, soakHard, soakHard, soakHard, soakSoft, soakSoft, soakKeyed, soakKeyed, soakBrief, soakRole}[r.random.IntN(10)]
	q.TTL = messages.Duration(time.Duration(r.least+r.random.IntN(r.spread)) * time.Second)
	q.Confirm = r.random.IntN(2) == 0
	if secret == soakRole {
		q.TTL, q.Confirm = 0, true
	}
	r.secret = secret
	if r.random.IntN(8) == 0 {
		q.ReadyWithin = messages.Duration(5 * time.Second)
	}
	r.asked++
	r.tally.add("leases asked for", 1)
	return secret, q
}

// patient is a context for one exchange. That the storm ends does not end it.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), soakPatience)
}

// politely asks as the client library does: sealed, confirmed, and again where no
// answer comes.
func (r *soakRequester) politely(ctx context.Context) {
	secret, q := r.request()
	var options []client.RequestOption
	if r.random.IntN(2) == 0 {
		options = append(options, client.Sealed())
	}
	c := r.client(r.nc, r.identity, soakPatience)
	once, cancel := patient(ctx)
	defer cancel()
	issued, err := c.Request(once, secret, q, options...)
	if err != nil {
		if !r.failed(err) {
			r.again(secret, q, issued.IdempotencyKey)
		}
		return
	}
	r.tally.told(r.identity+" "+issued.IdempotencyKey, issued.Credentials.AccessKeyID, issued.Lease.Name)
	r.use(ctx, issued.Lease, issued.Credentials, q.Confirm)
}

// failed counts a request that came to nothing, and says whether it was answered.
func (r *soakRequester) failed(err error) bool {
	var told *messages.Error
	switch {
	case errors.As(err, &told):
		r.tally.add("requests answered with "+string(told.Code), 1)
		switch told.Code {
		case messages.CodeDeadlineExceeded, messages.CodeProviderUnavailable, messages.CodeAbandoned, messages.CodeUnavailable,
			messages.CodeAlreadyDelivered, messages.CodeLeaseEnded:
		case messages.CodeSecretNotFound, messages.CodeSecretDeleting:
			if r.secret != soakBrief {
				r.tally.violated("wrong", fmt.Sprintf("%s %d", r.identity, r.asked), "%s is there, and the request was answered with %s", r.secret, err)
			}
		default:
			r.tally.violated("wrong", fmt.Sprintf("%s %d", r.identity, r.asked), "the request was answered with %s", err)
		}
		return true
	case errors.Is(err, nats.ErrNoResponders):
		r.tally.lost("requests that NATS said nobody listens to")
		return true
	}
	r.tally.lost("requests whose deadline passed without an answer, repeated at the end")
	return false
}

// again keeps a request that had no answer, to be repeated with its idempotency
// key: then it must have one, if only that the lease has been delivered or ended.
func (r *soakRequester) again(secret string, q messages.LeaseRequest, key string) {
	r.later(func(ctx context.Context) {
		q.Deadline = time.Time{}
		issued, err := r.client(r.nc, r.identity, lastPatience).Request(ctx, secret, q, client.IdempotencyKey(key))
		switch {
		case err == nil:
			r.tally.told(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
		case !isAnswer(err):
			r.tally.violated("unanswered", r.identity+" "+key, "%s", err)
		}
	})
}

// plainly asks once, by hand, as the nats command does. What is lost is not asked
// for again.
func (r *soakRequester) plainly(ctx context.Context) {
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
func (r *soakRequester) sealed(ctx context.Context) {
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
		r.tally.violated("wrong", reply.Lease.Name, "it came in clear, and was asked for sealed")
		return
	}
	contents, err := messages.OpenSealed(seed, reply.Sealed)
	if err != nil {
		r.tally.violated("wrong", reply.Lease.Name, "its seal does not open: %s", err)
		return
	}
	_ = m.Respond(nil) // lost, the lease is taken back
	r.use(ctx, *reply.Lease, contents.Credentials, true)
}

func (r *soakRequester) failedByHand(reply messages.Reply) {
	if reply.Error == nil {
		r.tally.violated("wrong", r.identity, "the request was answered with %q", reply.Kind)
		return
	}
	r.failed(reply.Error)
}

// byHand sends one request and waits for one reply.
func (r *soakRequester) byHand(ctx context.Context, nc *nats.Conn, secret string, q messages.LeaseRequest) (messages.Reply, *nats.Msg, bool) {
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // plain values
	}
	once, cancel := patient(ctx)
	defer cancel()
	m, err := nc.RequestWithContext(once, messages.Namespace{}.API("request", r.identity, secret), body)
	if err != nil {
		r.tally.lost("requests by hand without an answer, never repeated")
		return messages.Reply{}, nil, false
	}
	reply, err := messages.DecodeReply(m.Data)
	if err != nil {
		r.tally.violated("wrong", r.identity, "an answer that can't be read: %s", err)
		return messages.Reply{}, nil, false
	}
	return reply, m, true
}

// directly puts a request on the stream, as a program in the broker's account does.
// Once it is stored an answer is owed, whoever dies.
func (r *soakRequester) directly(ctx context.Context) {
	_, q := r.request()
	r.secret = soakHard
	q.TTL = messages.Duration(time.Duration(r.least+r.random.IntN(r.spread)) * time.Second)
	label := fmt.Sprintf("%s-%d", r.identity, r.asked)
	q.Labels = map[string]string{soakLabel: label}
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // plain values
	}
	inbox := r.nc.NewInbox()
	answers, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return
	}
	msg := nats.NewMsg(messages.Namespace{}.Request(r.identity, soakHard))
	msg.Data = body
	msg.Header.Set(messages.HeaderReplyTo, inbox)
	once, cancel := patient(ctx)
	defer cancel()
	if _, err := r.w.js.PublishMsg(once, msg); err != nil {
		r.tally.lost("requests that NATS did not say it stored")
		_ = answers.Unsubscribe() // whatever comes
		return
	}
	r.tally.owed(label)
	if m, err := answers.NextMsgWithContext(once); err == nil {
		r.answered(ctx, label, m)
		return
	}
	r.later(func(ctx context.Context) {
		once, cancel := patient(ctx)
		defer cancel()
		if _, err := answers.NextMsgWithContext(once); err == nil {
			r.tally.paid(label)
		}
	})
}

// answered takes the answer to a direct request.
func (r *soakRequester) answered(ctx context.Context, label string, m *nats.Msg) {
	r.tally.paid(label)
	reply, err := messages.DecodeReply(m.Data)
	switch {
	case err != nil:
		r.tally.violated("wrong", label, "an answer that can't be read: %s", err)
	case reply.Kind != messages.KindCredentials || reply.Credentials == nil:
		r.failedByHand(reply)
	default:
		if m.Reply != "" {
			_ = m.Respond(nil) // lost, the lease may be taken back
		}
		r.use(ctx, *reply.Lease, *reply.Credentials, true)
	}
}

// repeatedly asks several times with one idempotency key, from several
// connections: one key, one lease.
func (r *soakRequester) repeatedly(ctx context.Context) {
	secret, q := r.request()
	key := fmt.Sprintf("%s-%d", r.identity, r.asked)
	var all sync.WaitGroup
	var mu sync.Mutex
	var first *client.Issued
	for i := range 2 + r.random.IntN(2) {
		pause := time.Duration(r.random.IntN(3000)) * time.Millisecond * time.Duration(i)
		all.Go(func() {
			soakSleep(context.WithoutCancel(ctx), pause)
			once, cancel := patient(ctx)
			defer cancel()
			r.tally.add("requests with a repeated idempotency key", 1)
			issued, err := r.client(r.conns[i%len(r.conns)], r.identity, soakPatience).Request(once, secret, q, client.IdempotencyKey(key))
			if err != nil {
				if !r.failed(err) {
					r.again(secret, q, key)
				}
				return
			}
			r.tally.told(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = &issued
			}
		})
	}
	all.Wait()
	if first != nil {
		r.use(ctx, first.Lease, first.Credentials, q.Confirm)
	}
}

// dying asks and goes away before the answer, or with it in hand.
func (r *soakRequester) dying(ctx context.Context) {
	nc, err := r.w.connect("a requester that dies")
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
	soakSleep(ctx, time.Duration(r.random.IntN(1200))*time.Millisecond)
	r.tally.lost("requesters that died after asking")
}

// tooMuch asks for what is refused, and must be told so.
func (r *soakRequester) tooMuch(ctx context.Context) {
	once, cancel := patient(ctx)
	defer cancel()
	r.secret = soakHard
	_, err := r.client(r.nc, r.identity, soakPatience).Request(once, soakHard, messages.LeaseRequest{TTL: messages.Duration(time.Hour)})
	switch {
	case messages.IsCode(err, messages.CodeTTLExceedsMax):
		r.tally.add("requests refused as they should be", 1)
	case err == nil:
		r.tally.violated("wrong", r.identity, "a ttl above the maximum was granted")
	default:
		r.failed(err)
	}
}
