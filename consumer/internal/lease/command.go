package lease

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
)

// command is a decoded message about an existing lease: a renewal, a revocation or a
// reminder.
type command struct {
	name        messages.LeaseName
	wantsReply  bool
	sequence    uint64
	stored      time.Time
	redelivered bool
	log         zerolog.Logger
}

// decodeCommand reads subject and reply subject of a message about a lease, and sets
// the task's reply subject and log. The error is a [messages.Error].
func (s Settings) decodeCommand(t *queue.Task) (command, error) {
	if len(t.Tokens) != 3 {
		return command{}, messages.Errorf(messages.CodeInvalidSubject, "the subject must end in <identity>.<secret>.<id>")
	}
	if err := messages.CheckToken("identity", t.Tokens[0]); err != nil {
		return command{}, err
	}
	if to := t.Header.Get(messages.HeaderReplyTo); to != "" {
		if err := s.Namespace.CheckReply(t.Tokens[0], to); err != nil {
			return command{}, err
		}
		t.ReplyTo = to
	}
	name, err := messages.NewLeaseName(t.Tokens[0], t.Tokens[1], t.Tokens[2])
	if err != nil {
		return command{}, err
	}
	t.Log = t.Log.With().Str("lease", name.String()).Logger()
	return command{
		name: name, wantsReply: t.ReplyTo != "", sequence: t.Sequence, stored: t.Stored, redelivered: t.Redelivered(), log: t.Log,
	}, nil
}

func errNoLease(name messages.LeaseName) *messages.Error {
	return messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", name)
}

// pendingMessages finds messages about a lease that were stored in time and are not
// handled yet, because the broker was down or has a backlog.
type pendingMessages struct {
	Settings
	outbox *queue.Outbox
}

// confirmation reports whether a confirmation of the lease's delivery waits.
func (p pendingMessages) confirmation(ctx context.Context, e store.Entry) (bool, error) {
	for _, token := range p.Keys.ConfirmTokens(e.Name().String(), e.Attempt) {
		waits, err := p.outbox.Pending(ctx, messages.VerbConfirm, p.Namespace.Confirm(e.Name(), token), time.Time{})
		if waits || err != nil {
			return waits, err
		}
	}
	return false, nil
}

// renewal reports whether a renewal waits that was stored before the lease's end.
func (p pendingMessages) renewal(ctx context.Context, e store.Entry) (bool, error) {
	return p.outbox.Pending(ctx, messages.VerbRenew, p.Namespace.Renew(e.Name()), e.ExpiresAt)
}
