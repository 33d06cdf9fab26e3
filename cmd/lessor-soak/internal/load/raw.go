package load

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/retry"
)

// requestByHand requests a lease without the client library, as the nats command does. A
// request without an answer is not repeated.
func (r *requester) requestByHand(ctx context.Context) {
	secret, q := r.newRequest()
	reply, m, ok := r.sendRequest(ctx, secret, q)
	if !ok {
		return
	}
	if q.Confirm {
		_ = m.Respond(nil) // without it, the broker revokes the lease
	}
	if reply.Kind != messages.KindCredentials || reply.Credentials == nil {
		r.countReply(reply)
		return
	}
	r.use(ctx, *reply.Lease, *reply.Credentials)
}

// requestSealed requests a lease without the client library, with an xkey.
func (r *requester) requestSealed(ctx context.Context) {
	secret, q := r.newRequest()
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		panic(err) // the system has no random numbers
	}
	defer pair.Wipe()
	q.XKey, _ = pair.PublicKey()
	seed, _ := pair.Seed()
	q.Confirm = true
	reply, m, ok := r.sendRequest(ctx, secret, q)
	if !ok {
		return
	}
	if reply.Kind != messages.KindCredentials {
		r.countReply(reply)
		return
	}
	if reply.Sealed == nil || reply.Credentials != nil {
		r.tally.Violated(verdict.WrongAnswer, reply.Lease.Name, "the credentials are not sealed")
		return
	}
	contents, err := messages.OpenSealed(seed, reply.Sealed)
	if err != nil {
		r.tally.Violated(verdict.WrongAnswer, reply.Lease.Name, "the sealed credentials can't be opened: %s", err)
		return
	}
	_ = m.Respond(nil) // without it, the broker revokes the lease
	r.use(ctx, *reply.Lease, contents.Credentials)
}

// countReply counts a reply without credentials.
func (r *requester) countReply(reply messages.Reply) {
	if reply.Error == nil {
		r.tally.Violated(verdict.WrongAnswer, r.identity, "the request was answered with %q", reply.Kind)
		return
	}
	r.countError(reply.Error)
}

// sendRequest sends an API request once and waits for the reply. It returns false if there
// is none.
func (r *requester) sendRequest(ctx context.Context, secret string, q messages.LeaseRequest) (messages.Reply, *nats.Msg, bool) {
	once, cancel := withPatience(ctx)
	defer cancel()
	m, err := r.nc.RequestWithContext(once, messages.Namespace{}.API("request", r.identity, secret), encode(q))
	if err != nil {
		r.tally.Excuse("requests by hand without an answer, never repeated")
		return messages.Reply{}, nil, false
	}
	reply, err := messages.DecodeReply(m.Data)
	if err != nil {
		r.tally.Violated(verdict.WrongAnswer, r.identity, "the reply can't be decoded: %s", err)
		return messages.Reply{}, nil, false
	}
	return reply, m, true
}

// encode returns a request as JSON.
func encode(q messages.LeaseRequest) []byte {
	body, err := json.Marshal(q)
	if err != nil {
		panic(err) // a request can always be encoded
	}
	return body
}

// requestOnStream publishes a request to the stream, as a program in the broker's account
// can. When it is stored it must be answered, whatever is killed.
func (r *requester) requestOnStream(ctx context.Context) {
	_, q := r.newRequest()
	r.secret = world.Hard
	q.TTL = r.randomTTL()
	label := r.requestID()
	q.Labels = map[string]string{world.RequestLabel: label}
	inbox := r.nc.NewInbox()
	replies, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return
	}
	msg := nats.NewMsg(messages.Namespace{}.Request(r.identity, world.Hard))
	msg.Data = encode(q)
	msg.Header.Set(messages.HeaderReplyTo, inbox)
	once, cancel := withPatience(ctx)
	defer cancel()
	if _, err := r.w.JS.PublishMsg(once, msg); err != nil {
		r.tally.Excuse("requests on the stream without an acknowledgement")
		_ = replies.Unsubscribe() // an answer is ignored
		return
	}
	r.tally.RequestStored(label)
	if m, err := replies.NextMsgWithContext(once); err == nil {
		r.receiveReply(ctx, label, m)
		return
	}
	r.repeatAtEnd(func(ctx context.Context) {
		once, cancel := withPatience(ctx)
		defer cancel()
		if _, err := replies.NextMsgWithContext(once); err == nil {
			r.tally.RequestAnswered(label)
		}
	})
}

// receiveReply processes the reply to a request on the stream.
func (r *requester) receiveReply(ctx context.Context, label string, m *nats.Msg) {
	r.tally.RequestAnswered(label)
	reply, err := messages.DecodeReply(m.Data)
	switch {
	case err != nil:
		r.tally.Violated(verdict.WrongAnswer, label, "the reply can't be decoded: %s", err)
	case reply.Kind != messages.KindCredentials || reply.Credentials == nil:
		r.countReply(reply)
	default:
		if m.Reply != "" {
			_ = m.Respond(nil) // without it, the broker revokes the lease
		}
		r.use(ctx, *reply.Lease, *reply.Credentials)
	}
}

// requestAndDie requests a lease and disconnects, before or after the answer.
func (r *requester) requestAndDie(ctx context.Context) {
	nc, err := r.w.Connect("a requester that dies")
	if err != nil {
		return
	}
	defer nc.Close()
	secret, q := r.newRequest()
	inbox := nc.NewInbox()
	if _, err := nc.SubscribeSync(inbox); err != nil {
		return
	}
	_ = nc.PublishRequest(messages.Namespace{}.API("request", r.identity, secret), inbox, encode(q)) // a lost request is right, too
	_ = retry.Sleep(ctx, time.Duration(r.random.IntN(1200))*time.Millisecond)                        // or until the test ends
	r.tally.Excuse("requesters that died after their request")
}
