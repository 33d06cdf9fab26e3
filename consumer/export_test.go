package consumer

import (
	"context"

	"github.com/lessorhq/lessor/messages"
)

// CachedSecret is the definition that a broker would go by now.
func CachedSecret(c *Consumer, ctx context.Context, name string) (messages.DynamicSecret, error) {
	return c.secrets.cached(ctx, name)
}
