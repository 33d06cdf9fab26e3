package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// Create makes the user and its key, or begins the session. It completes a user that
// an earlier attempt at the same lease has made, as the user's tags state. The SDK's own
// second attempt at CreateUser may find such a user, too. The error's Left is
//
//	LeftNothing  CreateUser was not sent, or AWS refused every attempt at it;
//	             also if the name is taken by another owner (NameTaken)
//	LeftUnknown  CreateUser may have been carried out, or the owner is not known
//	LeftUser     CreateUser was acknowledged, or the tags state that the user is the lease's
//
// After an error, the secret of a key that may have been made is lost. A session never
// leaves anything.
func (a *account) Create(ctx context.Context, c provider.Creation) (messages.Credentials, error) {
	if c.User.IsSession() {
		return a.beginSession(ctx, c)
	}
	policy, err := definition.Compose(c.User.InlinePolicy, c.DenyAfter)
	if err != nil {
		return messages.Credentials{}, &provider.Error{Kind: provider.Rejected, Op: "the inline policy", Left: provider.LeftNothing, Err: err}
	}
	var credentials messages.Credentials
	rest := a.additions(c, policy, &credentials)
	if err := a.createUser(ctx, c, len(rest)); err != nil {
		return messages.Credentials{}, err
	}
	if err := a.together(throttle.WithPriority(ctx, throttle.Completion), rest); err != nil {
		return messages.Credentials{}, withLeft(err, provider.LeftUser)
	}
	return credentials, nil
}

// createUser makes the user, or takes it over. Its error states what is left. A resumed
// creation begins with CreateUser as well, because the earlier attempt usually did not
// make the user. No user is made if the throttle could not admit the following calls
// in time.
func (a *account) createUser(ctx context.Context, c provider.Creation, following int) error {
	var t tracker // whether an unanswered attempt may have been carried out (middleware.go)
	in := &iam.CreateUserInput{
		UserName: aws.String(c.User.Name),
		Path:     optional(c.User.Path),
		Tags:     userTags(c.User.Tags, c.Owner),

		PermissionsBoundary: optional(c.User.Boundary),
	}
	err := a.run(ctx, step{op: "CreateUser", do: func(ctx context.Context) error {
		_, err := a.iam.CreateUser(t.track(throttle.WithFollowing(ctx, following)), in)
		return err
	}})
	switch {
	case err == nil:
		return nil
	case code(err) == awserr.AlreadyExists:
		return a.adopt(throttle.WithPriority(ctx, throttle.Completion), c, err)
	case t.ambiguous.Load():
		return withLeft(err, provider.LeftUnknown)
	default:
		return withLeft(err, provider.LeftNothing)
	}
}

// additions returns the steps that give a new user what the lease states: the inline
// policy, unless it is "", the managed policies, the groups and the key. They run
// concurrently; the step that makes the key stores it in credentials.
func (a *account) additions(c provider.Creation, policy string, credentials *messages.Credentials) []step {
	name := aws.String(c.User.Name)
	var steps []step
	if policy != "" {
		steps = append(steps, a.putPolicy(c.User.Name, policy))
	}
	for _, arn := range c.User.ManagedPolicies {
		steps = append(steps, step{op: "AttachUserPolicy", do: func(ctx context.Context) error {
			_, err := a.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String(arn)})
			return err
		}})
	}
	for _, group := range c.User.Groups {
		steps = append(steps, step{op: "AddUserToGroup", do: func(ctx context.Context) error {
			_, err := a.iam.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: name, GroupName: aws.String(group)})
			return err
		}})
	}
	steps = append(steps, a.createKey(c, credentials))
	for i := range steps {
		steps[i].awaitUser = true
	}
	return steps
}

// putPolicy returns the step that sets a user's inline policy.
func (a *account) putPolicy(user, policy string) step {
	return step{op: "PutUserPolicy", do: func(ctx context.Context) error {
		_, err := a.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
			UserName: aws.String(user), PolicyName: aws.String(definition.PolicyName), PolicyDocument: aws.String(policy),
		})
		return err
	}}
}

// withLeft returns a copy of err that states what a failed creation has left behind.
func withLeft(err error, l provider.Left) *provider.Error {
	e := *provider.AsError(err)
	e.Left = l
	return &e
}

// optional returns nil for an empty parameter.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
