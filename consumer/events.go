package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// emit tells what happened. It is called before the message that caused it is
// acknowledged: after a crash it is told again, with the same id, and the event
// stream keeps it once.
func (c *Consumer) emit(ctx context.Context, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error {
	return c.emitAfter(ctx, place{}, name, t, occurrence, data)
}

// place is where the last event of a subject stands in the event stream; 0: there is
// none. The zero value is any.
type place struct {
	subject string
	last    uint64
}

// emitAfter is emit, if the last event of a subject stands where it is thought to.
func (c *Consumer) emitAfter(ctx context.Context, after place, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error {
	e := messages.NewEvent(c.installation, name, t, occurrence, c.cfg.Now(), data)
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	msg := nats.NewMsg(c.cfg.Namespace.Event(name, t))
	msg.Data = body
	msg.Header.Set(messages.HeaderSignature, c.cfg.Keys.SignEvent(msg.Subject, e.ID, body))
	msg.Header.Set(jetstream.MsgIDHeader, e.ID)
	if after.subject != "" {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(after.last, 10))
		msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, after.subject)
	}
	_, err = c.events.publish(ctx, msg)
	c.wrote(c.cfg.Namespace.EventStream(), err)
	if err != nil {
		return fmt.Errorf("event %s of %s: %w", t, name, err)
	}
	return nil
}

// tell emits an event about a lease as its record has it.
func (c *Consumer) tell(ctx context.Context, r record.Record, t messages.EventType) error {
	return c.tellAfter(ctx, place{}, r, t)
}

func (c *Consumer) tellAfter(ctx context.Context, after place, r record.Record, t messages.EventType) error {
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
		occurrence += "." + strconv.Itoa(r.TeardownTries)
	}
	return c.emitAfter(ctx, after, r.Name(), t, occurrence, data)
}

// tellIssued tells that a lease's key exists. Where the end of that key is told
// already it tells nothing and returns [errConflict]: the event stream itself makes
// sure that the beginning never comes after the end, however long whoever tells has
// stalled.
func (c *Consumer) tellIssued(ctx context.Context, rec held) error {
	r := rec.Record
	// Whoever ends the lease may be the one who tells: as it was.
	r.State, r.Reason, r.EndedAt, r.ValidUntil, r.TeardownError = messages.StateActive, "", time.Time{}, time.Time{}, ""
	end := c.cfg.Namespace.Event(r.Name(), messages.EventRevoked)
	// An end that is told may be that of an earlier attempt.
	for last := uint64(0); ; {
		err := c.tellAfter(ctx, place{end, last}, r, messages.EventIssued)
		if !isConflict(err) {
			return err
		}
		seq, told, lookErr := c.lastTold(ctx, r.Name(), messages.EventRevoked)
		switch {
		case lookErr != nil:
			return lookErr
		case told.AccessKeyID == r.AccessKeyID:
			return errConflict
		case seq <= last:
			return err // another is just being told
		}
		last = seq
	}
}

// tellBegun makes sure that a lease's key is told to exist, where that is not
// certain: whoever was to deliver it may have died before, or stall. It is told
// before it is delivered.
func (c *Consumer) tellBegun(ctx context.Context, rec held) error {
	if rec.IssuedAt.IsZero() || !rec.DeliveredAt.IsZero() {
		return nil
	}
	_, last, err := c.lastTold(ctx, rec.Name(), messages.EventIssued)
	if err != nil || last.AccessKeyID == rec.AccessKeyID {
		return err // the stream forgets soon which events it has: the same is not told again days later
	}
	return c.tellIssued(ctx, rec)
}

// tellOver makes sure that a lease's end is told before the lease is begun anew:
// whoever ended it may have died before, and finds another attempt when it looks.
func (c *Consumer) tellOver(ctx context.Context, rec held) error {
	t := messages.EventRevoked
	if rec.State == messages.StateFailed {
		t = messages.EventFailed
	}
	_, last, err := c.lastTold(ctx, rec.Name(), t)
	if err != nil || last.EndedAt.Equal(rec.EndedAt) {
		return err
	}
	return c.tellEnded(ctx, rec)
}

// lastTold is where a lease's last event of a type stands, and what it says of the
// lease; 0 and nothing where there is none.
func (c *Consumer) lastTold(ctx context.Context, name messages.LeaseName, t messages.EventType) (uint64, messages.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.cfg.Namespace.EventStream())
	if err != nil {
		return 0, messages.Lease{}, fmt.Errorf("events of %s: %w", name, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, c.cfg.Namespace.Event(name, t))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, messages.Lease{}, nil
	}
	if err != nil {
		return 0, messages.Lease{}, fmt.Errorf("events of %s: %w", name, err)
	}
	e, err := messages.DecodeEvent(m.Data)
	if err != nil || e.Data.Lease == nil {
		return m.Sequence, messages.Lease{}, err
	}
	return m.Sequence, *e.Data.Lease, nil
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
