package awsiam

import (
	"context"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	endpoints "github.com/aws/smithy-go/endpoints"
)

// resolvedOnce caches a client's endpoint. The SDK evaluates its endpoint rules for
// every call, although their inputs do not change, which takes 3.6 % of the CPU time of
// a lease.
type resolvedOnce struct {
	iam.EndpointResolverV2
	last atomic.Pointer[resolved]
}

type resolved struct {
	params   endpointParams
	endpoint endpoints.Endpoint
}

// endpointParams are the values of [iam.EndpointParameters].
type endpointParams struct {
	region, endpoint string
	dualStack, fips  bool
}

// ResolveEndpoint implements [iam.EndpointResolverV2].
func (r *resolvedOnce) ResolveEndpoint(ctx context.Context, p iam.EndpointParameters) (endpoints.Endpoint, error) {
	params := endpointParams{aws.ToString(p.Region), aws.ToString(p.Endpoint), aws.ToBool(p.UseDualStack), aws.ToBool(p.UseFIPS)}
	if last := r.last.Load(); last != nil && last.params == params {
		return last.endpoint, nil
	}
	endpoint, err := r.EndpointResolverV2.ResolveEndpoint(ctx, p)
	if err == nil {
		r.last.Store(&resolved{params, endpoint})
	}
	return endpoint, err
}
