package admin

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/lessorhq/lessor/consumer/internal/lease"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
)

// audited carries a command out and emits the events about it: who commanded what, and
// what came of it.
func (s *Service) audited(ctx context.Context, c command, body []byte, by string) (messages.Reply, error) {
	what := describe(body)
	what.Name, what.By = c.name, by
	audit := c.changes && !s.onlyAsks(what)
	id, err := store.RandomToken(s.cfg.Rand)
	if err != nil {
		return messages.Reply{}, err
	}
	if audit {
		if err := s.emit(ctx, id, what, messages.OutcomeAsked, nil); err != nil {
			return messages.Reply{}, messages.Errorf(messages.CodeUnavailable,
				"the command could not be written down in the events, and was not carried out").Because(err)
		}
	}
	reply, err := c.handle(ctx, body)
	outcome, failure := messages.OutcomeDone, (*messages.Error)(nil)
	if err != nil {
		outcome, failure = messages.OutcomeRefused, lease.OperatorError(err)
	}
	if reply.Secret != nil && c.changes {
		what.Revision = reply.Secret.Revision
	}
	if audit || failure != nil && (c.changes || s.cfg.Events.MayEmitRefusal(messages.AdminIdentity)) {
		// The command's own context may have ended.
		if err := s.emit(s.cfg.Lifetime.Base(), id, what, outcome, failure); err != nil {
			s.cfg.Log.Error().Err(err).Str("admin", c.name).Str("outcome", string(outcome)).Msg("the event about the outcome of an operator's command could not be emitted")
		}
	}
	return reply, err
}

// onlyAsks reports whether a command that changes something asks how far it has come: to
// delete what is being deleted.
func (s *Service) onlyAsks(what messages.Command) bool {
	return what.Name == secretDelete && !what.Force && slices.Contains(s.cfg.Secrets.Deleting(), what.Secret)
}

// emit emits the event about a command. Both events of one have the same id in their
// subject.
func (s *Service) emit(ctx context.Context, id string, what messages.Command, o messages.Outcome, failure *messages.Error) error {
	what.Outcome = o
	by := what.By
	if by == "" {
		by = messages.Unknown
	}
	name := messages.LeaseName{Identity: messages.AdminIdentity, Secret: by, ID: id}
	return s.cfg.Events.Emit(ctx, name, messages.EventCommand, string(o), messages.EventData{Command: &what, Error: failure})
}

// describe returns what a command is about, as far as its body names something that
// can be. The body may be anything: it is not decoded yet.
func describe(body []byte) messages.Command {
	var b struct {
		Name       string `json:"name"`
		Lease      string `json:"lease"`
		Identity   string `json:"identity"`
		Secret     string `json:"secret"`
		Force      bool   `json:"force"`
		Apply      bool   `json:"apply"`
		NoCheck    bool   `json:"no_check"`
		Definition struct {
			Name string `json:"name"`
		} `json:"definition"`
	}
	_ = json.Unmarshal(body, &b) // a body that can't be read is refused, and not described
	token := func(values ...string) string {
		for _, v := range values {
			if messages.CheckToken("token", v) == nil {
				return v
			}
		}
		return ""
	}
	what := messages.Command{
		Secret: token(b.Name, b.Definition.Name, b.Secret), Identity: token(b.Identity), Force: b.Force, Apply: b.Apply, NoCheck: b.NoCheck,
	}
	if _, err := messages.ParseLeaseName(b.Lease); err == nil {
		what.Lease = b.Lease
	}
	return what
}
