package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Options configure a [Client].
type Options struct {
	// Identity is the requester's identity. NATS must allow the connection its
	// subjects.
	Identity string
	// Namespace is the namespace of the installation. The zero value has the prefix
	// "lessor".
	Namespace messages.Namespace
	// Timeout is how long a call waits for its reply if its context has no deadline;
	// 0 is 30s. A request also waits for its ready_within.
	Timeout time.Duration
	// Resend is how long a call waits for a reply before it sends its message again;
	// 0 is 15s. A request also waits for its ready_within.
	Resend time.Duration
	// NoResponderWait is how long a call continues to send its message while NATS
	// reports no responders, for example while a broker restarts; 0 is 3s. If it is
	// negative, the first report is an error.
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

// Client requests leases as one identity. It may be used by several goroutines.
type Client struct {
	nc *nats.Conn
	o  Options
}

// New returns a client on the connection, which the caller must close. It returns an
// error if nc is nil or the identity is not valid.
func New(nc *nats.Conn, o Options) (*Client, error) {
	if nc == nil {
		return nil, errors.New("a client needs a NATS connection")
	}
	if err := messages.CheckToken("identity", o.Identity); err != nil {
		return nil, err
	}
	return &Client{nc: nc, o: o.withDefaults()}, nil
}

// Identity returns the client's identity.
func (c *Client) Identity() string { return c.o.Identity }

// within returns a context with a deadline: the context's own, or the client's timeout
// plus more.
func (c *Client) within(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.o.Timeout+more)
}

// lease parses the name of a lease. It returns an error if the lease belongs to another
// identity.
func (c *Client) lease(name string) (messages.LeaseName, error) {
	l, err := messages.ParseLeaseName(name)
	if err != nil {
		return l, err
	}
	if l.Identity != c.o.Identity {
		return l, fmt.Errorf("lease %s belongs to %s, and this client has the identity %s", name, l.Identity, c.o.Identity)
	}
	return l, nil
}
