package awsiam

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// sender sends the attempts at calls. It sends headers and body in one packet, and
// bounds the time of an attempt.
//
// The SDK wraps a request's body, so that net/http does not see that it is in memory
// and sends the headers in a packet of their own, which takes 3 % of the CPU time of a
// lease. The SDK's own Timeout makes net/http start a goroutine for each request, because
// the SDK wraps the transport as well, which takes 2 %.
type sender struct {
	aws.HTTPClient
	timeout time.Duration // of an attempt, from the wait for a connection to the end of the answer
}

// newSender returns a sender that uses c. It freezes c, because the SDK would copy the
// client, and its pool of connections, for each service and configuration.
func newSender(c aws.HTTPClient, timeout time.Duration) aws.HTTPClient {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		c = b.WithTimeout(0).Freeze()
	}
	return sender{c, timeout}
}

const (
	maxBuffered = 64 << 10 // a larger body is not copied
	writeBuffer = 16 << 10 // of a connection: IAM's largest call, an escaped policy, fits in
)

// Do sends a request. The request has no GetBody, so that net/http does not repeat it
// by itself.
func (s sender) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	r = r.WithContext(ctx)
	if err := bufferBody(r); err != nil {
		cancel()
		return nil, err
	}
	answer, err := s.HTTPClient.Do(r)
	if err != nil {
		cancel()
		return answer, err
	}
	answer.Body = boundedBody{answer.Body, cancel}
	return answer, nil
}

// bufferBody replaces a request's body by a copy in memory, unless it is too large.
func bufferBody(r *http.Request) error {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxBuffered {
		return nil
	}
	body := bytes.NewBuffer(make([]byte, 0, r.ContentLength+bytes.MinRead))
	_, err := body.ReadFrom(r.Body)
	if closeErr := r.Body.Close(); err == nil {
		err = closeErr
	}
	r.Body = io.NopCloser(body)
	return err
}

// boundedBody is the body of an answer. The SDK reads it to its end and closes it,
// which ends the attempt's context.
type boundedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
