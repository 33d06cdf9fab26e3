package lease

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// maxNames is how many user names are tried if each belongs to a foreign user.
const maxNames = 3

// attemptMargin is the part of the time for an attempt that is left for the record: the
// calls to AWS end before, so that none is in progress when another worker takes over.
const attemptMargin = 1.0 / 6

// provision makes user and key of a provisioning lease, and delivers the key. leftovers
// says that an earlier attempt may have made something.
func (h *Requests) provision(ctx context.Context, req request, e store.Entry, leftovers bool) queue.Outcome {
	creds, err := h.provisioner.create(ctx, req, &e)
	switch {
	case errors.Is(err, bucket.ErrConflict):
		return h.provisioner.lost(ctx, req, e, "")
	case err != nil:
		return h.createFailed(ctx, req, e, provider.AsError(err), leftovers)
	}
	sealed, err := h.Keys.Seal(e.XKey, messages.Contents{ // "" seals for the broker itself
		Lease: e.Name().String(), Identity: e.Identity, ExpiresAt: e.ExpiresAt, Credentials: creds,
	})
	if err != nil {
		return h.fail(ctx, req, e, messages.AsError(err), provider.LeftUser)
	}
	next, err := e.Activate(creds.AccessKeyID, sealed, h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	active, err := h.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		return h.provisioner.lost(ctx, req, e, creds.AccessKeyID)
	}
	if err != nil {
		return queue.Retry(err) // it may have been written: the record will say
	}
	req.log.Info().Str("username", active.User.Name).Str("access_key_id", creds.AccessKeyID).Int("attempt", active.Attempt).
		Time("expires_at", active.ExpiresAt).Msg("issued")
	return h.deliveries.deliver(ctx, req, active, &creds)
}

