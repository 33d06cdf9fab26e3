package api

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/consumer/internal/endpoint"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// answerTimeout is how long a handler may take, and how long a worker has until its
// answer: a request for a lease has it as its deadline. The mapping of a service
// import's reply subject lives for two minutes (nats-server,
// DEFAULT_SERVICE_EXPORT_RESPONSE_THRESHOLD); a later answer would reach no requester.
const answerTimeout = 100 * time.Second

// apiRequest is a request to one of the endpoints.
type apiRequest struct {
	micro.Request
	endpoint string
	tokens   []string // of the subject, behind the endpoint's; at least the identity
}

// identity is the requester's; [messages.Unknown] if the subject has none that is valid.
func (r apiRequest) identity() string { return events.NameOf(r.tokens, "").Identity }

// lease is the lease that the subject names.
func (r apiRequest) lease() messages.LeaseName {
	return messages.LeaseName{Identity: r.tokens[0], Secret: r.tokens[1], ID: r.tokens[2]}
}

// serve admits a request and handles it on a goroutine of its own. It is the one place
// of this package that answers.
func (s *Service) serve(r apiRequest, handle handler) {
	identity := r.identity()
	if full := s.admission.enter(identity); full != nil {
		s.cfg.Events.CountRefusal(identity) // no event and no log line: this must cost next to nothing
		s.answerError(r, full)
		return
	}
	accepted := s.running.Go(func() {
		defer s.admission.leave(identity)
		ctx, cancel := context.WithTimeout(s.cfg.Lifetime.Base(), answerTimeout)
		defer cancel()
		err := s.check(r)
		var reply messages.Reply
		if err == nil {
			reply, err = handle(ctx, r)
		}
		switch {
		case err != nil:
			e := publicError(err)
			s.emitRefusal(r, e)
			s.refuse(r, e)
		case reply.Kind != workerAnswers.Kind: // workerAnswers has none
			s.answer(r, reply)
		}
	})
	if !accepted {
		s.admission.leave(identity)
		s.refuse(r, endpoint.ErrStopping)
	}
}

// check checks the tokens and the reply subject.
func (s *Service) check(r apiRequest) error {
	if err := s.cfg.CheckRequester(r.tokens[0]); err != nil {
		return err
	}
	for i, field := range []string{"identity", "secret", "id"} {
		if i < len(r.tokens) {
			if err := messages.CheckToken(field, r.tokens[i]); err != nil {
				return err
			}
		}
	}
	return s.cfg.Namespace.CheckReply(r.tokens[0], r.Reply())
}

// publicError is an error as a requester sees it: worth a retry if NATS did not answer.
func publicError(err error) *messages.Error {
	var own *messages.Error
	if !errors.As(err, &own) && (bucket.IsUnavailable(err) || errors.Is(err, context.Canceled)) {
		return messages.Errorf(messages.CodeUnavailable, "NATS did not answer the broker in time; try again").Because(err)
	}
	return messages.AsError(err)
}

// emitRefusal emits the event of a refused request. It emits none if JetStream has no
// room, because the event would take room, and only counts the refusal if JetStream does
// not answer: the requester has waited long enough.
func (s *Service) emitRefusal(r apiRequest, e *messages.Error) {
	if errors.Is(e, store.ErrNoRoom) || bucket.ProblemOf(e) == bucket.ProblemNoRoom {
		return
	}
	if bucket.ProblemOf(e) == bucket.ProblemNoAnswer {
		s.cfg.Events.CountRefusal(r.identity())
		return
	}
	data := messages.EventData{Verb: messages.Verb(r.endpoint), Error: e}
	if err := s.cfg.Events.Refused(s.cfg.Lifetime.Base(), events.NameOf(r.tokens, refusedByAPI), nats.NewInbox(), data); err != nil {
		s.cfg.Log.Warn().Err(err).Msg("the event of a refused API request could not be emitted")
	}
}

// refusedByAPI is the id in the name of the event of a refused request that names no
// lease. Each refusal is an occurrence of its own, so the occurrence is random.
const refusedByAPI = "door"

// refuse counts and logs a refusal, and answers with it.
func (s *Service) refuse(r apiRequest, e *messages.Error) {
	s.cfg.Meter.Handled(messages.Verb(r.endpoint), string(e.Code), 0)
	s.cfg.Log.Info().Err(e).AnErr("cause", e.Unwrap()).Str("endpoint", r.endpoint).Str("subject", messages.Printable(r.Subject())).Msg("an API request is refused")
	s.answerError(r, e)
}

// answerError answers with an error, if the broker may publish to the reply subject.
func (s *Service) answerError(r apiRequest, e *messages.Error) {
	if s.cfg.Namespace.CheckReply(r.tokens[0], r.Reply()) == nil {
		s.answer(r, messages.ErrorReply(e, nil))
	}
}

func (s *Service) answer(r apiRequest, reply messages.Reply) {
	if err := endpoint.Answer(s.replier, r.Reply(), reply); err != nil {
		s.cfg.Log.Warn().Err(err).Msg("an answer of the API could not be sent")
	}
}
