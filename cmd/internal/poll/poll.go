// Package poll waits for conditions that nothing announces.
package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lessorhq/lessor/messages/retry"
)

// Until calls done at the interval until it returns true or an error. If ctx ends first,
// it returns ctx's error.
func Until(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ctx.Err() == nil && (ok || err != nil) {
			return err
		}
		if ended := retry.Sleep(ctx, interval); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// Within calls try every 100 ms until it returns nil. After patience it returns try's
// last error, with what was waited for; if ctx ends first, it returns ctx's error.
func Within(ctx context.Context, patience time.Duration, what string, try func() error) error {
	const interval = 100 * time.Millisecond
	for end := time.Now().Add(patience); ; {
		err := try()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("not within %s: %s: %w", patience, what, err)
		}
		if err := retry.Sleep(ctx, interval); err != nil {
			return err
		}
	}
}
