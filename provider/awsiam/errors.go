package awsiam

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/awsauth"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// failure returns the error of an operation. An error that is a [*provider.Error]
// already is returned as it is.
func failure(op string, err error) *provider.Error {
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*awsauth.Error](err); ok {
		return e.Failure(op, err)
	}
	c := code(err)
	e := &provider.Error{
		Kind: awserr.Kind(c, awserr.Status(err)), Op: op, Code: c, Err: err,
		Unauthenticated: awserr.IsUnauthenticated(c), Words: awserr.Message(err),
		Throttled: awserr.IsThrottling(c),
	}
	if errors.Is(err, throttle.ErrNotInTime) {
		e.Throttled, e.Why = true, "AWS throttles the broker's calls, and this one would have waited for too long"
	}
	if w, ok := errors.AsType[*throttle.WaitError](err); ok {
		e.After = w.Wait
	}
	if e.Kind == provider.Denied {
		e.Action, e.Resource = awserr.Denied(err)
	}
	return e
}

// code returns AWS's code for the call itself. It is "" if AWS did not answer in its
// own format, and if the call was not made because there were no credentials: the code
// of the call that should have returned them does not count.
func code(err error) string {
	if isUnsigned(err) {
		return ""
	}
	return awserr.Code(err)
}

func isUnsigned(err error) bool { return awsauth.IsUnsigned(err) }

// isUserMissing distinguishes a missing user from a missing policy or group, which have
// the same code. IAM's messages are "The user with name X cannot be found.", "The group
// with name X cannot be found." and "Policy X does not exist or is not attachable." A
// principal whose permissions are limited to a path is denied the call instead, because
// IAM does not know the path of a missing user; that denial has no ARN.
func isUserMissing(err error) bool {
	message := strings.ToLower(fmt.Sprint(err))
	switch c := code(err); {
	case c == awserr.NoSuchEntity:
		return strings.Contains(message, "the user with name")
	default:
		return awserr.Kind(c, 0) == provider.Denied && strings.Contains(message, " on resource: user ")
	}
}

// ignore returns nil for an error with one of the codes, and err otherwise.
func ignore(err error, codes ...string) error {
	c := code(err)
	for _, ignored := range codes {
		if c == ignored {
			return nil
		}
	}
	return err
}
