package awsiam

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"regexp"
	"sync/atomic"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// outcome is what is known of a call over all its attempts.
type outcome struct {
	// unsure says that an attempt was sent of which nobody knows whether AWS
	// carried it out.
	unsure atomic.Bool
}

type outcomeKey struct{}

// follow returns a context in which a call is followed.
func (o *outcome) follow(ctx context.Context) context.Context {
	return context.WithValue(ctx, outcomeKey{}, o)
}

// addWire adds to the SDK's stack what is done for every attempt.
func addWire(stack *middleware.Stack) error {
	if err := stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LessorOutcome", recordOutcome), middleware.Before); err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LessorEmptyAnswer", refuseEmpty), middleware.After)
}

// recordOutcome notes where an attempt that reached a connection ended without
// a definite answer.
func recordOutcome(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, m middleware.Metadata, err error,
) {
	o, ok := ctx.Value(outcomeKey{}).(*outcome)
	if !ok {
		return next.HandleDeserialize(ctx, in)
	}
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	out, m, err = next.HandleDeserialize(ctx, in)
	if err != nil && sent.Load() && !definite(out.RawResponse, err) {
		o.unsure.Store(true)
	}
	return out, m, err
}

// definite says whether an error is AWS's word that it did nothing: an error in
// its own format that puts the blame on the caller.
func definite(response any, err error) bool {
	if isThrottling(code(err)) {
		return true
	}
	r, ok := response.(*smithyhttp.Response)
	return ok && r.StatusCode >= 400 && r.StatusCode < 500 && code(err) != ""
}

// errEmpty is an answer without a body. The SDK would take it for success, and
// for an empty list; no answer of IAM's or STS's is empty.
var errEmpty error = &emptyAnswerError{}

type emptyAnswerError struct{}

func (*emptyAnswerError) Error() string { return "the answer has no body" }

// RetryableError tells the SDK to try again.
func (*emptyAnswerError) RetryableError() bool { return true }

func refuseEmpty(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, m middleware.Metadata, err error,
) {
	out, m, err = next.HandleDeserialize(ctx, in)
	r, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || r.StatusCode >= 300 {
		return out, m, err
	}
	body := bufio.NewReaderSize(r.Body, 16) // the smallest there is: what is read passes it by
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return out, m, errEmpty
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return out, m, nil
}

// code is AWS's code for an error of the call itself, "" if AWS did not answer in
// its own format, or if the call was never made.
func code(err error) string {
	if isUnsigned(err) {
		return ""
	}
	return answered(err)
}

// answered is AWS's code for an error of whatever call.
func answered(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() == "UnknownError" || !codeGrammar.MatchString(e.ErrorCode()) {
		return "" // UnknownError is the SDK's word for an answer that it can't read
	}
	return e.ErrorCode()
}

// codeGrammar is what AWS's codes look like. They are shown to requesters and stay in
// records, so something else in their place is none.
var codeGrammar = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)
