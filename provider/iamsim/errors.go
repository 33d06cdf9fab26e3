package iamsim

import (
	"fmt"
	"net/http"
)

// apiError is an error response of AWS.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func noSuchEntity(format string, a ...any) error {
	return &apiError{http.StatusNotFound, "NoSuchEntity", fmt.Sprintf(format, a...)}
}

func alreadyExists(format string, a ...any) error {
	return &apiError{http.StatusConflict, "EntityAlreadyExists", fmt.Sprintf(format, a...)}
}

func limitExceeded(format string, a ...any) error {
	return &apiError{http.StatusConflict, "LimitExceeded", fmt.Sprintf(format, a...)}
}

func quotaExceeded(quota string, limit int) error {
	return limitExceeded("Cannot exceed quota for %s: %d", quota, limit)
}

func deleteConflict(format string, a ...any) error {
	return &apiError{http.StatusConflict, "DeleteConflict", fmt.Sprintf(format, a...)}
}

func validation(format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, a...)}
}

func invalidInput(format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "InvalidInput", fmt.Sprintf(format, a...)}
}

func malformedPolicy(format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "MalformedPolicyDocument", fmt.Sprintf(format, a...)}
}

func packedTooLarge(percent int) error {
	return &apiError{http.StatusBadRequest, "PackedPolicyTooLarge",
		fmt.Sprintf("Packed policy consumes %d%% of packedRoom space, please use smaller policy.", percent)}
}

func accessDenied(format string, a ...any) error {
	return &apiError{http.StatusForbidden, "AccessDenied", fmt.Sprintf(format, a...)}
}

func badSignature(format string, a ...any) error {
	return &apiError{http.StatusForbidden, "SignatureDoesNotMatch", fmt.Sprintf(format, a...)}
}

func incompleteSignature(format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "IncompleteSignature", fmt.Sprintf(format, a...)}
}

func invalidToken() error {
	return &apiError{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."}
}

func throttled() error {
	return &apiError{http.StatusBadRequest, "Throttling", "Rate exceeded"}
}

func serviceFailure() error {
	return &apiError{http.StatusInternalServerError, "ServiceFailure", "The request processing has failed because of an unknown error, exception or failure."}
}

func concurrentModification(user string) error {
	return &apiError{http.StatusConflict, "ConcurrentModification",
		fmt.Sprintf("Request cannot be completed because another request is modifying user %s. Please try again.", user)}
}
