package awsiam

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// errIncomplete is an answer without what it is for.
var errIncomplete = errors.New("the answer is incomplete")

// Create makes the user and its key, or finishes a user that an earlier attempt
// at the same lease has made, as the user's tags say: the SDK's
// own second attempt at CreateUser comes upon such a user too. The error's Left is
//
//	nothing  CreateUser was never sent, or refused by AWS each time;
//	         also where the name is somebody else's (NameTaken)
//	unknown  nobody knows what became of CreateUser, or whose the user is
//	user     CreateUser was acknowledged, or the user is the lease's by its tags
//
// With any of them the secret access key that may have been made is lost. A session
// never leaves anything.
func (a *account) Create(ctx context.Context, c provider.Creation) (messages.Credentials, error) {
	if c.User.IsSession() {
		return a.beginSession(ctx, c)
	}
	policy, err := compose(c.User.InlinePolicy, c.DenyAfter)
	if err != nil {
		return messages.Credentials{}, &provider.Error{Kind: provider.Rejected, Op: "the inline policy", Left: provider.LeftNothing, Err: err}
	}
	var credentials messages.Credentials
	rest := a.additions(c, policy, &credentials)
	if err := a.createUser(ctx, c, len(rest)); err != nil {
		return messages.Credentials{}, err
	}
	if err := a.together(ranked(ctx, rankFinish), rest); err != nil {
		return messages.Credentials{}, left(err, provider.LeftUser)
	}
	return credentials, nil
}

// createUser makes the user, or takes it over. Its error says what is left. A
// resumed creation begins in the same way: mostly the earlier attempt did not
// come far enough to make a user, and where it did, CreateUser says so. No user is
// made where the calls that must follow would not be free in time.
func (a *account) createUser(ctx context.Context, c provider.Creation, following int) error {
	var o outcome
	in := &iam.CreateUserInput{
		UserName: aws.String(c.User.Name),
		Path:     optional(c.User.Path),
		Tags:     userTags(c.User.Tags, c.Owner),

		PermissionsBoundary: optional(c.User.Boundary),
	}
	err := a.run(ctx, ctx, step{op: "CreateUser", do: func(ctx context.Context) error {
		_, err := a.iam.CreateUser(o.follow(followed(ctx, following)), in)
		return err
	}})
	switch {
	case err == nil:
		return nil
	case code(err) == alreadyExists:
		return a.adopt(ranked(ctx, rankFinish), c, err)
	case o.unsure.Load():
		return left(err, provider.LeftUnknown)
	default:
		return left(err, provider.LeftNothing)
	}
}

// additions are the steps that give a user, which was made just now, what the
// lease says: the inline policy, unless it is "", the managed ones, the groups,
// and at last the key.
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

// left notes what a failed creation has left behind.
func left(err error, l provider.Left) error {
	e := *provider.AsError(err)
	e.Left = l
	return &e
}

// optional leaves an empty parameter out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
