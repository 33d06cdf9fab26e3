package lease

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Requests handles messages that ask for a lease.
type Requests struct {
	Settings
	leases      *store.Leases
	events      *events.Log
	secrets     *secrets.Registry
	reserve     *store.Reserve
	planner     *planner
	provisioner *provisioner
	deliveries  *Deliveries
	teardown    *Teardown
}

// request is a decoded message that asks for a lease.
type request struct {
	name        messages.LeaseName
	origin      record.Origin
	body        messages.LeaseRequest
	deadline    time.Time // zero: none
	hasKey      bool      // it has an idempotency key
	replyTo     string
	redelivered bool
	tries       uint64        // how often the message was delivered to a worker
	retryWait   time.Duration // before the message is redelivered
	log         zerolog.Logger
}

// isOwn reports whether the entry's attempt, or its last delivery, is for the request's
// message.
func (r request) isOwn(e store.Entry) bool { return e.IsFor(r.origin.Sequence, r.origin.Stored) }

// Errors of requests that waited too long.
var (
	errLateForDelivery = messages.Errorf(messages.CodeDeadlineExceeded, "the deadline passed before the lease could be delivered")
	errExpired         = messages.Errorf(messages.CodeLeaseEnded, "the lease ended before it could be delivered")
)

// Handle handles one message.
func (h *Requests) Handle(ctx context.Context, t *queue.Task) queue.Outcome {
	req, err := h.decode(t)
	if err != nil {
		return queue.Reject(err, nil)
	}
	if !req.redelivered && !req.hasKey {
		return h.begin(ctx, req, store.Entry{}) // no other message can have begun it
	}
	return h.handleExisting(ctx, req)
}

// handleExisting handles a request whose lease may have a record.
func (h *Requests) handleExisting(ctx context.Context, req request) queue.Outcome {
	e, err := h.leases.Load(ctx, req.name)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return h.begin(ctx, req, e)
	case store.IsUnreadable(err) && h.isLate(req.deadline):
		return queue.Reject(errLateForDelivery, nil)
	case err != nil:
		return queue.Retry(err)
	}
	return h.resume(ctx, req, e)
}

// resume carries out the decision about a request whose lease has a record.
func (h *Requests) resume(ctx context.Context, req request, e store.Entry) queue.Outcome {
	facts := requestFacts{fingerprint: req.origin.Fingerprint, own: req.isOwn(e), late: h.isLate(req.deadline), now: h.Now()}
	switch step := decideRequest(facts, e.Record); step {
	case stepBegin:
		if err := h.events.EnsureEnded(ctx, e.Record); err != nil {
			return queue.Retry(err)
		}
		return h.begin(ctx, req, e)
	case stepTakeOver:
		return h.takeOver(ctx, req, e)
	case stepDeliver:
		return h.deliveries.deliver(ctx, req, e, nil)
	case stepWaitAttempt:
		return queue.RetryIn(h.RetryMin / 4)
	case stepWaitTeardown:
		return queue.RetryIn(h.RetryMin)
	case stepGiveUp:
		return h.deliveries.giveUpLate(ctx, req, e)
	case stepFinishFailed:
		return h.finishFailed(ctx, req, e, provider.LeftUnknown)
	case stepAnswerFailed:
		return h.answerFailed(ctx, e)
	case stepAck:
		return queue.Ack(queue.LabelNothing)
	case stepRejectReused:
		return queue.Reject(messages.Errorf(messages.CodeIdempotencyMismatch,
			"%s was used before with another body; use a new key, or the same body", messages.HeaderIdempotencyKey), nil)
	case stepRejectLate:
		return queue.Reject(errLateForDelivery, nil)
	case stepRejectExpired:
		return queue.Reject(errExpired, nil)
	case stepRejectEnded:
		return queue.Reject(messages.Errorf(messages.CodeLeaseEnded, "the lease ended (%s) before it was delivered", e.Reason), e.Lease())
	default: // stepRejectDelivered
		return queue.Reject(messages.Errorf(messages.CodeAlreadyDelivered,
			"the lease of this %s was delivered before; its secret key is not kept", messages.HeaderIdempotencyKey), e.Lease())
	}
}

