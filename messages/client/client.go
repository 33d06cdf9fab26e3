package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Options say who asks, and how patiently.
type Options struct {
	// Identity is who asks. NATS must allow the connection this identity's
	// subjects.
	Identity string
	// Namespace is the installation's; the zero value is that of the prefix
	// "lessor".
	Namespace messages.Namespace
	// Timeout is how long a call waits for its answer where its context has no
	// deadline; 0 is 30s. A request that waits for AWS to accept the key has its
	// ready_within on top.
	Timeout time.Duration
	// Resend is how long a message stays unanswered before it is sent again;
	// 0 is 15s. A request has its ready_within on top.
	Resend time.Duration
	// NoResponderWait is how long to go on asking while NATS says that nobody listens,
	// as while a broker restarts; 0 is 3s, negative asks once.
	NoResponderWait time.Duration
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Timeout, 30*time.Second)
	set(&o.Resend, 15*time.Second)
	set(&o.NoResponderWait, 3*time.Second)
	return o
}

// Client asks for leases as one identity. It may be used by many goroutines.
type Client struct {
	nc *nats.Conn
	o  Options
}

// New returns a client on the connection, which stays the caller's to close. The
// error is for an identity that is not one.
func New(nc *nats.Conn, o Options) (*Client, error) {
	if nc == nil {
		return nil, errors.New("a client needs a NATS connection")
	}
	if err := messages.CheckToken("identity", o.Identity); err != nil {
		return nil, err
	}
	return &Client{nc: nc, o: o.withDefaults()}, nil
}

// Identity returns who asks.
func (c *Client) Identity() string { return c.o.Identity }

// within gives the context a deadline where it has none.
func (c *Client) within(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.o.Timeout+more)
}

// lease reads the name of a lease of this client's identity.
func (c *Client) lease(name string) (messages.LeaseName, error) {
	l, err := messages.ParseLeaseName(name)
	if err != nil {
		return l, err
	}
	if l.Identity != c.o.Identity {
		return l, fmt.Errorf("lease %s belongs to %s, and this client asks as %s", name, l.Identity, c.o.Identity)
	}
	return l, nil
}
