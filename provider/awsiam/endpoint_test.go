package awsiam

import (
	"context"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	endpoints "github.com/aws/smithy-go/endpoints"
)

// countingResolver counts the evaluations of the SDK's rules.
type countingResolver struct {
	iam.EndpointResolverV2
	asked int
}

func (r *countingResolver) ResolveEndpoint(ctx context.Context, p iam.EndpointParameters) (endpoints.Endpoint, error) {
	r.asked++
	return r.EndpointResolverV2.ResolveEndpoint(ctx, p)
}

func TestEndpointIsResolvedOnce(t *testing.T) {
	sdk := iam.NewDefaultEndpointResolverV2()
	inner := &countingResolver{EndpointResolverV2: sdk}
	r := &resolvedOnce{EndpointResolverV2: inner}
	// The parameters of an endpoint, changed one after the other and back.
	params := func(region, endpoint *string, fips, dual bool) iam.EndpointParameters {
		return iam.EndpointParameters{Region: region, Endpoint: endpoint, UseFIPS: &fips, UseDualStack: &dual}
	}
	east, china, gov, custom := aws.String("us-east-1"), aws.String("cn-north-1"), aws.String("us-gov-west-1"), aws.String("http://127.0.0.1:1")
	all := []iam.EndpointParameters{
		params(east, nil, false, false), params(china, nil, false, false), params(gov, nil, false, false), params(east, custom, false, false),
		params(east, nil, true, false), params(east, nil, false, true), params(east, nil, false, false),
	}
	for i, p := range all {
		want, err := sdk.ResolveEndpoint(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got, err := r.ResolveEndpoint(t.Context(), p); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("endpoint %d is %+v, %v; the SDK resolves %+v", i, got, err, want)
			}
		}
		if inner.asked != i+1 {
			t.Errorf("%d parameters were resolved %d times", i+1, inner.asked)
		}
	}
}

func TestEndpointErrorsAreNotCached(t *testing.T) {
	inner := &countingResolver{EndpointResolverV2: iam.NewDefaultEndpointResolverV2()}
	r := &resolvedOnce{EndpointResolverV2: inner}
	for range 2 {
		if _, err := r.ResolveEndpoint(t.Context(), iam.EndpointParameters{Endpoint: aws.String("http://127.0.0.1:1"), UseFIPS: aws.Bool(true), UseDualStack: aws.Bool(false)}); err == nil {
			t.Error("a custom endpoint with FIPS was resolved")
		}
	}
	if inner.asked != 2 {
		t.Errorf("the endpoint was resolved %d times", inner.asked)
	}
}