// decode reads and checks a message on a request subject, and sets the task's reply
// subject and log. The API has checked the same; but a requester in the broker's account
// may publish on the stream directly. The error is a [messages.Error].
func (h *Requests) decode(t *queue.Task) (request, error) {
	if len(t.Tokens) != 2 {
		return request{}, messages.Errorf(messages.CodeInvalidSubject, "the subject must be %s", h.Namespace.Request("<identity>", "<secret>"))
	}
	identity, secret := t.Tokens[0], t.Tokens[1]
	if err := CheckRequester(identity); err != nil {
		return request{}, err
	}
	replyTo := t.Header.Get(messages.HeaderReplyTo)
	if err := h.Namespace.CheckReply(identity, replyTo); err != nil {
		return request{}, err
	}
	t.ReplyTo = replyTo
	if err := messages.CheckToken("secret", secret); err != nil {
		return request{}, err
	}
	key := t.Header.Get(messages.HeaderIdempotencyKey)
	if err := messages.CheckIdempotencyKey(key); err != nil {
		return request{}, err
	}
	body, err := messages.DecodeLeaseRequest(t.Data)
	if err != nil {
		return request{}, err
	}
	deadline, err := earlierDeadline(body.Deadline, t.Header.Get(messages.HeaderDeadline))
	if err != nil {
		return request{}, err
	}
	name := messages.LeaseName{Identity: identity, Secret: secret, ID: record.LeaseID(identity, secret, key, t.Sequence, t.Stored)}
	t.Log = t.Log.With().Str("lease", name.String()).Logger()
	return request{
		name: name, origin: record.Origin{Sequence: t.Sequence, Stored: t.Stored, Fingerprint: body.Fingerprint()},
		body: body, deadline: deadline, hasKey: key != "", replyTo: replyTo,
		redelivered: t.Redelivered(), tries: t.Deliveries, retryWait: t.RetryWait, log: t.Log,
	}, nil
}

// earlierDeadline returns the earlier of the body's deadline and the header's.
func earlierDeadline(deadline time.Time, header string) (time.Time, error) {
	if header == "" {
		return deadline, nil
	}
	t, err := time.Parse(time.RFC3339, header)
	if err != nil {
		return deadline, messages.Errorf(messages.CodeInvalidRequest, "%s must be a time in RFC 3339", messages.HeaderDeadline)
	}
	if deadline.IsZero() || t.Before(deadline) {
		return t, nil
	}
	return deadline, nil
}

// begin makes a new lease. old is the entry under its name: none, or that of an ended
// lease that may begin anew.
func (h *Requests) begin(ctx context.Context, req request, old store.Entry) queue.Outcome {
	if h.isLate(req.deadline) {
		return queue.Reject(messages.Errorf(messages.CodeDeadlineExceeded, "the deadline had passed before the lease was begun; repeat the request with a later one"), nil)
	}
	if h.reserve.Spent() {
		return h.refuseOrRetry(req, store.ErrNoRoom)
	}
	def, err := h.secrets.Get(ctx, req.name.Secret)
	if err != nil {
		return h.refuseOrRetry(req, err)
	}
	plan, err := h.planner.plan(ctx, req, def)
	if err != nil {
		return h.refuseOrRetry(req, err)
	}
	next := record.New(plan, h.Now(), h.Timing)
	if old.Exists() {
		if next, err = old.Again(plan, h.Now(), h.Timing); err != nil {
			return queue.Retry(err)
		}
	}
	e, err := h.leases.Save(ctx, next, old.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		return h.loadAfterConflict(ctx, req)
	}
	if err != nil {
		return queue.Retry(err)
	}
	return h.provisionIfUnchanged(ctx, req, def, e)
}

