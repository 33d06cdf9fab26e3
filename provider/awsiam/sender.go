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

// sender sends the attempts at calls: one write each, and none for longer than it may
// take.
//
// The SDK hides from net/http that a body is in memory, so that it would send the
// headers by themselves first: a second packet, and a second read at the other end, for
// each call. And it hides the transport, so that net/http would watch a client's
// Timeout with a goroutine for each call.
type sender struct {
	aws.HTTPClient
	timeout time.Duration // of an attempt, from the wait for a connection to the end of the answer
}

// newSender makes a client ready that the SDK can't change any more: it would copy it,
// and its pool of connections, for each service and each configuration.
func newSender(c aws.HTTPClient, timeout time.Duration) aws.HTTPClient {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		c = b.WithTimeout(0).Freeze()
	}
	return sender{c, timeout}
}

// maxInOneWrite bounds what is copied, and writeBuffer is what a connection writes at
// once: IAM's largest call, a policy with its escapes, fits in.
const (
	maxInOneWrite = 64 << 10
	writeBuffer   = 16 << 10
)

// Do is described at [aws.HTTPClient]. The request has no GetBody, as before: net/http
// must not send it again by itself.
func (s sender) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	r = r.WithContext(ctx)
	if err := hold(r); err != nil {
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

// hold has a request hold its body in memory, if it is not too large for that.
func hold(r *http.Request) error {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxInOneWrite {
		return nil
	}
	body := bytes.NewBuffer(make([]byte, 0, r.ContentLength+bytes.MinRead))
	_, err := body.ReadFrom(r.Body)
	if closing := r.Body.Close(); err == nil {
		err = closing
	}
	r.Body = io.NopCloser(body)
	return err
}

// boundedBody is the body of an answer, which the SDK reads to its end and closes.
type boundedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
