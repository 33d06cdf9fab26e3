package awsiam

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

// noCredentials is why a call could not be signed. What AWS says of the call that
// should have brought credentials is never taken for its word on the call itself:
// neither by code, which sees none here, nor by whoever follows the call.
type noCredentials struct {
	kind     provider.Kind
	op, code string // of the call that should have brought them; "" without one
	why      string // where no code says it; fit for everybody
	err      error
}

func (e *noCredentials) Error() string {
	if e.why != "" {
		return fmt.Sprintf("no credentials: %s: %v", e.why, e.err)
	}
	return fmt.Sprintf("no credentials: %v", e.err)
}

func (e *noCredentials) Unwrap() error { return e.err }

// RetryableError keeps the SDK from repeating the call that could not be signed:
// what can be repeated has been.
func (e *noCredentials) RetryableError() bool { return false }

// errLacking is the cause where nothing was tried.
var errLacking = errors.New("it was not tried")

// lacking is the error where it does not come to a call.
func lacking(kind provider.Kind, cause error, format string, args ...any) error {
	if cause == nil {
		cause = errLacking
	}
	return &noCredentials{kind: kind, why: fmt.Sprintf(format, args...), err: cause}
}

// unauthenticated is the error of a call that should have brought credentials. Of
// several, one of which needed what the other did not bring, the first counts.
func unauthenticated(op string, err error) *noCredentials {
	if first, ok := errors.AsType[*noCredentials](err); ok {
		return first
	}
	// Of the chain's calls, those to the machine's metadata say nothing: where
	// there is none they are the chain's last resort.
	if o, ok := errors.AsType[*smithy.OperationError](err); ok && op == "" && o.Service() != "ec2imds" {
		op = o.Operation()
	}
	if p, ok := errors.AsType[*processcreds.ProviderError](err); ok && errors.Unwrap(p.Err) != nil {
		err = errors.New("the output of credential_process is not understood") // and is in the error
	}
	n := &noCredentials{op: op, code: agentCode(err), err: err}
	n.kind = kind(n.code, status(err))
	if n.code == "" && op != "" {
		n.why = op + " failed before AWS answered"
	}
	return n
}

// failure is the error of the operation that could not be signed.
func (e *noCredentials) failure(op string, err error) *provider.Error {
	if e.op != "" {
		op = e.op
	}
	return &provider.Error{Kind: e.kind, Op: op, Code: e.code, Err: err, Unsigned: true, Why: e.why, Unauthenticated: isRefusal(e.code), Words: words(e.err)}
}

// agentWords is how EKS Pod Identity's agent passes on what AWS has told it:
// "[request id]: (AccessDeniedException): …, fault: client".
var agentWords = regexp.MustCompile(`^\[[^\]]*\]: \(([A-Za-z]{1,128})\): `)

// agentCode is AWS's code, also where the agent hides it in a text.
func agentCode(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if ok && e.ErrorCode() == "" {
		if m := agentWords.FindStringSubmatch(e.ErrorMessage()); m != nil {
			return m[1]
		}
	}
	return answered(err)
}
