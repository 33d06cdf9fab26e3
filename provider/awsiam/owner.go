package awsiam

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// userTags returns the tags of a user: the owner's and the configured ones.
func userTags(configured map[string]string, o provider.Owner) []types.Tag {
	tags := []types.Tag{tag(definition.TagInstallation, o.Installation), tag(definition.TagLease, o.Lease), attemptTag(o)}
	for _, key := range slices.Sorted(maps.Keys(configured)) {
		tags = append(tags, tag(key, configured[key]))
	}
	return tags
}

func attemptTag(o provider.Owner) types.Tag {
	return tag(definition.TagAttempt, strconv.Itoa(o.Attempt))
}

func tag(key, value string) types.Tag {
	return types.Tag{Key: aws.String(key), Value: aws.String(value)}
}

// isOwned reports whether a user carries the owner's tags, of any attempt.
func isOwned(u *types.User, o provider.Owner) bool {
	return tagValue(u, definition.TagInstallation) == o.Installation && tagValue(u, definition.TagLease) == o.Lease
}

// attemptOf returns the attempt that made a user or took it over; 0 if the tag is missing
// or not a number.
func attemptOf(u *types.User) int {
	n, _ := strconv.Atoi(tagValue(u, definition.TagAttempt))
	return n
}

func tagValue(u *types.User, key string) string {
	for _, t := range u.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// getUser returns a user with its tags and its boundary.
func (a *account) getUser(ctx context.Context, name string, awaitUser bool) (*types.User, error) {
	var user *types.User
	err := a.run(ctx, step{op: "GetUser", awaitUser: awaitUser, do: func(ctx context.Context) error {
		out, err := a.iam.GetUser(ctx, &iam.GetUserInput{UserName: aws.String(name)})
		if err != nil {
			return err
		}
		if user = out.User; user == nil {
			return awserr.ErrIncomplete
		}
		return nil
	}})
	return user, err
}
