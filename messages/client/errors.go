package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// decode decodes a reply. If the API failed before it had a reply, the message has the
// error headers of a NATS micro service and no body.
func decode(m *nats.Msg) (messages.Reply, error) {
	if text := m.Header.Get(messages.HeaderError); text != "" && len(m.Data) == 0 {
		return messages.ErrorReply(messages.Errorf(messages.CodeUnavailable, "the broker's API failed: %s", text), nil), nil
	}
	return messages.DecodeReply(m.Data)
}

// expect returns the error in the reply, or an error if the reply is of another kind or
// incomplete.
func expect(r messages.Reply, kind string) error {
	switch {
	case r.Kind == messages.KindError:
		return r.Error
	case r.Kind != kind:
		return fmt.Errorf("the broker replied with %q instead of %q; is it of another version?", r.Kind, kind)
	case !complete(r):
		return fmt.Errorf("the broker's reply %q is incomplete; is it of another version?", r.Kind)
	}
	return nil
}

// complete reports whether a reply has the field of its kind. A list may be empty.
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

// explain adds the likely reason and a remedy to an error of NATS or of the context. It
// returns a [messages.Error] unchanged. An empty identity means an operator's client.
func (c *Client) explain(err error, m *nats.Msg) error {
	var fromBroker *messages.Error
	switch {
	case errors.As(err, &fromBroker):
		return err
	case errors.Is(err, nats.ErrNoResponders) && c.o.Identity == "":
		return fmt.Errorf("no service on %s: %w; is the broker running, and is this its own account?", m.Subject, err)
	case errors.Is(err, nats.ErrPermissionViolation) && c.o.Identity == "":
		return fmt.Errorf("NATS does not allow this connection operator commands: %w; it needs to publish on %s and to subscribe to its inbox", err, m.Subject)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no service on %s: %w; is the broker running, and is its service imported into this account?", m.Subject, err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("NATS does not allow this connection requests as %s: %w; it needs to publish on %s and to subscribe to its inbox (custom inbox prefix _INBOX_%s?)",
			c.o.Identity, err, m.Subject, c.o.Identity)
	case errors.Is(err, context.DeadlineExceeded) && !c.nc.IsConnected():
		return fmt.Errorf("no reply on %s in time: %w; the connection to NATS is down", m.Subject, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no reply on %s in time: %w; the broker may be busy or away", m.Subject, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("canceled while waiting for a reply on %s: %w", m.Subject, err)
	}
	return fmt.Errorf("request on %s: %w", m.Subject, err)
}

// repeatable adds the idempotency key to the error of a request whose outcome is not
// known, so that the caller can repeat it safely.
func repeatable(err error, key string) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; to repeat the request, use idempotency key %s", err, key)
	}
	return err
}
