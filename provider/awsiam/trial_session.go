package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/provider"
)

// The policy that shows whether policies can be put on a role. It denies what was
// long ago: nothing.
const (
	checkPolicyName = "lessor-check"
	denyThePast     = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*",` +
		`"Condition":{"DateLessThan":{"aws:CurrentTime":"2000-01-01T00:00:00Z"}}}]}`
)

// trySession is Try for a session of a role. The session that it begins can't be
// ended; its credentials are forgotten at once. Nothing is left that Delete could
// remove.
func (a *account) trySession(ctx context.Context, c provider.Creation) provider.DryRun {
	steps := []step{{op: "AssumeRole", do: func(ctx context.Context) error {
		_, err := a.beginSession(ctx, c)
		return err
	}}}
	if c.User.DenyOnRevoke {
		steps = append(steps, a.rolePolicy(ctx, c.User.Role)...)
	}
	t := provider.DryRun{Left: provider.LeftNothing}
	for _, s := range steps {
		t.Calls = append(t.Calls, a.try(ctx, attempt{step: s}))
	}
	return t
}

// rolePolicy are the steps that cut a session off, and forget that. For a role of
// another account it is the error alone: there may be one of the name in the
// broker's own.
func (a *account) rolePolicy(ctx context.Context, arn string) []step {
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
			return ignore(err, noSuchEntity) // where it could not be put
		}},
	}
}
