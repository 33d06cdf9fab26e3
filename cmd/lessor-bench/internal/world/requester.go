package world

import (
	"context"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/inspect"
	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/messages"
)

// Ask sends a plain request through the front door.
func (w *World) Ask(ctx context.Context, subject, body string) (messages.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	msg, err := w.Conn.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return messages.Reply{}, fmt.Errorf("%s: no answer: %w; is a broker there, and is --timeout long enough?", subject, err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err == nil && r.Error != nil {
		err = r.Error
	}
	return r, err
}

// Issue asks for a lease and returns its name.
func (w *World) Issue(ctx context.Context, secret, body string) (string, error) {
	r, err := w.Ask(ctx, w.NS.API("request", w.Identity, secret), body)
	if err != nil {
		return "", err
	}
	if r.Lease == nil {
		return "", fmt.Errorf("a request was answered with %s, and no lease", r.Kind)
	}
	return r.Lease.Name, nil
}

func (w *World) Renew(ctx context.Context, lease string) error {
	_, err := w.Ask(ctx, w.NS.API("renew", lease), "{}")
	return err
}

func (w *World) Revoke(ctx context.Context, lease string) error {
	_, err := w.Ask(ctx, w.NS.API("revoke", lease), "{}")
	return err
}

// Leases are leases that a part has.
type Leases struct {
	Names []string
}

// IssueMany issues n leases, or as many as can be begun in time, as the requesters do.
func (w *World) IssueMany(ctx context.Context, within time.Duration, n, atOnce int, secret, body string) (Leases, timing.Run, error) {
	all := Leases{Names: make([]string, n)}
	r, err := timing.RepeatWithin(ctx, within, n, atOnce, func(ctx context.Context, i int) (err error) {
		all.Names[i], err = w.Issue(ctx, secret, body)
		return err
	})
	all.Names = all.Names[:len(r.Each)]
	return all, r, err
}

func (w *World) RevokeMany(ctx context.Context, l Leases, atOnce int) (timing.Run, error) {
	return timing.Repeat(ctx, len(l.Names), atOnce, func(ctx context.Context, i int) error { return w.Revoke(ctx, l.Names[i]) })
}

// Warm issues a lease and revokes it: connections are made, and the broker has got its
// own credentials.
func (w *World) Warm(ctx context.Context) error {
	lease, err := w.Issue(ctx, w.Hard, "{}")
	if err != nil {
		return fmt.Errorf("the first lease: %w", err)
	}
	if err := w.Revoke(ctx, lease); err != nil {
		return fmt.Errorf("the first lease: %w", err)
	}
	if _, _, err := w.Floor.Run(ctx, 0, 1, 1); err != nil {
		return fmt.Errorf("the AWS SDK in a bare loop: %w", err)
	}
	return w.Quiet(ctx)
}

// Quiet waits until the brokers have written down all that they have answered.
func (w *World) Quiet(ctx context.Context) error {
	if w.Away {
		return nil
	}
	return poll.Until(ctx, Poll, func() (bool, error) {
		queued, err := inspect.Queued(ctx, w.JS, w.NS)
		return err == nil && len(queued) == 0, err
	})
}

// Poll is the interval at which conditions are looked at.
const Poll = 2 * time.Millisecond
