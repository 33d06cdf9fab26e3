package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Issued is a lease with its credentials.
type Issued struct {
	Lease messages.Lease
	// Credentials are empty if the request has an XKey. Sealed then has them, for
	// [messages.OpenSealed].
	Credentials messages.Credentials
	Sealed      *messages.Sealed
	// Ready reports whether AWS accepted the key before the delivery. It is nil if the
	// request has no ready_within.
	Ready *bool
	// IdempotencyKey is the idempotency key of the request.
	IdempotencyKey string
}

// RequestOption is an option of [Client.Request].
type RequestOption func(*requestOptions)

type requestOptions struct {
	idempotencyKey string
	sealed         bool
}

// IdempotencyKey sets the idempotency key, which makes a request safe to repeat by
// another call or process: one key, one lease. The repeated request must be the same,
// except for the deadline; a request with [Sealed] is different each time. Without this
// option, or with "", each call has a random key.
func IdempotencyKey(key string) RequestOption {
	return func(o *requestOptions) { o.idempotencyKey = key }
}

// Sealed requests that the credentials are sealed for a key that exists only during the
// call, so that only the caller can read them. A reply in clear is an error.
func Sealed() RequestOption { return func(o *requestOptions) { o.sealed = true } }

// Request requests a lease of a secret and waits for its credentials. Zero fields of r
// mean the secret's defaults. A zero deadline becomes the deadline of the context, so
// that the broker makes nothing for a requester that has stopped waiting.
//
// With r.Confirm, Request confirms the delivery after it has checked that the
// credentials are for this identity and secret. The broker revokes a lease that is not
// confirmed.
//
// If the broker's error is about a lease (already_delivered), the result has the lease.
func (c *Client) Request(ctx context.Context, secret string, r messages.LeaseRequest, options ...RequestOption) (Issued, error) {
	var o requestOptions
	for _, set := range options {
		set(&o)
	}
	if o.idempotencyKey == "" {
		o.idempotencyKey = rand.Text()
	}
	issued := Issued{IdempotencyKey: o.idempotencyKey}
	var open *opener
	if o.sealed {
		var err error
		if open, err = newOpener(&r); err != nil {
			return issued, err
		}
		defer open.wipe()
	}

	ctx, cancel := c.within(ctx, r.ReadyWithin.Std())
	defer cancel()
	if end, ok := ctx.Deadline(); ok && r.Deadline.IsZero() {
		r.Deadline = end.UTC().Truncate(time.Millisecond)
	}
	m, err := c.requestMessage(secret, r, o.idempotencyKey)
	if err != nil {
		return issued, err
	}
	delivery, err := c.exchange(ctx, m, c.o.Resend+r.ReadyWithin.Std())
	if err != nil {
		return issued, repeatable(err, o.idempotencyKey)
	}
	if err := c.take(&issued, delivery.reply, secret, r, open); err != nil {
		return issued, err
	}
	if r.Confirm {
		return issued, c.confirm(ctx, delivery.message)
	}
	return issued, nil
}

// requestMessage returns the message of a request. It makes the same checks as the
// broker.
func (c *Client) requestMessage(secret string, r messages.LeaseRequest, key string) (*nats.Msg, error) {
	if err := messages.CheckToken("secret", secret); err != nil {
		return nil, err
	}
	if err := messages.CheckIdempotencyKey(key); err != nil {
		return nil, err
	}
	if err := cmp.Or(checkSeconds("ttl", r.TTL), checkSeconds("ready_within", r.ReadyWithin)); err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	if _, err := messages.DecodeLeaseRequest(body); err != nil {
		return nil, err
	}
	m := nats.NewMsg(c.o.Namespace.API(string(messages.VerbRequest), c.o.Identity, secret))
	m.Header.Set(messages.HeaderIdempotencyKey, key)
	m.Data = body
	return m, nil
}

// take checks that the reply is for the request and copies it to issued.
func (c *Client) take(issued *Issued, reply messages.Reply, secret string, r messages.LeaseRequest, open *opener) error {
	if reply.Lease != nil {
		issued.Lease = *reply.Lease
	}
	if err := expect(reply, messages.KindCredentials); err != nil {
		return err
	}
	l := issued.Lease
	if l.Identity != c.o.Identity || l.Secret != secret || l.Name != l.Identity+"."+l.Secret+"."+l.ID {
		return fmt.Errorf("the reply is for lease %q, and the request of %s was for %s; it was not confirmed", l.Name, c.o.Identity, secret)
	}
	issued.Ready = reply.Ready
	switch {
	case reply.Sealed == nil && r.XKey != "":
		return fmt.Errorf("the credentials of lease %s are not sealed as requested; it was not confirmed: revoke it", l.Name)
	case open != nil:
		credentials, err := open.open(reply.Sealed, l)
		issued.Credentials = credentials
		return err
	case reply.Sealed != nil && r.XKey != "":
		issued.Sealed = reply.Sealed
		return nil
	case reply.Credentials == nil || reply.Credentials.AccessKeyID == "" || reply.Credentials.SecretAccessKey.IsZero():
		return fmt.Errorf("the reply for lease %s has no credentials; it was not confirmed", l.Name)
	}
	issued.Credentials = *reply.Credentials
	return nil
}

// confirm publishes on the reply subject of the delivery and flushes. The subject is of
// a stream in the broker's account, whose acknowledgement does not reach other accounts.
func (c *Client) confirm(ctx context.Context, delivery *nats.Msg) error {
	if delivery.Reply == "" {
		return fmt.Errorf("the delivery has no reply subject for the confirmation; the broker will revoke the lease")
	}
	if err := c.send(ctx, nats.NewMsg(delivery.Reply)); err != nil {
		return fmt.Errorf("the delivery could not be confirmed, and the broker will revoke the lease: %w", err)
	}
	return nil
}

// checkSeconds returns an error for durations that have no encoding. Half a second would
// become 0s, which means the default.
func checkSeconds(name string, d messages.Duration) error {
	if d < 0 || d.Std()%time.Second != 0 {
		return messages.Errorf(messages.CodeInvalidRequest, "%s is %s; it must be whole seconds, and not negative", name, d.Std())
	}
	return nil
}
