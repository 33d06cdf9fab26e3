package cli

import (
	"errors"

	"github.com/lessorhq/lessor/messages"
)

// advice says what to do about a broker's error, as far as it is the person at
// the terminal who can.
var advice = map[messages.Code]string{
	messages.CodeSecretNotFound:      "ask the broker's operator for the secret's name",
	messages.CodeTTLExceedsMax:       "ask for a shorter --ttl",
	messages.CodeTTLBelowMin:         "ask for a longer --ttl",
	messages.CodeSealedRequired:      "add --sealed",
	messages.CodeConfirmRequired:     "leave --confirm on",
	messages.CodeLimitExceeded:       "revoke what is not needed (lessor list), or try again later",
	messages.CodeRateExceeded:        "wait as long as it says",
	messages.CodeDeadlineExceeded:    "try again, or wait longer with --timeout",
	messages.CodeIdempotencyMismatch: "repeat the very same request, or use another --idempotency-key",
	messages.CodeAlreadyDelivered:    "a key is told once: revoke the lease, and use another --idempotency-key",
	messages.CodeLeaseNotFound:       "lessor list shows the leases there are",
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
	messages.CodeCheckFailed:         "give the broker the rights (lessor policy prints them), or mend its credentials or the definition, or store it untried with --no-check",
}

// operatorsAdvice is what an operator can do where a requester can't.
var operatorsAdvice = map[messages.Code]string{
	messages.CodeSecretNotFound:   "lessor secret list shows those there are",
	messages.CodeSecretDeleting:   "wait until it is gone; lessor secret delete tells how far it is",
	messages.CodeInvalidSecret:    "mend the definition",
	messages.CodeProviderDenied:   "lessor policy prints the rights that the broker needs",
	messages.CodeProviderRejected: "mend the definition, or what it names at AWS",
}

// operatorsError is a broker's error told to an operator.
type operatorsError struct{ error }

func (o operatorsError) Unwrap() error { return o.error }

// ForOperator marks an error of the broker as one that is shown to an operator.
func ForOperator(err error) error { return operatorsError{err} }

// explain is what the terminal shows of an error: what happened and what to do
// next.
func explain(err error) string {
	var e *messages.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	next := advice[e.Code]
	var operator operatorsError
	if better := operatorsAdvice[e.Code]; better != "" && errors.As(err, &operator) {
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
