package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// decode reads an answer. Where the front door failed before it had one, the
// service's error headers are all there is.
func decode(m *nats.Msg) (messages.Reply, error) {
	if text := m.Header.Get(messages.HeaderError); text != "" && len(m.Data) == 0 {
		return messages.ErrorReply(messages.Errorf(messages.CodeUnavailable, "the broker's front door answers: %s", text), nil), nil
	}
	return messages.DecodeReply(m.Data)
}

// expect returns the reply's error, or one for a reply of another kind.
func expect(r messages.Reply, kind string) error {
	switch {
	case r.Kind == messages.KindError:
		return r.Error
	case r.Kind != kind:
		return fmt.Errorf("the broker answered with %q where %q was due; is it of another version?", r.Kind, kind)
	case !complete(r):
		return fmt.Errorf("the broker's answer %q does not have what it is about; is it of another version?", r.Kind)
	}
	return nil
}

// complete says whether a reply has what its kind promises. A list may be empty.
func complete(r messages.Reply) bool {
	switch r.Kind {
	case messages.KindLeases, messages.KindSecrets, messages.KindSweep:
		return true
	case messages.KindSecret:
		return r.Secret != nil
	case messages.KindDeletion:
		return r.Deletion != nil
	case messages.KindCheck:
		return r.Check != nil
	case messages.KindAccepted:
		return r.Accepted != nil
	case messages.KindRestore:
		return r.Restore != nil
	case messages.KindKey:
		return r.Key != ""
	}
	return r.Lease != nil
}

// explain says what a failure on the way means and what to do about it. Without
// an identity it is an operator who asks.
func (c *Client) explain(err error, m *nats.Msg) error {
	var told *messages.Error
	switch {
	case errors.As(err, &told):
		return err
	case errors.Is(err, nats.ErrNoResponders) && c.o.Identity == "":
		return fmt.Errorf("nobody serves %s: %w; is the broker running, and is this its own account?", m.Subject, err)
	case errors.Is(err, nats.ErrPermissionViolation) && c.o.Identity == "":
		return fmt.Errorf("NATS does not let this connection do an operator's work: %w; it needs to publish on %s and to subscribe to its inbox", err, m.Subject)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("nobody serves %s: %w; is the broker running, and is its service imported into this account?", m.Subject, err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("NATS does not let this connection ask as %s: %w; it needs to publish on %s and to subscribe to its inbox (custom inbox prefix _INBOX_%s?)",
			c.o.Identity, err, m.Subject, c.o.Identity)
	case errors.Is(err, context.DeadlineExceeded) && !c.nc.IsConnected():
		return fmt.Errorf("no answer on %s in time: %w; the connection to NATS is down", m.Subject, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer on %s in time: %w; the broker may be busy or away", m.Subject, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("gave up waiting for an answer on %s: %w", m.Subject, err)
	}
	return fmt.Errorf("ask on %s: %w", m.Subject, err)
}

// repeatable adds the key that makes repeating a request safe, where it is not
// known what became of it.
func repeatable(err error, key string) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; to repeat the request, use idempotency key %s", err, key)
	}
	return err
}
