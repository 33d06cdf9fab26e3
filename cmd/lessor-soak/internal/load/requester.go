package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/retry"
)

// requester is one of many, with an identity of its own.
type requester struct {
	*Load
	identity string
	random   *rand.Rand
	nc       *nats.Conn
	asked    int
	secret   string // asked for last
}

// work asks for leases, one after another.
func (r *requester) work(ctx context.Context) {
	kinds := []func(context.Context){r.politely, r.politely, r.plainly, r.directly, r.directly, r.sealed, r.repeatedly, r.repeatedly, r.dying, r.tooMuch}
	for ctx.Err() == nil {
		kinds[r.random.IntN(len(kinds))](ctx)
		_ = retry.Sleep(ctx, time.Duration(r.random.IntN(400))*time.Millisecond) // the loop looks at ctx
	}
}

// what is asked for.
func (r *requester) request() (secret string, q messages.LeaseRequest) {
	secret = []string{world.Hard, world.Hard, world.Hard, world.Hard, world.Soft, world.Soft, world.Keyed, world.Keyed, world.Brief, world.Role}[r.random.IntN(10)]
	q.TTL = messages.Duration(time.Duration(r.least+r.random.IntN(r.spread)) * time.Second)
	q.Confirm = r.random.IntN(2) == 0
	if secret == world.Role {
		q.TTL, q.Confirm = 0, true
	}
	r.secret = secret
	if r.random.IntN(8) == 0 {
		q.ReadyWithin = messages.Duration(5 * time.Second)
	}
	r.asked++
	r.tally.Add("leases asked for", 1)
	return secret, q
}

// patient is a context for one exchange. That the storm ends does not end it.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// politely asks as the client library does: sealed, confirmed, and again where no
// answer comes.
func (r *requester) politely(ctx context.Context) {
	secret, q := r.request()
	var options []client.RequestOption
	if r.random.IntN(2) == 0 {
		options = append(options, client.Sealed())
	}
	c := r.client(r.nc, r.identity, patience)
	once, cancel := patient(ctx)
	defer cancel()
	issued, err := c.Request(once, secret, q, options...)
	if err != nil {
		if !r.failed(err) {
			r.again(secret, q, issued.IdempotencyKey)
		}
		return
	}
	r.tally.Told(r.identity+" "+issued.IdempotencyKey, issued.Credentials.AccessKeyID, issued.Lease.Name)
	r.use(ctx, issued.Lease, issued.Credentials, q.Confirm)
}

// failed counts a request that came to nothing, and says whether it was answered.
func (r *requester) failed(err error) bool {
	var told *messages.Error
	switch {
	case errors.As(err, &told):
		r.tally.Add("requests answered with "+string(told.Code), 1)
		switch told.Code {
		case messages.CodeDeadlineExceeded, messages.CodeProviderUnavailable, messages.CodeAbandoned, messages.CodeUnavailable,
			messages.CodeAlreadyDelivered, messages.CodeLeaseEnded:
		case messages.CodeSecretNotFound, messages.CodeSecretDeleting:
			if r.secret != world.Brief {
				r.tally.Violated(verdict.Wrong, fmt.Sprintf("%s %d", r.identity, r.asked), "%s is there, and the request was answered with %s", r.secret, err)
			}
		default:
			r.tally.Violated(verdict.Wrong, fmt.Sprintf("%s %d", r.identity, r.asked), "the request was answered with %s", err)
		}
		return true
	case errors.Is(err, nats.ErrNoResponders):
		r.tally.Lost("requests that NATS said nobody listens to")
		return true
	}
	r.tally.Lost("requests whose deadline passed without an answer, repeated at the end")
	return false
}

// again keeps a request that had no answer, to be repeated with its idempotency
// key: then it must have one, if only that the lease has been delivered or ended.
func (r *requester) again(secret string, q messages.LeaseRequest, key string) {
	r.later(func(ctx context.Context) {
		q.Deadline = time.Time{}
		issued, err := r.client(r.nc, r.identity, lastPatience).Request(ctx, secret, q, client.IdempotencyKey(key))
		switch {
		case err == nil:
			r.tally.Told(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
		case !isAnswer(err):
			r.tally.Violated(verdict.Unanswered, r.identity+" "+key, "%s", err)
		}
	})
}

// repeatedly asks several times with one idempotency key, from several
// connections: one key, one lease.
func (r *requester) repeatedly(ctx context.Context) {
	secret, q := r.request()
	key := fmt.Sprintf("%s-%d", r.identity, r.asked)
	var all sync.WaitGroup
	var mu sync.Mutex
	var first *client.Issued
	for i := range 2 + r.random.IntN(2) {
		pause := time.Duration(r.random.IntN(3000)) * time.Millisecond * time.Duration(i)
		all.Go(func() {
			time.Sleep(pause)
			once, cancel := patient(ctx)
			defer cancel()
			r.tally.Add("requests with a repeated idempotency key", 1)
			issued, err := r.client(r.conns[i%len(r.conns)], r.identity, patience).Request(once, secret, q, client.IdempotencyKey(key))
			if err != nil {
				if !r.failed(err) {
					r.again(secret, q, key)
				}
				return
			}
			r.tally.Told(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
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

// tooMuch asks for what is refused, and must be told so.
func (r *requester) tooMuch(ctx context.Context) {
	once, cancel := patient(ctx)
	defer cancel()
	r.secret = world.Hard
	_, err := r.client(r.nc, r.identity, patience).Request(once, world.Hard, messages.LeaseRequest{TTL: messages.Duration(time.Hour)})
	switch {
	case messages.IsCode(err, messages.CodeTTLExceedsMax):
		r.tally.Add("requests refused as they should be", 1)
	case err == nil:
		r.tally.Violated(verdict.Wrong, r.identity, "a ttl above the maximum was granted")
	default:
		r.failed(err)
	}
}
