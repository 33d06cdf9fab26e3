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

// requester is one requester, with an identity of its own.
type requester struct {
	*Load
	identity string
	random   *rand.Rand
	nc       *nats.Conn
	requests int    // made so far
	secret   string // of the last request
}

// run requests leases, one after another, until the context ends.
func (r *requester) run(ctx context.Context) {
	kinds := []func(context.Context){
		r.requestWithClient, r.requestWithClient, r.requestByHand, r.requestOnStream, r.requestOnStream,
		r.requestSealed, r.requestRepeatedly, r.requestRepeatedly, r.requestAndDie, r.requestTooLong,
	}
	for ctx.Err() == nil {
		kinds[r.random.IntN(len(kinds))](ctx)
		_ = retry.Sleep(ctx, time.Duration(r.random.IntN(400))*time.Millisecond) // the loop checks ctx
	}
}

// newRequest returns a random request.
func (r *requester) newRequest() (secret string, q messages.LeaseRequest) {
	secret = []string{world.Hard, world.Hard, world.Hard, world.Hard, world.Soft, world.Soft, world.Keyed, world.Keyed, world.Brief, world.Role}[r.random.IntN(10)]
	q.TTL = r.randomTTL()
	q.Confirm = r.random.IntN(2) == 0
	if secret == world.Role {
		q.TTL, q.Confirm = 0, true
	}
	r.secret = secret
	if r.random.IntN(8) == 0 {
		q.ReadyWithin = messages.Duration(5 * time.Second)
	}
	r.requests++
	r.tally.Add("leases requested", 1)
	return secret, q
}

func (r *requester) randomTTL() messages.Duration {
	return messages.Duration(time.Duration(r.minTTL+r.random.IntN(r.ttlSpread)) * time.Second)
}

// requestID identifies the current request.
func (r *requester) requestID() string { return fmt.Sprintf("%s-%d", r.identity, r.requests) }

// withPatience returns a context for one exchange, which does not end with the faults.
func withPatience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// requestWithClient requests a lease with the client library. A request without an answer
// is repeated at the end.
func (r *requester) requestWithClient(ctx context.Context) {
	secret, q := r.newRequest()
	var options []client.RequestOption
	if r.random.IntN(2) == 0 {
		options = append(options, client.Sealed())
	}
	c := r.client(r.nc, r.identity, patience)
	once, cancel := withPatience(ctx)
	defer cancel()
	issued, err := c.Request(once, secret, q, options...)
	if err != nil {
		if !r.countError(err) {
			r.requestAtEnd(secret, q, issued.IdempotencyKey)
		}
		return
	}
	r.tally.KeyReceived(r.identity+" "+issued.IdempotencyKey, issued.Credentials.AccessKeyID, issued.Lease.Name)
	r.use(ctx, issued.Lease, issued.Credentials)
}

// countError counts a request that failed, and reports whether it was answered.
func (r *requester) countError(err error) (answered bool) {
	var answer *messages.Error
	switch {
	case errors.As(err, &answer):
		r.tally.Add("requests answered with "+string(answer.Code), 1)
		switch answer.Code {
		case messages.CodeDeadlineExceeded, messages.CodeProviderUnavailable, messages.CodeAbandoned, messages.CodeUnavailable,
			messages.CodeAlreadyDelivered, messages.CodeLeaseEnded:
		case messages.CodeSecretNotFound, messages.CodeSecretDeleting:
			if r.secret != world.Brief {
				r.tally.Violated(verdict.WrongAnswer, r.requestID(), "%s exists, and the request was answered with %s", r.secret, err)
			}
		default:
			r.tally.Violated(verdict.WrongAnswer, r.requestID(), "the request was answered with %s", err)
		}
		return true
	case errors.Is(err, nats.ErrNoResponders):
		r.tally.Excuse("requests with no responders")
		return true
	}
	r.tally.Excuse("requests whose deadline passed without an answer, repeated at the end")
	return false
}

// requestAtEnd has a request without an answer repeated at the end, with its idempotency
// key. Then it must be answered, if only that the lease was delivered or has ended.
func (r *requester) requestAtEnd(secret string, q messages.LeaseRequest, key string) {
	r.repeatAtEnd(func(ctx context.Context) {
		q.Deadline = time.Time{}
		issued, err := r.client(r.nc, r.identity, finalPatience).Request(ctx, secret, q, client.IdempotencyKey(key))
		switch {
		case err == nil:
			r.tally.KeyReceived(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
		case !isAnswer(err):
			r.tally.Violated(verdict.Unanswered, r.identity+" "+key, "%s", err)
		}
	})
}

// requestRepeatedly makes several requests with one idempotency key, on several
// connections. They must receive one lease with one key.
func (r *requester) requestRepeatedly(ctx context.Context) {
	secret, q := r.newRequest()
	key := r.requestID()
	var all sync.WaitGroup
	var mu sync.Mutex
	var first *client.Issued
	for i := range 2 + r.random.IntN(2) {
		pause := time.Duration(r.random.IntN(3000)) * time.Millisecond * time.Duration(i)
		all.Go(func() {
			time.Sleep(pause)
			once, cancel := withPatience(ctx)
			defer cancel()
			r.tally.Add("requests with a repeated idempotency key", 1)
			issued, err := r.client(r.conns[i%len(r.conns)], r.identity, patience).Request(once, secret, q, client.IdempotencyKey(key))
			if err != nil {
				if !r.countError(err) {
					r.requestAtEnd(secret, q, key)
				}
				return
			}
			r.tally.KeyReceived(r.identity+" "+key, issued.Credentials.AccessKeyID, issued.Lease.Name)
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = &issued
			}
		})
	}
	all.Wait()
	if first != nil {
		r.use(ctx, first.Lease, first.Credentials)
	}
}

// requestTooLong requests a TTL above the maximum, which must be rejected.
func (r *requester) requestTooLong(ctx context.Context) {
	once, cancel := withPatience(ctx)
	defer cancel()
	r.secret = world.Hard
	_, err := r.client(r.nc, r.identity, patience).Request(once, world.Hard, messages.LeaseRequest{TTL: messages.Duration(time.Hour)})
	switch {
	case messages.IsCode(err, messages.CodeTTLExceedsMax):
		r.tally.Add("requests rejected as expected", 1)
	case err == nil:
		r.tally.Violated(verdict.WrongAnswer, r.identity, "a TTL above the maximum was granted")
	default:
		r.countError(err)
	}
}
