package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Bounds of the pause between messages while there are no responders.
const (
	minPause = 100 * time.Millisecond
	maxPause = time.Second
)

// lateDelivery is how much later than the reply to a repeated request, which says that
// the credentials are delivered, the delivery may arrive. The two may come from
// different replicas.
const lateDelivery = 2 * time.Second

// answer is a decoded reply and its message.
type answer struct {
	message *nats.Msg
	reply   messages.Reply
}

// exchange sends m and waits for the reply. It sends m again whenever resend has passed
// without a reply; all messages have the same reply subject. An error reply is a result,
// not an error. The context must have a deadline.
func (c *Client) exchange(ctx context.Context, m *nats.Msg, resend time.Duration) (answer, error) {
	m.Reply = c.nc.NewInbox()
	inbox, err := c.nc.SubscribeSync(m.Reply)
	if err != nil {
		return answer{}, c.explain(err, m)
	}
	repeated := false // answered after a repetition, so more replies may follow
	defer func() { unsubscribe(inbox, repeated) }()

	// Without the subscription the reply, and with it a lease, would be lost. So send
	// nothing before the server has processed the subscription.
	if err := c.flush(ctx, nil, m.Reply); err != nil && !c.reconnecting(err) {
		return answer{}, c.explain(err, m)
	}

	begun, received, pause := time.Now(), false, minPause // received: a responder has the message
	for attempt := 1; ; attempt++ {
		wait := resend
		if err := c.send(ctx, m); c.reconnecting(err) {
			wait = maxPause
		} else if err != nil {
			return answer{}, c.explain(err, m)
		}
		a, err := receive(ctx, inbox, wait)
		switch {
		case err == nil:
			repeated = attempt > 1
			return latest(ctx, inbox, a, repeated), nil
		case errors.Is(err, nats.ErrNoResponders):
			// If a responder has an earlier message, it may still reply.
			if !received && time.Since(begun) >= c.o.NoResponderWait {
				return answer{}, c.explain(err, m)
			}
			if err := sleep(ctx, pause); err != nil {
				return answer{}, c.explain(fmt.Errorf("%w: %w", nats.ErrNoResponders, err), m)
			}
			pause = min(2*pause, maxPause)
		case errors.Is(err, errNoReply):
			received = true
		default:
			return answer{}, c.explain(err, m)
		}
	}
}

// latest returns the reply that counts. If a repeated request is answered with
// already_delivered, the delivery itself may arrive a moment later and counts.
func latest(ctx context.Context, inbox *nats.Subscription, a answer, repeated bool) answer {
	if repeated && a.reply.Error != nil && a.reply.Error.Code == messages.CodeAlreadyDelivered {
		if late, err := receive(ctx, inbox, lateDelivery); err == nil {
			return late
		}
	}
	return a
}

// unsubscribe ends the subscription, after [lateDelivery] if the message was repeated:
// the broker may still reply to another of the messages, and "no responders" would mean
// that the credentials are undelivered.
func unsubscribe(inbox *nats.Subscription, repeated bool) {
	end := func() { _ = inbox.Unsubscribe() } // fails only on a closed connection
	if repeated {
		time.AfterFunc(lateDelivery, end)
		return
	}
	end()
}

// errNoReply means that a wait ended without a reply, before the context's deadline.
var errNoReply = errors.New("no reply yet")

// receive waits for the next reply on the inbox. It returns errNoReply if wait has
// passed, and the error of the context if that has ended.
func receive(ctx context.Context, inbox *nats.Subscription, wait time.Duration) (answer, error) {
	once, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := inbox.NextMsgWithContext(once)
	switch {
	case err == nil:
		reply, err := decode(m)
		return answer{message: m, reply: reply}, err
	case ctx.Err() != nil:
		return answer{}, ctx.Err()
	case once.Err() != nil:
		return answer{}, errNoReply
	}
	return answer{}, err
}

// send publishes m and returns when the server has processed it.
func (c *Client) send(ctx context.Context, m *nats.Msg) error {
	before := c.nc.LastError()
	if err := c.nc.PublishMsg(m); err != nil {
		return err
	}
	return c.flush(ctx, before, m.Subject)
}

// flush returns when the server has processed what was sent. The server reports a
// permission violation to the connection, not to the call; before is the connection's
// last error from before the call.
func (c *Client) flush(ctx context.Context, before error, subject string) error {
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	err := c.nc.LastError()
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) && err != before {
		return err
	}
	return nil
}

// reconnecting reports whether err is from a connection that was lost and is being
// restored: nats.go then ends a flush with ErrConnectionClosed.
func (c *Client) reconnecting(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) && !c.nc.IsClosed()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
