package lease

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

func TestOperatorErrorHasAWSsWords(t *testing.T) {
	t.Parallel()
	aws := &provider.Error{Kind: provider.Denied, Op: "CreateUser", Code: "AccessDenied", Words: "on arn:aws:iam::1:user/x", Err: errors.New("x")}
	for err, want := range map[error]messages.Code{
		messages.Errorf(messages.CodeLeaseEnded, "it has ended"): messages.CodeLeaseEnded,
		aws:                          messages.CodeProviderDenied,
		nats.ErrTimeout:              messages.CodeUnavailable,
		context.Canceled:             messages.CodeUnavailable,
		errors.New("something else"): messages.CodeInternal,
	} {
		if e := OperatorError(err); e.Code != want {
			t.Errorf("%v: %v", err, e)
		}
	}
	if e := OperatorError(aws); !strings.Contains(e.Message, "arn:aws:iam") {
		t.Errorf("%v", e)
	}
}
