package lease

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// SafeText is what requesters and records may see of an error of the provider, or on
// the way to it.
func SafeText(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return provider.AsError(err).Safe()
}

// OperatorError is an error as an operator sees it: with AWS's own words if AWS answered,
// and worth a retry if NATS did not.
func OperatorError(err error) *messages.Error {
	var own *messages.Error
	var aws *provider.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &aws):
		return aws.ForOperators()
	case bucket.IsUnavailable(err) || errors.Is(err, context.Canceled):
		return messages.Errorf(messages.CodeUnavailable, "NATS did not answer the broker in time; some of it may be done: look, and try again").Because(err)
	}
	return messages.AsError(err)
}
