package cli

import (
	"errors"

	"github.com/lessorhq/lessor/messages"
)

// advice is what the user can do about an error of the broker.
var advice = map[messages.Code]string{
	messages.CodeSecretNotFound:      "ask the broker's operator for the secret's name",
	messages.CodeTTLExceedsMax:       "ask for a shorter --ttl",
	messages.CodeTTLBelowMin:         "ask for a longer --ttl",
	messages.CodeSealedRequired:      "add --sealed",
	messages.CodeConfirmRequired:     "don't use --confirm=false",
	messages.CodeLimitExceeded:       "revoke leases that are not needed (lessor list), or try again later",
	messages.CodeRateExceeded:        "wait as long as the error says",
	messages.CodeDeadlineExceeded:    "try again, or wait longer with --timeout",
	messages.CodeIdempotencyMismatch: "repeat the request without changes, or use another --idempotency-key",
	messages.CodeAlreadyDelivered:    "a key is delivered once: revoke the lease, and use another --idempotency-key",
	messages.CodeLeaseNotFound:       "lessor list shows the leases",
	messages.CodeLeaseEnded:          "ask for a new one with lessor request",
	messages.CodeUsernameTaken:       "tell the broker's operator",
	messages.CodeInvalidSecret:       "tell the broker's operator",
	messages.CodeProviderDenied:      "tell the broker's operator",
	messages.CodeProviderRejected:    "tell the broker's operator",
	messages.CodeInvalidReply:        "use an --inbox-prefix that the broker answers on",
	messages.CodeNotRenewable:        "ask for a new one with lessor request",
	messages.CodeSecretDeleting:      "ask the broker's operator for another secret",
	messages.CodeSecretFromFile:      "change or remove its file in the broker's --secrets folder",
	messages.CodeRevisionMismatch:    "read it with lessor secret get, and put it with the --revision that it has now",
	messages.CodeCheckFailed:         "give the broker the rights (lessor policy prints them), or correct its credentials or the definition, or store it without a check with --no-check",
}

// operatorAdvice is what an operator can do about an error for which requesters need one.
var operatorAdvice = map[messages.Code]string{
	messages.CodeSecretNotFound:   "lessor secret list shows the dynamic secrets",
	messages.CodeSecretDeleting:   "wait until it is deleted; lessor secret delete shows how far the deletion is",
	messages.CodeInvalidSecret:    "correct the definition",
	messages.CodeProviderDenied:   "lessor policy prints the rights that the broker needs",
	messages.CodeProviderRejected: "correct the definition, or what it names at AWS",
}

// operatorError is an error of the broker that is shown to an operator.
type operatorError struct{ error }

func (o operatorError) Unwrap() error { return o.error }

// ForOperator marks an error of the broker as one that is shown to an operator, whose
// advice differs.
func ForOperator(err error) error { return operatorError{err} }

// explain returns what the terminal shows of an error: what happened and what to do next.
func explain(err error) string {
	var e *messages.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	next := advice[e.Code]
	var operator operatorError
	if better := operatorAdvice[e.Code]; better != "" && errors.As(err, &operator) {
		next = better
	}
	if next == "" && e.Retryable {
		next = "try again later"
	}
	if next == "" {
		return err.Error()
	}
	return err.Error() + "; " + next
}
