package awsiam

import (
	"context"
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
