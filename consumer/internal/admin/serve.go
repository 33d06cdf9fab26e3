package admin

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/consumer/internal/endpoint"
	"github.com/lessorhq/lessor/consumer/internal/lease"
	"github.com/lessorhq/lessor/messages"
)

// timeout is how long a command may take. A dry run takes the longest.
const timeout = 100 * time.Second

// maxCommands is how many commands one replica carries out at once.
const maxCommands = 64

var errBusy = messages.Errorf(messages.CodeUnavailable, "too many requests of operators at once; try again in a moment")

// serve admits a command and carries it out on a goroutine of its own. It is the one
// place that answers.
func (s *Service) serve(r micro.Request, c command) {
	by, err := s.operator(r.Subject())
	log := s.cfg.Log.With().Str("admin", c.name).Str("by", by).Logger()
	if err := s.cfg.Namespace.CheckAdminReply(r.Reply()); err != nil {
		log.Warn().Err(err).Msg("an operator's command is ignored: the broker may not publish to its reply subject")
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.answer(r, messages.ErrorReply(errBusy, nil))
		return
	}
	accepted := s.commands.Go(func() {
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(s.cfg.Lifetime.Base(), timeout)
		defer cancel()
		defer clear(r.Data()) // a definition's secret key may be in clear in it
		var reply messages.Reply
		if err == nil {
			reply, err = s.audited(ctx, c, r.Data(), by)
		}
		if err != nil {
			e := lease.OperatorError(err)
			log.Warn().Err(e).AnErr("cause", e.Unwrap()).Msg("an operator's command failed")
			reply = messages.Reply{Kind: messages.KindError, Error: e, Check: reply.Check}
		}
		s.answer(r, reply)
	})
	if !accepted {
		<-s.slots
		s.answer(r, messages.ErrorReply(endpoint.ErrStopping, nil))
	}
}

// operator returns the name of the operator in a subject; "" if it has none.
func (s *Service) operator(subject string) (string, error) {
	t := s.cfg.Namespace.Tokens(subject, 1)
	if len(t) < 2 || t[0] != "as" {
		return "", nil
	}
	if err := messages.CheckToken("operator", t[1]); err != nil {
		return "", err
	}
	return t[1], nil
}

func (s *Service) answer(r micro.Request, reply messages.Reply) {
	if err := endpoint.Answer(s.replier, r.Reply(), reply); err != nil {
		s.cfg.Log.Warn().Err(err).Msg("an answer to an operator could not be sent")
	}
}
