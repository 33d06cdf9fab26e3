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
	// Credentials are empty where the request came with an XKey of the caller's
	// own: then Sealed holds them, for [messages.OpenSealed].
	Credentials messages.Credentials
	Sealed      *messages.Sealed
	// Ready says whether AWS accepted the key before the delivery; nil where
	// the request had no ready_within.
	Ready *bool
	// IdempotencyKey is the one that the request carried.
	IdempotencyKey string
}

// RequestOption changes how [Client.Request] asks.
type RequestOption func(*requestOptions)

type requestOptions struct {
	idempotencyKey string
	sealed         bool
}

// IdempotencyKey makes a request safe to repeat by another call, or another
// process: one key, one lease. It must then have the same body, the deadline
// apart; a request with [Sealed] has another body each time. Without this option,
// or with "", every call has a key of its own.
func IdempotencyKey(key string) RequestOption {
	return func(o *requestOptions) { o.idempotencyKey = key }
}

// Sealed has the credentials sealed for a key that exists only during the call,
// so that nobody between reads them. An answer in clear is then an error.
func Sealed() RequestOption { return func(o *requestOptions) { o.sealed = true } }

// Request asks for a lease of secret and waits for its credentials. What r leaves
// zero is the secret's default; its deadline, where zero, becomes the context's,
// so that nothing is made for a requester who has gone.
//
// With r.Confirm the delivery is confirmed before Request returns, and not
// before the credentials were found to be for this identity and secret. A
// delivery that is not confirmed has its lease revoked by the broker.
//
// Where the broker told of a lease with its error (already_delivered), the
// result has the lease.
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

// requestMessage makes the message, checked as the broker will check it.
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

// take checks that the reply is what was asked for, and takes it over.
func (c *Client) take(issued *Issued, reply messages.Reply, secret string, r messages.LeaseRequest, open *opener) error {
	if reply.Lease != nil {
		issued.Lease = *reply.Lease
	}
	if err := expect(reply, messages.KindCredentials); err != nil {
		return err
	}
	l := issued.Lease
	if l.Identity != c.o.Identity || l.Secret != secret || l.Name != l.Identity+"."+l.Secret+"."+l.ID {
		return fmt.Errorf("the answer is for lease %q, which is not what %s asked of %s; it was not confirmed", l.Name, c.o.Identity, secret)
	}
	issued.Ready = reply.Ready
	switch {
	case reply.Sealed == nil && r.XKey != "":
		return fmt.Errorf("lease %s came in clear though it was asked for sealed; it was not confirmed: revoke it", l.Name)
	case open != nil:
		credentials, err := open.open(reply.Sealed, l)
		issued.Credentials = credentials
		return err
	case reply.Sealed != nil && r.XKey != "":
		issued.Sealed = reply.Sealed
		return nil
	case reply.Credentials == nil || reply.Credentials.AccessKeyID == "" || reply.Credentials.SecretAccessKey.IsZero():
		return fmt.Errorf("the answer for lease %s has no credentials; it was not confirmed", l.Name)
	}
	issued.Credentials = *reply.Credentials
	return nil
}

// confirm answers the delivery. Its reply subject leads to a stream of the
// broker's, in general in another account, whose acknowledgement does not come
// back; so it is published and flushed.
func (c *Client) confirm(ctx context.Context, delivery *nats.Msg) error {
	if delivery.Reply == "" {
		return fmt.Errorf("the delivery has no reply subject to confirm it on; the broker will revoke the lease")
	}
	if err := c.send(ctx, nats.NewMsg(delivery.Reply)); err != nil {
		return fmt.Errorf("the delivery could not be confirmed, and the broker will revoke the lease: %w", err)
	}
	return nil
}

// checkSeconds refuses what the wire can't carry: half a second would be written
// as 0s and stand for the default.
func checkSeconds(name string, d messages.Duration) error {
	if d < 0 || d.Std()%time.Second != 0 {
		return messages.Errorf(messages.CodeInvalidRequest, "%s is %s; it must be whole seconds, and not negative", name, d.Std())
	}
	return nil
}
