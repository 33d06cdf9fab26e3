package awsiam

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

// IAM's error codes, as they are on the wire. The SDK models only some of them
// as types.
const (
	alreadyExists          = "EntityAlreadyExists"
	concurrentModification = "ConcurrentModification"
	deleteConflict         = "DeleteConflict"
	expiredToken           = "ExpiredToken"
	limitExceeded          = "LimitExceeded"
	noSuchEntity           = "NoSuchEntity"
	unmodifiable           = "EntityTemporarilyUnmodifiable"
)

// failure makes the error of an operation. An error that is one already stays
// what it is.
func failure(op string, err error) *provider.Error {
	if e, ok := errors.AsType[*provider.Error](err); ok {
		return e
	}
	if n, ok := errors.AsType[*noCredentials](err); ok {
		return n.failure(op, err)
	}
	c := code(err)
	e := &provider.Error{Kind: kind(c, status(err)), Op: op, Code: c, Err: err, Unauthenticated: isRefusal(c), Words: words(err)}
	e.Throttled = isThrottling(c)
	if errors.Is(err, errHeldBack) {
		e.Throttled, e.Why = true, "calls to AWS are held back, and its turn would not have come in time"
	}
	if h, ok := errors.AsType[*heldBackError](err); ok {
		e.After = h.wait
	}
	if e.Kind == provider.Denied {
		e.Action, e.Resource = whatIsDenied(err)
	}
	return e
}

// isUnsigned says that there were no credentials to make a call with.
func isUnsigned(err error) bool {
	_, ok := errors.AsType[*noCredentials](err)
	return ok
}

// kind is what an answer means for the caller: AWS's code, and the HTTP status
// where the code is not known; "" and 0 stand for no answer.
func kind(code string, status int) provider.Kind {
	switch {
	case code == "" || status >= 500 || isThrottling(code) || isConflict(code):
		return provider.Unavailable
	case strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation" || code == "NotAuthorized":
		return provider.Denied
	}
	switch code {
	case deleteConflict, "ServiceFailure", "ServiceUnavailable", "InternalFailure", "RequestTimeout", "IDPCommunicationError":
		return provider.Unavailable
	}
	// The broker's own credentials are refused: expired, rotated, or too new to be
	// known. That is not the requester's doing, heals without a change to the
	// request, and would otherwise fail every lease for good; the code tells the
	// operator.
	if isRefusal(code) {
		return provider.Unavailable
	}
	return provider.Rejected
}

// isRefusal says that AWS does not accept the broker's credentials, or the token
// with which it asks for some: that is refused until the kubelet has replaced it.
func isRefusal(code string) bool {
	switch code {
	case "InvalidClientTokenId", expiredToken, "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException",
		"SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken", "AuthFailure", "OptInRequired",
		"InvalidIdentityToken", "InvalidTokenException", "IDPRejectedClaim":
		return true
	}
	return false
}

// maxWords is how much of AWS's words is passed on, in bytes.
const maxWords = 300

// words is what AWS says about an error: "User: arn:… is not authorized to …". It
// names ARNs and, for a signature, what should have been signed, but no secret.
func words(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1 // it would do something to a terminal
		}
		return r
	}, strings.ToValidUTF8(strings.Join(strings.Fields(e.ErrorMessage()), " "), ""))
	if text == "UnknownError" { // the SDK's word for none
		return ""
	}
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}

func isThrottling(code string) bool {
	return strings.HasPrefix(code, "Throttl") || code == "RequestLimitExceeded" || code == "TooManyRequestsException" || code == "SlowDown"
}

// isConflict says that somebody else is changing the same user at this moment.
func isConflict(code string) bool {
	return code == concurrentModification || code == unmodifiable
}

// isUserMissing tells the user that is not found from the policy or the group,
// which have the same code. IAM's words: "The user with name X cannot be found.",
// "The group with name X cannot be found.", "Policy X does not exist or is not
// attachable." Who has rights to one path only is denied the call instead: the
// path of a user that IAM can't find is not known, and it names no ARN then.
func isUserMissing(err error) bool {
	words := strings.ToLower(fmt.Sprint(err))
	switch c := code(err); {
	case c == noSuchEntity:
		return strings.Contains(words, "the user with name")
	default:
		return kind(c, 0) == provider.Denied && strings.Contains(words, " on resource: user ")
	}
}

// answer is an error that came as one, from AWS or from an agent of its.
type answer interface {
	error
	HTTPStatusCode() int
}

func status(err error) int {
	if r, ok := errors.AsType[answer](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

// ignore returns nil for an error with one of the codes.
func ignore(err error, codes ...string) error {
	c := code(err)
	for _, ignored := range codes {
		if c == ignored {
			return nil
		}
	}
	return err
}
