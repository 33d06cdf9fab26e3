package consumer

import (
	"context"

	"github.com/lessorhq/lessor/messages"
)

// CachedSecret returns the definition that a broker uses now.
func CachedSecret(c *Consumer, ctx context.Context, name string) (messages.DynamicSecret, error) {
	s, err := c.components.secrets.Get(ctx, name)
	return s.DynamicSecret, err
}

// HasReserve reports whether the free-space reserve is filled, and leases are made.
func (c *Consumer) HasReserve() bool {
	filled, err := c.components.reserve.Filled(context.Background())
	return err == nil && filled && !c.components.reserve.Spent()
}
