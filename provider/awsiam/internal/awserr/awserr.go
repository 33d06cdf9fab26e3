// Package awserr reads the errors of the AWS SDK: AWS's code and message, and what
// they mean for the caller. Error codes are compared as strings, because the SDK
// models only some of them as types.
package awserr

import (
	"errors"
	"regexp"
	"strings"
	"unicode"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

// Error codes of IAM and STS, as they are on the wire.
const (
	AlreadyExists          = "EntityAlreadyExists"
	ConcurrentModification = "ConcurrentModification"
	DeleteConflict         = "DeleteConflict"
	ExpiredToken           = "ExpiredToken"
	InvalidClientToken     = "InvalidClientTokenId"
	LimitExceeded          = "LimitExceeded"
	NoSuchEntity           = "NoSuchEntity"
	Unmodifiable           = "EntityTemporarilyUnmodifiable"
)

// ErrIncomplete is the error of an answer that lacks what was asked for.
var ErrIncomplete = errors.New("the answer is incomplete")

// codeGrammar matches AWS's error codes. Codes are shown to requesters and kept in
// records, so any other text in their place is ignored.
var codeGrammar = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// Code returns AWS's code for an error, or "" if AWS did not answer in its own
// format.
func Code(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() == "UnknownError" || !codeGrammar.MatchString(e.ErrorCode()) {
		return "" // UnknownError is the SDK's code for an answer that it cannot read
	}
	return e.ErrorCode()
}

// Status returns the HTTP status of an error that came as an answer, or 0.
func Status(err error) int {
	type answer interface {
		error
		HTTPStatusCode() int
	}
	if r, ok := errors.AsType[answer](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

// Kind returns what an answer means for the caller. It goes by the code, and by the
// HTTP status if the code is not known; "" and 0 mean that there was no answer.
func Kind(code string, status int) provider.Kind {
	switch {
	case code == "" || status >= 500 || IsThrottling(code) || IsConflict(code):
		return provider.Unavailable
	case strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation" || code == "NotAuthorized":
		return provider.Denied
	}
	switch code {
	case DeleteConflict, "ServiceFailure", "ServiceUnavailable", "InternalFailure", "RequestTimeout", "IDPCommunicationError":
		return provider.Unavailable
	}
	// AWS refuses the broker's own credentials. The requester cannot change that, and
	// it heals without a change to the request, so it must not fail the lease.
	if IsUnauthenticated(code) {
		return provider.Unavailable
	}
	return provider.Rejected
}

// IsUnauthenticated reports whether AWS does not accept the broker's credentials,
// or the token that it exchanges for some. A token is refused until the kubelet has
// replaced it.
func IsUnauthenticated(code string) bool {
	switch code {
	case InvalidClientToken, ExpiredToken, "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException",
		"SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken", "AuthFailure", "OptInRequired",
		"InvalidIdentityToken", "InvalidTokenException", "IDPRejectedClaim":
		return true
	}
	return false
}

// IsThrottling reports whether AWS accepts no more calls for now.
func IsThrottling(code string) bool {
	return strings.HasPrefix(code, "Throttl") || code == "RequestLimitExceeded" || code == "TooManyRequestsException" || code == "SlowDown"
}

// IsConflict reports whether another call is changing the same user.
func IsConflict(code string) bool {
	return code == ConcurrentModification || code == Unmodifiable
}

// maxMessage bounds the part of AWS's message that is passed on, in bytes.
const maxMessage = 300

// Message returns AWS's message, such as "User: arn:… is not authorized to …", fit
// for a terminal and cut to 300 bytes; "" if there is none. It may contain ARNs
// and, for a signature, what should have been signed, but no secret.
func Message(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1 // control characters would reach the operator's terminal
		}
		return r
	}, strings.ToValidUTF8(strings.Join(strings.Fields(e.ErrorMessage()), " "), ""))
	if text == "UnknownError" { // the SDK's text for an empty message
		return ""
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// The messages of IAM and STS that name what is denied:
//
//	User: arn:… is not authorized to perform: iam:CreateUser on resource: arn:… because no identity-based policy allows the iam:CreateUser action
//	Not authorized to perform sts:AssumeRoleWithWebIdentity
//
// In place of an ARN there may be "user NAME".
var (
	deniedCaller = regexp.MustCompile(`^User: \S+ is not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)(?: on resource: (\S+))?(?: |$)`)
	deniedToken  = regexp.MustCompile(`^Not authorized to perform ([a-z0-9-]+:[A-Za-z]+)$`)
	deniedARN    = regexp.MustCompile(`^arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[!-~]+$`)
)

// Denied returns the action and the resource that a denial names; "" where it does
// not name them in a known form.
func Denied(err error) (action, resource string) {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "", ""
	}
	message := strings.TrimSpace(e.ErrorMessage())
	if m := deniedToken.FindStringSubmatch(message); m != nil {
		return m[1], ""
	}
	m := deniedCaller.FindStringSubmatch(message)
	if m == nil {
		return "", ""
	}
	if m[2] == "*" || deniedARN.MatchString(m[2]) {
		resource = m[2]
	}
	return m[1], resource
}
