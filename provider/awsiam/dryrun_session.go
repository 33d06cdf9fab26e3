package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// The policy that tests whether policies can be put on a role. It denies calls before
// 2000, that is, none.
const (
	checkPolicyName = "lessor-check"
	denyThePast     = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*",` +
		`"Condition":{"DateLessThan":{"aws:CurrentTime":"2000-01-01T00:00:00Z"}}}]}`
)

// dryRunSession is DryRun for a session of a role. The session that it begins cannot be
// ended; its credentials are dropped at once. It leaves nothing that Delete could remove.
func (a *account) dryRunSession(ctx context.Context, c provider.Creation) provider.DryRun {
	steps := []step{{op: "AssumeRole", do: func(ctx context.Context) error {
		_, err := a.beginSession(ctx, c)
		return err
	}}}
	if c.User.DenyOnRevoke {
		steps = append(steps, a.rolePolicySteps(ctx, c.User.Role)...)
	}
	d := provider.DryRun{Left: provider.LeftNothing}
	for _, s := range steps {
		d.Calls = append(d.Calls, a.try(ctx, dryCall{step: s}))
	}
	return d
}

// rolePolicySteps returns the steps that put a policy on a role and remove it. For a role
// in another account it returns a step that fails: the broker's own account may have a role
// with the same name.
func (a *account) rolePolicySteps(ctx context.Context, arn string) []step {
	if err := a.checkRole(ctx, arn); err != nil {
		return []step{{op: "PutRolePolicy", do: func(context.Context) error { return err }}}
	}
	role, name := roleName(arn), aws.String(checkPolicyName)
	return []step{
		{op: "PutRolePolicy", do: func(ctx context.Context) error {
			_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: name, PolicyDocument: aws.String(denyThePast)})
			return err
		}},
		{op: "DeleteRolePolicy", do: func(ctx context.Context) error {
			_, err := a.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: name})
			return ignore(err, awserr.NoSuchEntity) // PutRolePolicy may have failed
		}},
	}
}
