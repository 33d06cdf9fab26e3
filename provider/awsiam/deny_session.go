package awsiam

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// denyPrefix is the prefix of the policies that deny sessions. The session's name
// follows.
const denyPrefix = "lessor-deny-"

var (
	errNotDeniable  = errors.New("the session has no deny_on_revoke, or its name or role is not valid")
	errOtherAccount = errors.New("the role is in another account than the broker")
)

// DenySession puts a policy on the session's role that denies the session everything.
// It may be repeated. Delete removes the policy. Until then it uses some of the 10,240
// characters that the inline policies of a role have together, enough for about fifty
// sessions. If there is no room, the error is of kind Unavailable: there will be when
// another denied session has expired.
//
// A role that does not exist has no sessions, and is no error. A role in another account
// is an error: IAM finds roles of its caller's account only, and would put the policy on
// a role there that has the same name.
func (a *account) DenySession(ctx context.Context, session record.User) error {
	if !isDeniable(session) {
		return &provider.Error{Kind: provider.Rejected, Op: "PutRolePolicy", Err: errNotDeniable}
	}
	ctx = throttle.WithPriority(ctx, throttle.EndAccess)
	if err := a.checkRole(ctx, session.Role); err != nil {
		return err
	}
	err := a.run(ctx, step{op: "PutRolePolicy", do: func(ctx context.Context) error {
		_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName: roleName(session.Role), PolicyName: aws.String(denyPrefix + session.Name), PolicyDocument: aws.String(denyPolicy(session.Name)),
		})
		return err
	}})
	if code(err) == awserr.LimitExceeded {
		e := *provider.AsError(err)
		e.Kind = provider.Unavailable
		return &e
	}
	return ignore(err, awserr.NoSuchEntity)
}

// deleteSession removes the policy that DenySession has put on the role. It must not be
// called before the session has expired.
func (a *account) deleteSession(ctx context.Context, d provider.Deletion) error {
	if d.Mode == provider.DeleteKey || !isDeniable(d.User) {
		return nil
	}
	err := a.run(ctx, step{op: "DeleteRolePolicy", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{
			RoleName: roleName(d.User.Role), PolicyName: aws.String(denyPrefix + d.User.Name),
		})
		return err
	}})
	if err = ignore(err, awserr.NoSuchEntity); err == nil || provider.AsError(err).Kind != provider.Denied {
		return err
	}
	// A broker without permissions for roles of its own account has put no policy on a
	// role of another one.
	if own, unknown := a.hasRole(ctx, d.User.Role); unknown == nil && !own {
		return nil
	}
	return err
}

// isDeniable reports whether a session can be denied everything. It checks the name
// again, because a * in it would match other sessions.
func isDeniable(session record.User) bool {
	return session.DenyOnRevoke && definition.IsSessionName(session.Name) && definition.RoleAccount(session.Role) != ""
}

// denyPolicy returns the policy that denies everything to the sessions of a name.
// aws:userid of a session is the role's id, a colon and the session's name; neither part
// contains a colon. The name has no character that is special in JSON or in a policy.
func denyPolicy(name string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*",` +
		`"Condition":{"StringLike":{"aws:userid":"*:` + name + `"}}}}`
}

// checkRole returns an error unless a role belongs to the broker's account.
func (a *account) checkRole(ctx context.Context, arn string) error {
	own, err := a.hasRole(ctx, arn)
	if err == nil && !own {
		err = &provider.Error{Kind: provider.Rejected, Op: "PutRolePolicy", Err: errOtherAccount, Why: errOtherAccount.Error()}
	}
	return err
}

// hasRole reports whether a role belongs to the broker's account.
func (a *account) hasRole(ctx context.Context, arn string) (bool, error) {
	who, err := a.Identify(ctx)
	if err != nil {
		return false, err
	}
	return definition.RoleAccount(arn) == who.Account, nil
}

// roleName returns the name in a role's ARN. The path before it is not part of IAM's
// parameters.
func roleName(arn string) *string { return aws.String(arn[strings.LastIndex(arn, "/")+1:]) }
