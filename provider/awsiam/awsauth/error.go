package awsauth

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// Error is the reason why there are no credentials to sign a call with.
type Error struct {
	Kind     provider.Kind
	Op, Code string // the call that should have returned credentials, and AWS's code; "" without one
	Why      string // the reason if there is no Code; safe to show to requesters
	Err      error  // the cause
}

// Error returns the reason and the cause. It is for logs.
func (e *Error) Error() string {
	if e.Why != "" {
		return fmt.Sprintf("no credentials: %s: %v", e.Why, e.Err)
	}
	return fmt.Sprintf("no credentials: %v", e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// RetryableError tells the SDK not to repeat the call that could not be signed: the
// calls for credentials have been repeated already.
func (e *Error) RetryableError() bool { return false }

// IsUnsigned reports whether a call was not made because there were no credentials
// to sign it with.
func IsUnsigned(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// Failure returns the error of operation op, which could not be signed. err is what
// the operation returned, with e in its chain.
func (e *Error) Failure(op string, err error) *provider.Error {
	if e.Op != "" {
		op = e.Op
	}
	return &provider.Error{
		Kind: e.Kind, Op: op, Code: e.Code, Err: err, Unsigned: true, Why: e.Why,
		Unauthenticated: awserr.IsUnauthenticated(e.Code), Words: awserr.Message(e.Err),
	}
}

// errNotTried is the cause if no call was made.
var errNotTried = errors.New("no call was made")

// lacking returns the error of a method that lacks something, before any call.
func lacking(kind provider.Kind, cause error, format string, args ...any) error {
	if cause == nil {
		cause = errNotTried
	}
	return &Error{Kind: kind, Why: fmt.Sprintf(format, args...), Err: cause}
}

// unauthenticated returns the error of a call that should have returned credentials.
// If that call itself lacked credentials, it returns the reason for that.
func unauthenticated(op string, err error) *Error {
	if first, ok := errors.AsType[*Error](err); ok {
		return first
	}
	// Of the chain's calls, those to the EC2 metadata service are not named: they are
	// the chain's last resort, and fail on any other machine.
	if o, ok := errors.AsType[*smithy.OperationError](err); ok && op == "" && o.Service() != "ec2imds" {
		op = o.Operation()
	}
	if p, ok := errors.AsType[*processcreds.ProviderError](err); ok && errors.Unwrap(p.Err) != nil {
		err = errors.New("the output of credential_process is not understood") // err contains the output
	}
	e := &Error{Op: op, Code: agentCode(err), Err: err}
	e.Kind = awserr.Kind(e.Code, awserr.Status(err))
	if e.Code == "" && op != "" {
		e.Why = op + " failed before AWS answered"
	}
	return e
}

// agentMessage matches how EKS Pod Identity's agent passes on AWS's answer:
// "[request id]: (AccessDeniedException): …, fault: client".
var agentMessage = regexp.MustCompile(`^\[[^\]]*\]: \(([A-Za-z]{1,128})\): `)

// agentCode returns AWS's code, also where the agent has it in its message only.
func agentCode(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if ok && e.ErrorCode() == "" {
		if m := agentMessage.FindStringSubmatch(e.ErrorMessage()); m != nil {
			return m[1]
		}
	}
	return awserr.Code(err)
}
