package awsiam

import (
	"context"

	"github.com/lessorhq/lessor/messages"
)

// Cut denies everything to a session.
func (a *account) Cut(context.Context, messages.User) error { panic("not yet") }
