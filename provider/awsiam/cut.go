package awsiam

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// denyPrefix begins the names of the policies that cut sessions off; the session's
// name follows.
const denyPrefix = "lessor-deny-"

var (
	errNotCuttable  = errors.New("the session is not one that may be denied everything")
	errOtherAccount = errors.New("the role is in another account than the broker")
)

// Cut puts a policy on the session's role that denies the session everything. It
// may be repeated. Delete removes the policy; until then it takes some of the
// 10,240 characters that a role's inline policies have together, which is enough
// for about fifty. When they are full the error is Unavailable: there is room
// again when another session that was cut has expired.
//
// A role that does not exist any more has no sessions to cut, and is no error. One
// in another account is out of the broker's reach: IAM knows the roles of its
// caller's account only, and would take the policy for a role there that happens
// to have the same name.
func (a *account) DenySession(ctx context.Context, session record.User) error {
	if !mayCut(session) {
		return &provider.Error{Kind: provider.Rejected, Op: "PutRolePolicy", Err: errNotCuttable}
	}
	ctx = ranked(ctx, rankKeys)
	if err := a.checkRole(ctx, session.Role); err != nil {
		return err
	}
	err := a.run(ctx, ctx, step{op: "PutRolePolicy", do: func(ctx context.Context) error {
		_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName: roleName(session.Role), PolicyName: aws.String(denyPrefix + session.Name), PolicyDocument: aws.String(denySession(session.Name)),
		})
		return err
	}})
	if code(err) == limitExceeded {
		e := *provider.AsError(err)
		e.Kind = provider.Unavailable
		return &e
	}
	return ignore(err, noSuchEntity)
}

// endSession removes what Cut has put. Nothing else of a session is at AWS: it
// ends by itself, and until then the policy must stay.
func (a *account) endSession(ctx context.Context, d provider.Deletion) error {
	if d.Mode == provider.DeleteKey || !mayCut(d.User) {
		return nil
	}
	err := a.run(ctx, ctx, step{op: "DeleteRolePolicy", do: func(ctx context.Context) error {
		_, err := a.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{
			RoleName: roleName(d.User.Role), PolicyName: aws.String(denyPrefix + d.User.Name),
		})
		return err
	}})
	if err = ignore(err, noSuchEntity); err == nil || provider.AsError(err).Kind != provider.Denied {
		return err
	}
	// A broker that may do nothing with roles of its own account has cut nothing
	// there, where the role is in another.
	if ours, unknown := a.hasRole(ctx, d.User.Role); unknown == nil && !ours {
		return nil
	}
	return err
}

// mayCut says whether a session is one that Cut denies everything. The name is
// looked at once more: with a * in it, it would stand for other sessions, too.
func mayCut(session record.User) bool {
	return session.DenyOnRevoke && sessionNameGrammar.MatchString(session.Name) && roleARN.MatchString(session.Role)
}

// denySession is the policy that refuses everything to the sessions of a name. Of
// a session aws:userid is the role's id, a colon and the name; neither part has a
// colon. Names have no character that is special in JSON or in a policy.
func denySession(name string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*",` +
		`"Condition":{"StringLike":{"aws:userid":"*:` + name + `"}}}}`
}

// checkRole returns nil for a role of the account that the broker calls.
func (a *account) checkRole(ctx context.Context, arn string) error {
	ours, err := a.hasRole(ctx, arn)
	if err == nil && !ours {
		err = &provider.Error{Kind: provider.Rejected, Op: "PutRolePolicy", Err: errOtherAccount, Why: errOtherAccount.Error()}
	}
	return err
}

// hasRole says whether a role is of the account that the broker calls.
func (a *account) hasRole(ctx context.Context, arn string) (bool, error) {
	who, err := a.Identify(ctx)
	if err != nil {
		return false, err
	}
	m := roleARN.FindStringSubmatch(arn)
	return m != nil && m[2] == who.Account, nil
}

// roleName is the last part of a role's ARN: without the path, which IAM does not
// ask for.
func roleName(arn string) *string { return aws.String(arn[strings.LastIndex(arn, "/")+1:]) }
