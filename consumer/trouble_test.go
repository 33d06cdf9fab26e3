package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// TestWhoAsksMayTryAgainWhereNATSWasAway: what passes by itself is told from what
// somebody was refused for, and from what nobody expects.
func TestWhoAsksMayTryAgainWhereNATSWasAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want messages.Code
	}{
		{nats.ErrTimeout, messages.CodeUnavailable},
		{nats.ErrNoResponders, messages.CodeUnavailable},
		{nats.ErrDisconnected, messages.CodeUnavailable},
		{nats.ErrReconnectBufExceeded, messages.CodeUnavailable},
		{context.DeadlineExceeded, messages.CodeUnavailable},
		{context.Canceled, messages.CodeUnavailable},
		{jetstream.ErrNoStreamResponse, messages.CodeUnavailable},
		{jetstream.ErrStreamNotFound, messages.CodeUnavailable},
		{jetstream.ErrBucketNotFound, messages.CodeUnavailable},
		{&jetstream.APIError{Code: 503, ErrorCode: notAvailable}, messages.CodeUnavailable},
		{&jetstream.APIError{Code: 500, ErrorCode: noStorage}, messages.CodeUnavailable},
		{&jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeBadRequest}, messages.CodeInternal},
		{errors.New("what nobody expects"), messages.CodeInternal},
		{messages.Errorf(messages.CodeSecretNotFound, "not there").Because(nats.ErrTimeout), messages.CodeSecretNotFound},
		{&provider.Error{Kind: provider.Unavailable, Err: context.DeadlineExceeded}, messages.CodeProviderUnavailable},
	} {
		err := fmt.Errorf("read a key: %w", c.err)
		answers := []*messages.Error{adminError(err)}
		if c.want != messages.CodeProviderUnavailable { // the front door asks AWS nothing
			answers = append(answers, doorError(err))
		}
		for _, e := range answers {
			if e.Code != c.want {
				t.Errorf("%v: %v", c.err, e)
			}
			if c.want == messages.CodeUnavailable && !(e.Retryable && errors.Is(e, c.err)) {
				t.Errorf("%v: it is not retryable, or the log has no cause: %v", c.err, e)
			}
		}
	}
}
