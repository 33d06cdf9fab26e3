package messages

import (
	"errors"
	"fmt"
	"time"
)

// Code identifies an error. Codes are stable, so that programs may switch on them.
type Code string

// The codes. A message that failed with a code marked "retryable" may succeed when it
// is sent again later.
const (
	CodeInvalidRequest      Code = "invalid_request"      // the body or a header is malformed or out of range
	CodeInvalidSubject      Code = "invalid_subject"      // identity, secret or lease id is not a valid token
	CodeInvalidReply        Code = "invalid_reply"        // no reply subject, or one that is not allowed
	CodeTooLarge            Code = "message_too_large"    // the message is above the limit
	CodeInvalidSecret       Code = "invalid_secret"       // the definition of a dynamic secret is invalid
	CodeSecretNotFound      Code = "secret_not_found"     // there is no such dynamic secret
	CodeSecretDeleting      Code = "secret_deleting"      // the dynamic secret is being deleted
	CodeSecretFromFile      Code = "secret_from_file"     // only its file can change the dynamic secret
	CodeRevisionMismatch    Code = "revision_mismatch"    // the dynamic secret has changed since it was read
	CodeCheckFailed         Code = "check_failed"         // the dry run of the definition failed at AWS
	CodeNotRenewable        Code = "not_renewable"        // temporary credentials can't be renewed
	CodeTTLExceedsMax       Code = "ttl_exceeds_max"      // the ttl is above the secret's max_ttl
	CodeTTLBelowMin         Code = "ttl_below_min"        // the ttl is below the broker's minimum
	CodeSealedRequired      Code = "sealed_required"      // the secret requires an xkey
	CodeConfirmRequired     Code = "confirm_required"     // the secret requires confirm
	CodeLimitExceeded       Code = "limit_exceeded"       // too many leases; retryable
	CodeRateExceeded        Code = "rate_exceeded"        // too many requests in a minute; retryable
	CodeDeadlineExceeded    Code = "deadline_exceeded"    // the request's deadline has passed; retryable
	CodeIdempotencyMismatch Code = "idempotency_mismatch" // the key was used with another body
	CodeAlreadyDelivered    Code = "already_delivered"    // the lease of this key was delivered before
	CodeLeaseNotFound       Code = "lease_not_found"      // no such lease, or another identity's
	CodeLeaseEnded          Code = "lease_ended"          // the lease has expired or was revoked
	CodeUsernameTaken       Code = "username_taken"       // another IAM user has the user name
	CodeProviderDenied      Code = "provider_denied"      // AWS denies the broker the call
	CodeProviderRejected    Code = "provider_rejected"    // AWS rejects the call: no such policy, a quota
	CodeProviderUnavailable Code = "provider_unavailable" // AWS can't be reached, throttles or fails; retryable
	CodeAbandoned           Code = "abandoned"            // the worker stopped before the lease was complete; retryable
	CodeRecordUnreadable    Code = "record_unreadable"    // the lease record is damaged, or of a newer version; retryable
	CodeUnavailable         Code = "unavailable"          // NATS or the broker can't serve this now; retryable
	CodeInternal            Code = "internal"             // an internal error of the broker; retryable
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

// Error is an error as requesters see it: a stable code and a message that is safe to
// show. The cause is for logs and is not encoded.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	// RetryAfter is how long to wait before the message is sent again; 0 is unknown.
	RetryAfter Duration `json:"retry_after,omitzero"`

	cause error
}

// Errorf returns an error with a formatted message. The message must be safe to show
// to the requester.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: retryable[code]}
}

// Because returns a copy of e with a cause, for logs.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// After returns a copy of e with RetryAfter set to wait, rounded up to whole seconds
// and at least 1s.
func (e *Error) After(wait time.Duration) *Error {
	c := *e
	c.RetryAfter = Duration(max(wait+time.Second-1, time.Second).Truncate(time.Second))
	return &c
}

// Error returns the code and the message, without the cause.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Status returns the HTTP status code that corresponds to the code, for
// [HeaderErrorCode]. It is "400" for unknown codes.
func (e *Error) Status() string {
	if s, ok := httpStatus[e.Code]; ok {
		return s
	}
	return "400"
}

// AsError returns the [Error] in the chain of err. If there is none, it returns an
// error with [CodeInternal] that does not show err. It returns nil for nil.
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

// IsCode reports whether an [Error] with the code is in the chain of err.
func IsCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