// loadAfterConflict decides by the record that another worker has written meanwhile.
func (h *Requests) loadAfterConflict(ctx context.Context, req request) queue.Outcome {
	e, err := h.leases.Load(ctx, req.name)
	if err != nil {
		return queue.Retry(err)
	}
	return h.resume(ctx, req, e)
}

// provisionIfUnchanged provisions a lease whose record was just written, if its
// definition has not changed since it was read. A deletion of a definition is first
// stored, and afterwards looks for records: either this worker sees the deletion, or the
// deletion sees this record.
func (h *Requests) provisionIfUnchanged(ctx context.Context, req request, def secrets.Compiled, e store.Entry) queue.Outcome {
	now, err := h.secrets.Fresh(ctx, req.name.Secret)
	switch {
	case messages.IsCode(err, messages.CodeSecretNotFound), messages.IsCode(err, messages.CodeSecretDeleting):
		return h.fail(ctx, req, e, messages.AsError(err), provider.LeftNothing)
	case err != nil:
		return queue.Retry(err)
	case !reflect.DeepEqual(now.DynamicSecret, def.DynamicSecret):
		h.secrets.Remember(now)
		return h.beginAgain(ctx, req, e)
	}
	const leftovers = false
	return h.provision(ctx, req, e, leftovers)
}

// beginAgain drops a lease of which nothing has been made, and begins it by the
// definition as it is now. The dropped record is repeatable because CodeAbandoned is
// retryable; it needs no event, because no requester has heard of it.
func (h *Requests) beginAgain(ctx context.Context, req request, e store.Entry) queue.Outcome {
	why := messages.Errorf(messages.CodeAbandoned, "the definition changed while the lease was begun")
	const nothingMade = true
	next, err := e.Fail(why, nothingMade, h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	dropped, err := h.leases.Save(ctx, next, e.Revision)
	if err != nil {
		return queue.Retry(err)
	}
	return h.begin(ctx, req, dropped)
}

// maxNewerVersionTries is how often a request for a secret that only a newer broker
// can read is given back before it is refused: a newer broker may run beside this one.
const maxNewerVersionTries = 5

// refuseOrRetry rejects a request if the error is about it. An error of AWS, or a lack of
// room, is retried as long as the deadline leaves time for that; a definition of a newer
// version is retried a few times. All other errors are retried.
func (h *Requests) refuseOrRetry(req request, err error) queue.Outcome {
	var own *messages.Error
	var aws *provider.Error
	inTime := req.deadline.IsZero() || h.Now().Add(req.retryWait).Before(req.deadline)
	switch {
	case errors.Is(err, store.ErrNoRoom) && inTime:
		return queue.Retry(err)
	case errors.Is(err, secrets.ErrNewerVersion) && req.tries < maxNewerVersionTries:
		return queue.Retry(err)
	case errors.As(err, &own):
		return queue.Reject(own, nil)
	case errors.As(err, &aws) && !inTime:
		return queue.Reject(aws.Public(), nil)
	}
	return queue.Retry(err)
}

// takeOver begins another attempt at a lease that was begun and not finished.
func (h *Requests) takeOver(ctx context.Context, req request, e store.Entry) queue.Outcome {
	next, err := e.TakeOver(req.origin, h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	taken, err := h.leases.Save(ctx, next, e.Revision)
	if err != nil {
		return queue.Retry(err)
	}
	req.log.Info().Int("attempt", taken.Attempt).Msg("taken over")
	if h.isLate(req.deadline) {
		left := provider.LeftUnknown
		if e.NothingMade {
			left = provider.LeftNothing
		}
		return h.fail(ctx, req, taken, messages.Errorf(messages.CodeDeadlineExceeded, "the deadline passed before the lease was made"), left)
	}
	return h.provision(ctx, req, taken, !e.NothingMade)
}
