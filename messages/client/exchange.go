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

// Waits between tries while nobody listens.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// lateDelivery is how long the credentials of an earlier try may come after the
// answer to a later one that they are delivered: the two travel on different
// connections.
const lateDelivery = 2 * time.Second

// answer is a broker's reply and the message that brought it.
type answer struct {
	message *nats.Msg
	reply   messages.Reply
}

// exchange sends m until it is answered, again whenever resend has passed. All
// tries have one reply subject, and an answer to any of them counts. An error
// reply is an answer, not an error. The context has a deadline.
func (c *Client) exchange(ctx context.Context, m *nats.Msg, resend time.Duration) (answer, error) {
	m.Reply = c.nc.NewInbox()
	inbox, err := c.nc.SubscribeSync(m.Reply)
	if err != nil {
		return answer{}, c.explain(err, m)
	}
	repeated := false // and answered: another answer may be on its way
	defer func() { leave(inbox, repeated) }()

	// An answer that can't come back would be a lease for nobody: ask only when
	// NATS has taken the subscription.
	if err := c.flush(ctx, nil, m.Reply); err != nil && !c.passing(err) {
		return answer{}, c.explain(err, m)
	}

	begun, heard, pause := time.Now(), false, firstPause
	for try := 1; ; try++ {
		wait := resend
		if err := c.send(ctx, m); c.passing(err) {
			wait = maxPause
		} else if err != nil {
			return answer{}, c.explain(err, m)
		}
		a, err := receive(ctx, inbox, wait)
		switch {
		case err == nil:
			repeated = try > 1
			return overtaken(ctx, inbox, a, repeated), nil
		case errors.Is(err, nats.ErrNoResponders):
			// An earlier try that somebody heard may still be answered.
			if !heard && time.Since(begun) >= c.o.NoResponderWait {
				return answer{}, c.explain(err, m)
			}
			if err := sleep(ctx, pause); err != nil {
				return answer{}, c.explain(fmt.Errorf("%w: %w", nats.ErrNoResponders, err), m)
			}
			pause = min(2*pause, maxPause)
		case errors.Is(err, errSilence):
			heard = true
		default:
			return answer{}, c.explain(err, m)
		}
	}
}

// overtaken returns the answer that counts: where a repeat is told that the
// credentials were delivered, they are what counts, and may be a little behind.
func overtaken(ctx context.Context, inbox *nats.Subscription, a answer, repeated bool) answer {
	if repeated && a.reply.Error != nil && a.reply.Error.Code == messages.CodeAlreadyDelivered {
		if late, err := receive(ctx, inbox, lateDelivery); err == nil {
			return late
		}
	}
	return a
}

// leave ends the subscription. Where a repeated message was answered, the broker
// may still be about to answer another try, and should not hear then that nobody
// listens: it would take the credentials for undelivered.
func leave(inbox *nats.Subscription, repeated bool) {
	// A connection that is gone has no subscription left to end.
	end := func() { _ = inbox.Unsubscribe() }
	if repeated {
		time.AfterFunc(lateDelivery, end)
		return
	}
	end()
}

// errSilence is a wait that ended without an answer, with time left for another.
var errSilence = errors.New("no answer yet")

// receive waits for the next answer on the inbox.
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
		return answer{}, errSilence
	}
	return answer{}, err
}

// send publishes m and returns when the server has it.
func (c *Client) send(ctx context.Context, m *nats.Msg) error {
	before := c.nc.LastError()
	if err := c.nc.PublishMsg(m); err != nil {
		return err
	}
	return c.flush(ctx, before, m.Subject)
}

// flush returns when the server has what was sent to it. That it refuses a
// subject it tells the connection and not the caller; before is the connection's
// last error from before.
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

// passing says whether the connection broke while something was sent, and is
// being made anew: nats.go then ends a flush as if it were closed.
func (c *Client) passing(err error) bool {
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
