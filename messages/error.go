package messages

import (
	"errors"
	"fmt"
	"time"
)

// Code says what went wrong. Codes are stable; programs may switch on them.
type Code string

// The codes. Those marked "retryable" may succeed when the same message is sent
// again later.
const (
	CodeInvalidRequest      Code = "invalid_request"      // the body or a header is malformed or out of range
	CodeInvalidSubject      Code = "invalid_subject"      // identity, secret or lease id break the token rule
	CodeInvalidReply        Code = "invalid_reply"        // no reply subject, or one that is not allowed
	CodeTooLarge            Code = "message_too_large"    // the message is above the limit
	CodeInvalidSecret       Code = "invalid_secret"       // a dynamic secret's definition is wrong
	CodeSecretNotFound      Code = "secret_not_found"     // there is no such dynamic secret
	CodeSecretDeleting      Code = "secret_deleting"      // it is being deleted
	CodeSecretFromFile      Code = "secret_from_file"     // it comes from a file, and is changed there
	CodeRevisionMismatch    Code = "revision_mismatch"    // it has changed since it was read
	CodeCheckFailed         Code = "check_failed"         // the definition does not work at AWS
	CodeNotRenewable        Code = "not_renewable"        // temporary credentials can't be renewed
	CodeTTLExceedsMax       Code = "ttl_exceeds_max"      // above the secret's max_ttl
	CodeTTLBelowMin         Code = "ttl_below_min"        // below the broker's minimum
	CodeSealedRequired      Code = "sealed_required"      // the secret demands an xkey
	CodeConfirmRequired     Code = "confirm_required"     // the secret demands confirm
	CodeLimitExceeded       Code = "limit_exceeded"       // too many leases; retryable
	CodeRateExceeded        Code = "rate_exceeded"        // too many requests in a minute; retryable
	CodeDeadlineExceeded    Code = "deadline_exceeded"    // the request's deadline has passed; retryable
	CodeIdempotencyMismatch Code = "idempotency_mismatch" // the key was used with another body
	CodeAlreadyDelivered    Code = "already_delivered"    // the key's lease was delivered before
	CodeLeaseNotFound       Code = "lease_not_found"      // no such lease, or another identity's
	CodeLeaseEnded          Code = "lease_ended"          // the lease has expired or was revoked
	CodeUsernameTaken       Code = "username_taken"       // the IAM user name belongs to somebody else
	CodeProviderDenied      Code = "provider_denied"      // AWS says that the broker may not do it
	CodeProviderRejected    Code = "provider_rejected"    // AWS refuses: a policy that doesn't exist, a quota
	CodeProviderUnavailable Code = "provider_unavailable" // AWS can't be reached, throttles or fails; retryable
	CodeAbandoned           Code = "abandoned"            // nobody finished making the lease; retryable
	CodeRecordUnreadable    Code = "record_unreadable"    // the lease's record is damaged, or a newer broker's; retryable
	CodeUnavailable         Code = "unavailable"          // NATS or the broker can't serve this now; retryable
	CodeInternal            Code = "internal"             // a fault of the broker; retryable
)

var retryable = map[Code]bool{
	CodeLimitExceeded: true, CodeRateExceeded: true, CodeDeadlineExceeded: true, CodeProviderUnavailable: true,
	CodeAbandoned: true, CodeRecordUnreadable: true, CodeUnavailable: true, CodeInternal: true,
}

var httpStatus = map[Code]string{
	CodeSecretDeleting: "409", CodeSecretFromFile: "409", CodeRevisionMismatch: "409", CodeNotRenewable: "409", CodeCheckFailed: "422",
	CodeSecretNotFound: "404", CodeLeaseNotFound: "404", CodeTooLarge: "413",
	CodeIdempotencyMismatch: "409", CodeAlreadyDelivered: "409", CodeLeaseEnded: "410", CodeUsernameTaken: "409",
	CodeLimitExceeded: "429", CodeRateExceeded: "429", CodeProviderDenied: "502", CodeProviderRejected: "502",
	CodeProviderUnavailable: "503", CodeUnavailable: "503", CodeDeadlineExceeded: "504",
	CodeAbandoned: "503", CodeRecordUnreadable: "503", CodeInternal: "500",
}

// Error is an error as requesters see it: a stable code and a message that is
// safe to show. The cause is for logs and never travels.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	// RetryAfter is how long to wait before the message is sent again; 0: there is
	// nothing to go by.
	RetryAfter Duration `json:"retry_after,omitzero"`

	cause error
}

// Errorf makes an error. The message must be safe to show to the requester.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: retryable[code]}
}

// Because returns a copy of e with its cause, for logs.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// After returns a copy of e that says how long to wait before the message is sent
// again, in whole seconds and at least one.
func (e *Error) After(wait time.Duration) *Error {
	c := *e
	c.RetryAfter = Duration(max(wait+time.Second-1, time.Second).Truncate(time.Second))
	return &c
}

// Error returns code and message, without the cause.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Status is the code as a number in HTTP's manner, for Nats-Service-Error-Code.
func (e *Error) Status() string {
	if s, ok := httpStatus[e.Code]; ok {
		return s
	}
	return "400"
}

// AsError returns the [Error] in err's chain, or an internal one that hides err
// as its cause. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Errorf(CodeInternal, "the broker failed to handle this; its log has the reason").Because(err)
}

// IsCode says whether err is an [Error] with that code.
func IsCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
