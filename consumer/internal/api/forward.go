package api

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// pendingWait is the retry-after for a requester whose requests fill the stream.
const pendingWait = 10 * time.Second

// maxTrace is the longest trace header that is passed on, in bytes.
const maxTrace = 256

// forwardRequest puts a request for a lease on its stream. Its body was decoded only to
// refuse a bad one here; the worker decodes it again.
func (s *Service) forwardRequest(ctx context.Context, r apiRequest, _ messages.LeaseRequest) (messages.Reply, error) {
	key := r.Headers().Get(messages.HeaderIdempotencyKey)
	if err := messages.CheckIdempotencyKey(key); err != nil {
		return messages.Reply{}, err
	}
	if s.cfg.Reserve.Spent() {
		return messages.Reply{}, store.ErrNoRoom
	}
	name := messages.LeaseName{Identity: r.tokens[0], Secret: r.tokens[1]}
	if err := s.checkLimits(ctx, name, key); err != nil {
		return messages.Reply{}, err
	}
	msg := streamMessage(r, s.cfg.Namespace.Request(name.Identity, name.Secret))
	msg.Header.Set(messages.HeaderDeadline, s.cfg.Now().Add(answerTimeout).UTC().Format(time.RFC3339))
	if key != "" {
		msg.Header.Set(messages.HeaderIdempotencyKey, key)
	}
	err := s.cfg.Outbox.Publish(ctx, messages.VerbRequest, msg)
	if bucket.IsSubjectFull(err) {
		err = messages.Errorf(messages.CodeUnavailable, "%d requests of %s for %s wait already; ask again in a moment", queue.MaxQueued, name.Identity, name.Secret).
			After(pendingWait).Because(err)
	}
	return workerAnswers, err
}

// checkLimits refuses a request that the worker would refuse because of a limit. A
// request that repeats another one is left to the worker.
func (s *Service) checkLimits(ctx context.Context, name messages.LeaseName, key string) error {
	d, err := s.cfg.Secret(ctx, name.Secret)
	if err != nil {
		return nil // the worker answers what is wrong with it
	}
	var exceeded *messages.Error
	if !errors.As(s.cfg.Limits.WouldRefuse(d, name), &exceeded) {
		return nil // no limit is exceeded, or that is not known yet
	}
	if key != "" {
		name.ID = record.LeaseIDForKey(name.Identity, name.Secret, key)
		if _, err := s.cfg.Leases.Load(ctx, name); err == nil {
			return nil
		}
	}
	return exceeded
}

// forwardRenewal puts a renewal on its stream.
func (s *Service) forwardRenewal(ctx context.Context, r apiRequest, _ messages.RenewRequest) (messages.Reply, error) {
	return s.forwardCommand(ctx, r, messages.VerbRenew, s.cfg.Namespace.Renew(r.lease()))
}

// forwardRevocation puts a revocation on its stream.
func (s *Service) forwardRevocation(ctx context.Context, r apiRequest, _ messages.RevokeRequest) (messages.Reply, error) {
	return s.forwardCommand(ctx, r, messages.VerbRevoke, s.cfg.Namespace.Revoke(r.lease()))
}

// forwardCommand puts a message about an existing lease on its verb's stream, once an earlier
// one about the lease has been handled.
func (s *Service) forwardCommand(ctx context.Context, r apiRequest, v messages.Verb, subject string) (messages.Reply, error) {
	if err := s.checkExists(ctx, r.lease()); err != nil {
		return messages.Reply{}, err
	}
	return workerAnswers, s.cfg.Outbox.PublishWhenFree(ctx, v, streamMessage(r, subject))
}

// checkExists returns an error of the code [messages.CodeLeaseNotFound] if there is no
// such lease. It reads the bucket only if the lease is not known to exist. If the bucket
// is known to fail it reads it too, so that the requester gets the error now and need
// not wait for an answer.
func (s *Service) checkExists(ctx context.Context, name messages.LeaseName) error {
	if s.cfg.Known(name) && s.cfg.Health.Err() == nil {
		return nil
	}
	_, err := s.load(ctx, name)
	return err
}

// streamMessage returns the message that puts an API request on a stream. Of the
// request's headers it has only those that are named here.
func streamMessage(r apiRequest, subject string) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = r.Data()
	msg.Header.Set(messages.HeaderReplyTo, r.Reply())
	if trace := r.Headers().Get(messages.HeaderTrace); trace != "" && len(trace) <= maxTrace {
		msg.Header.Set(messages.HeaderTrace, trace)
	}
	return msg
}
