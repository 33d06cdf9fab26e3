package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Renew moves the end of the lease with the name <identity>.<secret>.<id> and returns
// the renewed lease. The code of the error may be lease_not_found, lease_ended,
// not_renewable, ttl_exceeds_max or ttl_below_min.
func (c *Client) Renew(ctx context.Context, lease string, r messages.RenewRequest) (messages.Lease, error) {
	if err := checkSeconds("ttl", r.TTL); err != nil {
		return messages.Lease{}, err
	}
	return c.leaseCall(ctx, string(messages.VerbRenew), lease, r, messages.KindRenewed)
}

// Revoke ends a lease and returns when access has ended. The reason may be ""; it is
// stored with the lease. Revoking a lease that has ended is not an error. The broker
// continues if the context ends first.
func (c *Client) Revoke(ctx context.Context, lease, reason string) (messages.Lease, error) {
	r := messages.RevokeRequest{Reason: reason}
	body, err := json.Marshal(r)
	if err != nil {
		return messages.Lease{}, fmt.Errorf("write the revocation: %w", err)
	}
	if _, err := messages.DecodeRevokeRequest(body); err != nil {
		return messages.Lease{}, err
	}
	return c.leaseCall(ctx, string(messages.VerbRevoke), lease, r, messages.KindRevoked)
}

// Get returns a lease, without its credentials. A lease that has ended is known for 24
// hours.
func (c *Client) Get(ctx context.Context, lease string) (messages.Lease, error) {
	return c.leaseCall(ctx, "get", lease, nil, messages.KindLease)
}

// leaseCall sends a message about a lease and returns the lease in the reply. An error
// reply may have a lease, too.
func (c *Client) leaseCall(ctx context.Context, verb, lease string, body any, kind string) (messages.Lease, error) {
	l, err := c.lease(lease)
	if err != nil {
		return messages.Lease{}, err
	}
	reply, err := c.call(ctx, c.o.Namespace.API(verb, l.String()), body)
	if err != nil {
		return messages.Lease{}, err
	}
	var replied messages.Lease
	if reply.Lease != nil {
		replied = *reply.Lease
	}
	return replied, expect(reply, kind)
}

// call sends body as JSON, or no body if it is nil, and returns the reply.
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
