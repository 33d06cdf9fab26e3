package awsiam

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// tracker records what is known of a call over all its attempts.
type tracker struct {
	// ambiguous states that an attempt was sent, and that it is not known whether AWS
	// has carried it out.
	ambiguous atomic.Bool
}

type trackerKey struct{}

// track returns a context whose call is recorded in t.
func (t *tracker) track(ctx context.Context) context.Context {
	return context.WithValue(ctx, trackerKey{}, t)
}

// addMiddleware adds this package's middleware to a client's stack. It runs for every
// attempt.
func addMiddleware(stack *middleware.Stack) error {
	if err := stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LessorTracker", recordAttempt), middleware.Before); err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LessorEmptyAnswer", refuseEmpty), middleware.After)
}

// recordAttempt records an attempt that got a connection and no definite answer.
func recordAttempt(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, m middleware.Metadata, err error,
) {
	t, ok := ctx.Value(trackerKey{}).(*tracker)
	if !ok {
		return next.HandleDeserialize(ctx, in)
	}
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	out, m, err = next.HandleDeserialize(ctx, in)
	if err != nil && sent.Load() && !isDefinite(out.RawResponse, err) {
		t.ambiguous.Store(true)
	}
	return out, m, err
}

// isDefinite reports whether an error states that AWS did nothing: it is an answer in
// AWS's own format, and blames the caller.
func isDefinite(response any, err error) bool {
	if awserr.IsThrottling(code(err)) {
		return true
	}
	r, ok := response.(*smithyhttp.Response)
	return ok && r.StatusCode >= 400 && r.StatusCode < 500 && code(err) != ""
}

// errEmpty is the error of an answer without a body. The SDK would take it for a
// success, or for an empty list, but no answer of IAM or STS is empty.
var errEmpty error = &emptyAnswerError{}

type emptyAnswerError struct{}

func (*emptyAnswerError) Error() string { return "the answer has no body" }

// RetryableError tells the SDK to repeat the call.
func (*emptyAnswerError) RetryableError() bool { return true }

// refuseEmpty returns [errEmpty] for an answer without a body.
func refuseEmpty(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, m middleware.Metadata, err error,
) {
	out, m, err = next.HandleDeserialize(ctx, in)
	r, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || r.StatusCode >= 300 {
		return out, m, err
	}
	body := bufio.NewReaderSize(r.Body, 16) // the smallest buffer; larger reads bypass it
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return out, m, errEmpty
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return out, m, nil
}
