package awsiam

import (
	"errors"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
)

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		want   provider.Kind
	}{
		{"", 0, provider.Unavailable},
		{"", 502, provider.Unavailable},
		{"Throttling", 400, provider.Unavailable},
		{"ThrottlingException", 400, provider.Unavailable},
		{"RequestLimitExceeded", 503, provider.Unavailable},
		{"ServiceFailure", 500, provider.Unavailable},
		{"Whatever", 500, provider.Unavailable},
		{"ConcurrentModification", 409, provider.Unavailable},
		{"EntityTemporarilyUnmodifiable", 409, provider.Unavailable},
		{"DeleteConflict", 409, provider.Unavailable},
		{"InvalidClientTokenId", 403, provider.Unavailable},
		{"ExpiredToken", 403, provider.Unavailable},
		{"SignatureDoesNotMatch", 403, provider.Unavailable},
		{"AccessDenied", 403, provider.Denied},
		{"AccessDeniedException", 400, provider.Denied},
		{"NoSuchEntity", 404, provider.Rejected},
		{"MalformedPolicyDocument", 400, provider.Rejected},
		{"LimitExceeded", 409, provider.Rejected},
		{"ValidationError", 400, provider.Rejected},
		{"InvalidInput", 400, provider.Rejected},
		{"PolicyNotAttachable", 400, provider.Rejected},
	} {
		if got := kind(c.code, c.status); got != c.want {
			t.Errorf("%s (%d) is %s, want %s", c.code, c.status, got, c.want)
		}
	}
}

func TestFailureKeepsTheCode(t *testing.T) {
	cause := &smithy.GenericAPIError{Code: "NoSuchEntity", Message: "The user with name x cannot be found."}
	err := failure("GetUser", cause)
	if err.Code != noSuchEntity || err.Op != "GetUser" || !errors.Is(err, cause) || code(err) != noSuchEntity || failure("other", err) != err {
		t.Errorf("the error is %v", err)
	}
	if code(&smithy.GenericAPIError{Code: "UnknownError"}) != "" {
		t.Error("an answer that can't be read has a code")
	}
}
