package awsiam

// Came is what came of one attempt at a call.
type Came string

// What may come of it.
const (
	CameOK         Came = "ok"
	CameThrottled  Came = "throttled"
	CameRefused    Came = "refused"    // AWS says no: a right is missing, a name is taken, there is no such user
	CameFailed     Came = "failed"     // AWS says that it is its own fault
	CameUnanswered Came = "unanswered" // no answer that can be read
	CameUnsigned   Came = "unsigned"   // there were no credentials to make it with
)

func whatCame(err error) Came {
	switch {
	case err == nil:
		return CameOK
	case isUnsigned(err):
		return CameUnsigned
	case isThrottling(code(err)):
		return CameThrottled
	case status(err) >= 500:
		return CameFailed
	case code(err) == "":
		return CameUnanswered
	}
	return CameRefused
}
