package consumer

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// CachedSecret is the definition that a broker would go by now.
func CachedSecret(c *Consumer, ctx context.Context, name string) (messages.DynamicSecret, error) {
	d, err := c.secrets.cached(ctx, name)
	return d.DynamicSecret, err
}

// Publisher is what hands deliveries to NATS. The function it returns says whether
// anybody listened; stop ends it.
func Publisher(conn *nats.Conn, n messages.Namespace) (publish func(context.Context, *nats.Msg) (bool, error), stop func(), err error) {
	d, err := newDeliverer(conn, n)
	if err != nil {
		return nil, nil, err
	}
	return d.publish, d.close, nil
}

// HasReserve says whether room is kept for what ends leases, and new leases are given.
func (c *Consumer) HasReserve() bool {
	there, err := c.reserve.isThere(context.Background())
	return err == nil && there && !c.reserve.isSpent()
}

// FullOfTidying has as many wait to be tidied up as may, until the returned function is
// called.
func (c *Consumer) FullOfTidying() (free func()) {
	c.tidying.waiting.Add(maxTidying)
	return func() { c.tidying.waiting.Add(-maxTidying) }
}

// Sharing is what has those who want the same done share it.
type Sharing struct{ sharing }

// Do is its one method.
func (s *Sharing) Do(ctx context.Context, key string, f func(context.Context) (any, error)) (any, error) {
	return s.do(ctx, key, f)
}
