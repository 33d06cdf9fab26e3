package consumer

import (
	"time"
)

// followSecrets keeps the copy of the dynamic secrets up to date for as long as
// the consumer takes new work.
func (c *Consumer) followSecrets() {
	ctx := c.following
	for wait := 250 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		kv, err := c.js.KeyValue(ctx, c.cfg.Namespace.SecretBucket())
		if err == nil {
			err = c.secrets.watch(ctx, kv)
		}
		if ctx.Err() != nil {
			return
		}
		// The copy may be out of date from here on: let requests ask the bucket.
		c.secrets.forgetAll()
		c.log.Warn().Err(err).Msg("following the dynamic secrets failed; trying again")
		_ = pause(ctx, wait) // ctx is looked at next
	}
}
