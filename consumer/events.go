package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// emit tells what happened. It is called before the message that caused it is
// acknowledged: after a crash it is told again, with the same id, and the event
// stream keeps it once.
func (c *Consumer) emit(ctx context.Context, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error {
	e := messages.NewEvent(c.installation, name, t, occurrence, c.cfg.Now(), data)
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = c.js.PublishMsg(ctx, &nats.Msg{Subject: c.cfg.Namespace.Event(name, t), Data: body}, jetstream.WithMsgID(e.ID))
	c.wrote(c.cfg.Namespace.EventStream(), err)
	if err != nil {
		return fmt.Errorf("event %s of %s: %w", t, name, err)
	}
	return nil
}

// tell emits an event about a lease as its record has it.
func (c *Consumer) tell(ctx context.Context, r messages.Record, t messages.EventType) error {
	data := messages.EventData{Lease: r.Lease()}
	occurrence := strconv.Itoa(r.Attempt)
	switch t {
	case messages.EventRenewed:
		occurrence += "." + strconv.FormatUint(r.RenewedBy, 10)
	case messages.EventExpiring:
		occurrence += "." + strconv.Itoa(r.Renewals)
	case messages.EventRevoked, messages.EventUndelivered:
		data.Reason, data.Note = r.Reason, r.Note
	case messages.EventFailed:
		data.Error = r.Failure
	case messages.EventRevokeFailed:
		data.Reason = r.Reason
		data.Error = data.Lease.Error
		occurrence += "." + strconv.Itoa(r.UndoTries)
	}
	return c.emit(ctx, r.Name(), t, occurrence, data)
}

// safeName is the lease name under which a message's rejection is told: tokens
// that are not fit for a subject are replaced.
func safeName(tokens []string, id string) messages.LeaseName {
	name := [3]string{messages.Unknown, messages.Unknown, messages.Unknown}
	for i := range min(len(tokens), 3) {
		if messages.CheckToken("token", tokens[i]) == nil {
			name[i] = tokens[i]
		}
	}
	if len(tokens) < 3 && id != "" {
		name[2] = id
	}
	return messages.LeaseName{Identity: name[0], Secret: name[1], ID: name[2]}
}
