// Package floor is the floor of what AWS costs: the calls that a lease needs, made by the
// AWS SDK in a bare loop.
package floor

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"golang.org/x/sync/errgroup"

	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
)

// Floor creates and deletes users with the calls that a lease needs and no others.
type Floor struct {
	iam        *iam.Client
	definition messages.DynamicSecret
	users      atomic.Int64
}

// User is a user that the floor has created.
type User struct {
	Name string
	key  string // the access key's ID
}

// CallsPerLease is how many calls create the user of the demo's definition, with a group,
// a managed and an inline policy and a key. As many delete it.
const CallsPerLease = 5

// New returns a floor that calls the IAM endpoint of the options, with their credentials
// or, without any, those of the SDK.
func New(ctx context.Context, o awsiam.Options) (*Floor, error) {
	d, err := sandbox.Demo()
	if err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 0, awsiam.DefaultMaxConns, awsiam.DefaultMaxConns
	})
	load := []func(*config.LoadOptions) error{config.WithRegion(d.AWS.Region), config.WithHTTPClient(client)}
	if o.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(o.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	return &Floor{
		iam:        iam.NewFromConfig(cfg, func(s *iam.Options) { s.BaseEndpoint = aws.String(o.Endpoint) }),
		definition: d,
	}, nil
}

// policy is an inline policy of about the length of a lease's with hard expiry.
const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::demo/*"},` +
	`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2099-01-01T00:00:00Z"}}}]}`

// policyName is the name of the inline policy.
const policyName = "bench"

// Create creates a user. The calls after CreateUser are made at the same time.
func (f *Floor) Create(ctx context.Context) (User, error) {
	u := User{Name: fmt.Sprintf("bench-%d", f.users.Add(1))}
	name := aws.String(u.Name)
	_, err := f.iam.CreateUser(ctx, &iam.CreateUserInput{
		UserName: name, Path: aws.String(f.definition.AWS.Path),
		Tags: []types.Tag{{Key: aws.String("purpose"), Value: aws.String("bench")}, {Key: aws.String("lease"), Value: name}},
	})
	if err != nil {
		return u, err
	}
	rest, ctx := errgroup.WithContext(ctx)
	rest.Go(func() error { return f.PutPolicy(ctx, u.Name) })
	rest.Go(func() error {
		_, err := f.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String(f.definition.AWS.ManagedPolicies[0])})
		return err
	})
	rest.Go(func() error {
		_, err := f.iam.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: name, GroupName: aws.String(f.definition.AWS.Groups[0])})
		return err
	})
	rest.Go(func() error {
		out, err := f.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
		if err == nil {
			u.key = aws.ToString(out.AccessKey.AccessKeyId)
		}
		return err
	})
	err = rest.Wait()
	return u, err
}

// PutPolicy puts the inline policy of a user. It is the only call of a renewal with hard
// expiry.
func (f *Floor) PutPolicy(ctx context.Context, user string) error {
	_, err := f.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
		UserName: aws.String(user), PolicyName: aws.String(policyName), PolicyDocument: aws.String(policy),
	})
	return err
}

// Delete deletes a user. The calls before DeleteUser are made at the same time.
func (f *Floor) Delete(ctx context.Context, u User) error {
	name := aws.String(u.Name)
	rest, all := errgroup.WithContext(ctx)
	rest.Go(func() error {
		_, err := f.iam.DeleteAccessKey(all, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: aws.String(u.key)})
		return err
	})
	rest.Go(func() error {
		_, err := f.iam.DetachUserPolicy(all, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: aws.String(f.definition.AWS.ManagedPolicies[0])})
		return err
	})
	rest.Go(func() error {
		_, err := f.iam.RemoveUserFromGroup(all, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: aws.String(f.definition.AWS.Groups[0])})
		return err
	})
	rest.Go(func() error {
		_, err := f.iam.DeleteUserPolicy(all, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String(policyName)})
		return err
	})
	if err := rest.Wait(); err != nil {
		return err
	}
	_, err := f.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	return err
}

// Run creates n users, atOnce of them at a time, and deletes them. After the time limit it
// creates no more; 0 is no limit. A nil floor does nothing.
func (f *Floor) Run(ctx context.Context, limit time.Duration, n, atOnce int) (created, deleted timing.Run, err error) {
	if f == nil {
		return created, deleted, nil
	}
	users := make([]User, n)
	created, err = timing.RepeatWithin(ctx, limit, n, atOnce, func(ctx context.Context, i int) (err error) {
		users[i], err = f.Create(ctx)
		return err
	})
	if err != nil {
		return created, deleted, err
	}
	deleted, err = timing.Repeat(ctx, len(created.Each), atOnce, func(ctx context.Context, i int) error { return f.Delete(ctx, users[i]) })
	return created, deleted, err
}
