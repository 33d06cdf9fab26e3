package awsiam

import "github.com/lessorhq/lessor/provider/awsiam/internal/awserr"

// CallResult is the result of one attempt at a call.
type CallResult string

// The results of an attempt.
const (
	ResultOK         CallResult = "ok"
	ResultThrottled  CallResult = "throttled"
	ResultRefused    CallResult = "refused"    // AWS refuses: a permission is missing, a name is taken, a user does not exist
	ResultFailed     CallResult = "failed"     // AWS reports a fault of its own
	ResultUnanswered CallResult = "unanswered" // no answer that can be read
	ResultUnsigned   CallResult = "unsigned"   // there were no credentials to sign it with
)

func resultOf(err error) CallResult {
	switch {
	case err == nil:
		return ResultOK
	case isUnsigned(err):
		return ResultUnsigned
	case awserr.IsThrottling(code(err)):
		return ResultThrottled
	case awserr.Status(err) >= 500:
		return ResultFailed
	case code(err) == "":
		return ResultUnanswered
	}
	return ResultRefused
}
