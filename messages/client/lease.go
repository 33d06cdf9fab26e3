package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Renew moves the end of a lease, named <identity>.<secret>.<id>, and returns the
// lease as it then is. The code of the error may be lease_not_found, lease_ended
// or ttl_exceeds_max.
func (c *Client) Renew(ctx context.Context, lease string, r messages.RenewRequest) (messages.Lease, error) {
	if err := checkSeconds("ttl", r.TTL); err != nil {
		return messages.Lease{}, err
	}
	return c.ask(ctx, string(messages.VerbRenew), lease, r, messages.KindRenewed)
}

// Revoke ends a lease and returns when the key and its user are gone. The reason,
// which may be "", is kept with the lease. A lease that has ended is no error.
// Where Revoke gives up waiting, the broker goes on.
func (c *Client) Revoke(ctx context.Context, lease, reason string) (messages.Lease, error) {
	r := messages.RevokeRequest{Reason: reason}
	body, err := json.Marshal(r)
	if err != nil {
		return messages.Lease{}, fmt.Errorf("write the revocation: %w", err)
	}
	if _, err := messages.DecodeRevokeRequest(body); err != nil {
		return messages.Lease{}, err
	}
	return c.ask(ctx, string(messages.VerbRevoke), lease, r, messages.KindRevoked)
}

// Get returns a lease as it is. Its credentials are told once, on delivery, and
// not here. Leases that ended are known for 24 hours.
func (c *Client) Get(ctx context.Context, lease string) (messages.Lease, error) {
	return c.ask(ctx, "get", lease, nil, messages.KindLease)
}

// ask sends a message about a lease. The lease is returned with an error too
// where the broker told of it.
func (c *Client) ask(ctx context.Context, verb, lease string, body any, kind string) (messages.Lease, error) {
	l, err := c.lease(lease)
	if err != nil {
		return messages.Lease{}, err
	}
	reply, err := c.call(ctx, c.o.Namespace.API(verb, l.String()), body)
	if err != nil {
		return messages.Lease{}, err
	}
	var told messages.Lease
	if reply.Lease != nil {
		told = *reply.Lease
	}
	return told, expect(reply, kind)
}

// call sends a JSON body, nil for none, and returns the reply.
func (c *Client) call(ctx context.Context, subject string, body any) (messages.Reply, error) {
	m := nats.NewMsg(subject)
	if body != nil {
		var err error
		if m.Data, err = json.Marshal(body); err != nil {
			return messages.Reply{}, fmt.Errorf("write the message for %s: %w", subject, err)
		}
	}
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	a, err := c.exchange(ctx, m, c.o.Resend)
	return a.reply, err
}