// createFailed decides what becomes of a lease that AWS did not make. An error of NATS on
// the way counts as AWS being unavailable. What may pass
// is tried again until the requester's deadline; otherwise the lease fails.
func (h *Requests) createFailed(ctx context.Context, req request, e store.Entry, cause *provider.Error, leftovers bool) queue.Outcome {
	left := cause.Left
	if leftovers && left == provider.LeftNothing {
		left = provider.LeftUnknown // this attempt left nothing; an earlier one may have
	}
	req.log.Warn().Err(cause).Str("kind", string(cause.Kind)).Str("username", e.User.Name).Msg("AWS did not make the user")
	if cause.Kind != provider.Unavailable && cause.Kind != provider.NotVisible {
		return h.fail(ctx, req, e, cause.Public(), left)
	}
	if !req.deadline.IsZero() && !h.Now().Add(max(req.retryWait, cause.After)).Before(req.deadline) {
		return h.fail(ctx, req, e, messages.Errorf(messages.CodeDeadlineExceeded,
			"the deadline comes before AWS can be asked again: %s", cause.Safe()).Because(cause), left)
	}
	next, err := e.Postpone(req.retryWait, left == provider.LeftNothing, h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	_, err = h.leases.Save(ctx, next, e.Revision)
	switch {
	case errors.Is(err, bucket.ErrConflict):
		return h.provisioner.lost(ctx, req, e, "")
	case err != nil:
		return queue.Retry(err)
	}
	return queue.RetryIn(req.retryWait)
}

// fail ends a lease that can't be made: it is torn down, and the requester is told
// why.
func (h *Requests) fail(ctx context.Context, req request, e store.Entry, why *messages.Error, left provider.Left) queue.Outcome {
	next, err := e.Fail(why, left == provider.LeftNothing, h.Now(), h.Timing)
	if err != nil {
		return queue.Retry(err)
	}
	failed, err := h.leases.Save(ctx, next, e.Revision)
	if errors.Is(err, bucket.ErrConflict) {
		return h.provisioner.lost(ctx, req, e, "")
	}
	if err != nil {
		return queue.Retry(err)
	}
	return h.finishFailed(ctx, req, failed, left)
}

// finishFailed tears down what there is, and answers. The requester does not wait
// for what can't be deleted now.
func (h *Requests) finishFailed(ctx context.Context, req request, e store.Entry, left provider.Left) queue.Outcome {
	if e.State == messages.StateRevoking {
		after, err := h.teardown.runIfIdle(ctx, req.log, e, attempt{ownerKnown: left == provider.LeftUser})
		if err != nil {
			return queue.Retry(err)
		}
		e = after
	}
	return h.answerFailed(ctx, e)
}

// answerFailed tells the requester why there is no lease.
func (h *Requests) answerFailed(ctx context.Context, e store.Entry) queue.Outcome {
	if e.State == messages.StateFailed {
		if err := h.events.EmitLease(ctx, e.Record, messages.EventFailed); err != nil {
			return queue.Retry(err)
		}
	}
	why := e.Failure
	if why == nil {
		why = messages.Errorf(messages.CodeInternal, "the lease could not be made")
	}
	return queue.Answer(string(why.Code), messages.ErrorReply(why, e.Lease()))
}

// provisioner makes users, and takes back what an attempt has made that lost its
// record to another worker.
type provisioner struct {
	Settings
	leases   *store.Leases
	accounts *connection.Registry
	secrets  *secrets.Registry
	sync     *denySync
	lifetime *queue.Lifetime
}

// create makes user and key, under another name if a foreign user has the lease's
// user name. It updates e where it writes the record. It returns an error with
// [bucket.ErrConflict] in its chain if another worker has written the record; the provider
// returns it, too, if [provider.Creation.StillCurrent] does.
func (p *provisioner) create(ctx context.Context, req request, e *store.Entry) (messages.Credentials, error) {
	account, err := p.accounts.Reach(ctx, e.Connection)
	if err != nil {
		cause := *provider.AsError(err)
		cause.Left = provider.LeftNothing
		return messages.Credentials{}, &cause
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout(*e, req.deadline))
	defer cancel()
	for try := 1; ; try++ {
		creds, err := account.Create(ctx, p.creation(*e, stillCurrent(p.leases, *e)))
		if err == nil || provider.AsError(err).Kind != provider.NameTaken || try == maxNames {
			return creds, err
		}
		renamed, ok, saveErr := p.rename(ctx, req.log, *e)
		if saveErr != nil {
			return creds, saveErr
		}
		if !ok {
			return creds, err
		}
		*e = renamed
	}
}

// rename gives a lease another user name. It returns false if the definition has no
// other.
func (p *provisioner) rename(ctx context.Context, log zerolog.Logger, e store.Entry) (store.Entry, bool, error) {
	def, err := p.secrets.Get(ctx, e.Secret)
	if err != nil {
		return e, false, nil
	}
	name, err := def.Username(e.Name(), p.Now(), p.Rand)
	if err != nil || name == e.User.Name {
		return e, false, nil
	}
	log.Info().Str("username", e.User.Name).Msg("AWS has a foreign user of that name; trying another name")
	next, err := e.Rename(name)
	if err != nil {
		return e, false, nil
	}
	renamed, err := p.leases.Save(ctx, next, e.Revision)
	return renamed, err == nil, err
}

// stillCurrent returns a function that returns [bucket.ErrConflict] once another
// attempt has the record.
func stillCurrent(leases *store.Leases, mine store.Entry) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := leases.Load(ctx, mine.Name())
		if err == nil && (now.State != messages.StateProvisioning || now.Attempt != mine.Attempt) {
			err = bucket.ErrConflict
		}
		return err
	}
}

// margin is the part of the time for an attempt that AWS may not use.
func margin(attempt time.Duration) time.Duration {
	return time.Duration(float64(attempt) * attemptMargin)
}

// timeout is how long AWS may take for the attempt: until the record is due as abandoned,
// less the margin, and not beyond the requester's deadline.
func (p *provisioner) timeout(e store.Entry, deadline time.Time) time.Duration {
	now := p.Now()
	left := e.Due.Sub(now) - margin(p.Timing.Provision)
	if deadline.IsZero() {
		return left
	}
	return min(left, deadline.Sub(now))
}
