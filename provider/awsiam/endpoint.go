package awsiam

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	endpoints "github.com/aws/smithy-go/endpoints"
)

// resolvedOnce finds a client's endpoint once. The SDK goes through its rules for each
// call, though nothing that they depend on changes from call to call: a tenth of what
// a call costs it.
type resolvedOnce struct {
	iam.EndpointResolverV2
	last atomic.Pointer[resolution]
}

type resolution struct {
	inputs endpointInputs
	is     endpoints.Endpoint
}

// endpointInputs are [iam.EndpointParameters], by their values.
type endpointInputs struct {
	region, endpoint string
	dualStack, fips  bool
}

// ResolveEndpoint is described at [iam.EndpointResolverV2].
func (r *resolvedOnce) ResolveEndpoint(ctx context.Context, p iam.EndpointParameters) (endpoints.Endpoint, error) {
	in := endpointInputs{aws.ToString(p.Region), aws.ToString(p.Endpoint), aws.ToBool(p.UseDualStack), aws.ToBool(p.UseFIPS)}
	if last := r.last.Load(); last != nil && last.inputs == in {
		return last.is, nil
	}
	is, err := r.EndpointResolverV2.ResolveEndpoint(ctx, p)
	if err == nil {
		r.last.Store(&resolution{in, is})
	}
	return is, err
}

// inOneWrite sends a call's headers and body together. The SDK hides from net/http
// that the body is in memory, so that it would send the headers by themselves first:
// a second packet, and a second read at the other end, for each call.
type inOneWrite struct{ aws.HTTPClient }

// maxInOneWrite bounds what is copied; IAM's largest call is a policy of some KiB.
const maxInOneWrite = 64 << 10

// Do is described at [aws.HTTPClient]. The request has no GetBody, as before: net/http
// must not send it again by itself.
func (c inOneWrite) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxInOneWrite {
		return c.HTTPClient.Do(r)
	}
	body := bytes.NewBuffer(make([]byte, 0, r.ContentLength+bytes.MinRead))
	_, err := body.ReadFrom(r.Body)
	if closing := r.Body.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(body)
	return c.HTTPClient.Do(r)
}
