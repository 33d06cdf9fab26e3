package awsiam

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

var errNotRenewable = errors.New("AWS can't extend a session")

// beginSession begins a session of a role, of at least AWS's minimal length. The SDK may
// repeat the call: a session whose secret is lost is harmless, and leaves nothing at AWS.
func (a *account) beginSession(ctx context.Context, c provider.Creation) (messages.Credentials, error) {
	policy, err := definition.Compact(c.User.InlinePolicy)
	if err != nil {
		return messages.Credentials{}, &provider.Error{Kind: provider.Rejected, Op: "the session policy", Left: provider.LeftNothing, Err: err}
	}
	in := &sts.AssumeRoleInput{
		RoleArn:         aws.String(c.User.Role),
		RoleSessionName: aws.String(c.User.Name),
		ExternalId:      optional(c.User.ExternalID),
		DurationSeconds: aws.Int32(sessionSeconds(c.For)),
		Policy:          optional(policy),
		Tags:            sessionTags(c.User.Tags, c.Owner),
	}
	for _, arn := range c.User.ManagedPolicies {
		in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: aws.String(arn)})
	}
	var credentials messages.Credentials
	err = a.run(ctx, step{op: "AssumeRole", do: func(ctx context.Context) error {
		out, err := a.sts.AssumeRole(ctx, in)
		if err != nil {
			return err
		}
		k := out.Credentials
		if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" || aws.ToString(k.SessionToken) == "" {
			return awserr.ErrIncomplete
		}
		credentials = messages.Credentials{
			AccessKeyID:     *k.AccessKeyId,
			SecretAccessKey: messages.NewSensitive(*k.SecretAccessKey),
			SessionToken:    messages.NewSensitive(*k.SessionToken),
			Username:        c.User.Name,
			Region:          a.connection.Region,
		}
		return nil
	}})
	if err != nil {
		return messages.Credentials{}, withLeft(err, provider.LeftNothing)
	}
	return credentials, nil
}

// sessionSeconds returns the length of a session in seconds. A fraction is cut off, so
// that the session does not outlive its lease.
func sessionSeconds(d time.Duration) int32 {
	return int32(min(max(d, messages.MinSession.Std())/time.Second, math.MaxInt32)) // #nosec G115 -- it is bounded on both sides
}

// sessionTags returns the tags of a session: the owner's and the configured ones. There is
// no tag of the attempt, because a session cannot be taken over. The tag of the identity
// is for the role's policies: ${aws:PrincipalTag/lessor:identity}.
func sessionTags(configured map[string]string, o provider.Owner) []types.Tag {
	identity, _, _ := strings.Cut(o.Lease, ".")
	var tags []types.Tag
	add := func(key, value string) {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	add(definition.TagInstallation, o.Installation)
	add(definition.TagLease, o.Lease)
	add(definition.TagIdentity, identity)
	for _, key := range slices.Sorted(maps.Keys(configured)) {
		add(key, configured[key])
	}
	return tags
}
