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
)

// The tags that say whose a user is. Their prefix is refused in definitions.
const (
	ownTagPrefix    = "lessor:"
	tagInstallation = ownTagPrefix + "installation"
	tagLease        = ownTagPrefix + "lease"
	tagAttempt      = ownTagPrefix + "attempt"
	ownTags         = 3
)

// userTags are all tags of a user: the configured ones and lessor's own.
func userTags(configured map[string]string, o provider.Owner) []types.Tag {
	tags := []types.Tag{tag(tagInstallation, o.Installation), tag(tagLease, o.Lease), attemptTag(o)}
	for _, key := range slices.Sorted(maps.Keys(configured)) {
		tags = append(tags, tag(key, configured[key]))
	}
	return tags
}

func attemptTag(o provider.Owner) types.Tag { return tag(tagAttempt, strconv.Itoa(o.Attempt)) }

func tag(key, value string) types.Tag {
	return types.Tag{Key: aws.String(key), Value: aws.String(value)}
}

// isOwned says whether a user carries the owner's tags, of whatever attempt.
func isOwned(u *types.User, o provider.Owner) bool {
	return tagValue(u, tagInstallation) == o.Installation && tagValue(u, tagLease) == o.Lease
}

// attemptOf is the attempt that made or took over a user; 0 if the tag is missing
// or damaged.
func attemptOf(u *types.User) int {
	n, _ := strconv.Atoi(tagValue(u, tagAttempt))
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

// getUser reads a user with its tags and its boundary.
func (a *account) getUser(ctx context.Context, name string, awaitUser bool) (*types.User, error) {
	var user *types.User
	err := a.run(ctx, ctx, step{op: "GetUser", awaitUser: awaitUser, do: func(ctx context.Context) error {
		out, err := a.iam.GetUser(ctx, &iam.GetUserInput{UserName: aws.String(name)})
		if err != nil {
			return err
		}
		if user = out.User; user == nil {
			return errIncomplete
		}
		return nil
	}})
	return user, err
}
