package awsiam

import (
	"context"
	"errors"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// Extend sets the date of the user's Deny. It may be repeated. The error is of kind
// Rejected for a user that does not exist, for a session, and for a zero date, which
// would remove the Deny.
func (a *account) Extend(ctx context.Context, user record.User, denyAfter time.Time) error {
	if user.IsSession() {
		return &provider.Error{Kind: provider.Rejected, Op: "the renewal", Err: errNotRenewable}
	}
	policy, err := definition.Compose(user.InlinePolicy, denyAfter)
	if err == nil && denyAfter.IsZero() {
		err = errors.New("no date")
	}
	if err != nil {
		return &provider.Error{Kind: provider.Rejected, Op: "the inline policy", Err: err}
	}
	ctx = throttle.WithPriority(ctx, throttle.Renewal)
	return a.run(ctx, a.putPolicy(user.Name, policy))
}
