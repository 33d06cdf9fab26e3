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

// Request sends an API request, without the Go client, and returns the reply. It returns
// the broker's error if the request is rejected.
func (w *World) Request(ctx context.Context, subject, body string) (messages.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	msg, err := w.Conn.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return messages.Reply{}, fmt.Errorf("%s: no answer: %w; is a broker running, and is --timeout long enough?", subject, err)
	}
	r, err := messages.DecodeReply(msg.Data)
	if err == nil && r.Error != nil {
		err = r.Error
	}
	return r, err
}

// Issue requests a lease of a dynamic secret and returns its name.
func (w *World) Issue(ctx context.Context, secret, body string) (string, error) {
	r, err := w.Request(ctx, w.NS.API("request", w.Identity, secret), body)
	if err != nil {
		return "", err
	}
	if r.Lease == nil {
		return "", fmt.Errorf("the reply to a request is a %s and has no lease", r.Kind)
	}
	return r.Lease.Name, nil
}

// Renew renews a lease.
func (w *World) Renew(ctx context.Context, lease string) error {
	_, err := w.Request(ctx, w.NS.API("renew", lease), "{}")
	return err
}

// Revoke revokes a lease.
func (w *World) Revoke(ctx context.Context, lease string) error {
	_, err := w.Request(ctx, w.NS.API("revoke", lease), "{}")
	return err
}

// IssueMany issues n leases, atOnce of them at a time, and returns their names. After the
// time limit it starts no more; 0 is no limit.
func (w *World) IssueMany(ctx context.Context, limit time.Duration, n, atOnce int, secret, body string) ([]string, timing.Run, error) {
	names := make([]string, n)
	r, err := timing.RepeatWithin(ctx, limit, n, atOnce, func(ctx context.Context, i int) (err error) {
		names[i], err = w.Issue(ctx, secret, body)
		return err
	})
	return names[:len(r.Each)], r, err
}

// RevokeMany revokes leases, atOnce of them at a time.
func (w *World) RevokeMany(ctx context.Context, leases []string, atOnce int) (timing.Run, error) {
	return timing.Repeat(ctx, len(leases), atOnce, func(ctx context.Context, i int) error { return w.Revoke(ctx, leases[i]) })
}

// Warm issues a lease and revokes it, so that connections to AWS are open and the broker
// has its credentials before anything is measured.
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

// Quiet waits until the work queues are empty: the brokers have answered before they
// acknowledge. It returns at once if the broker is remote.
func (w *World) Quiet(ctx context.Context) error {
	if w.Remote {
		return nil
	}
	return poll.Until(ctx, Poll, func() (bool, error) {
		queued, err := inspect.Queued(ctx, w.JS, w.NS)
		return err == nil && len(queued) == 0, err
	})
}

// Poll is the interval at which a part checks a condition.
const Poll = 2 * time.Millisecond
