package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/provider"
)

// Principal is who the broker is at AWS.
type Principal struct {
	Account string // its 12 digits
	ARN     string
}

// WhoAmI asks STS who a connection's principal is. The call needs no permission.
func (p *Provider) WhoAmI(ctx context.Context, c provider.Connection) (Principal, error) {
	connected, err := p.Connect(ctx, c)
	if err != nil {
		return Principal{}, err
	}
	out, err := connected.(*account).sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Principal{}, failure("GetCallerIdentity", err)
	}
	return Principal{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}
