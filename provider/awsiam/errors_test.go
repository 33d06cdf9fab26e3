package awsiam

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestFailureKeepsCodeAndCause(t *testing.T) {
	cause := &smithy.GenericAPIError{Code: "NoSuchEntity", Message: "The user with name x cannot be found."}
	err := failure("GetUser", cause)
	if err.Code != awserr.NoSuchEntity || err.Op != "GetUser" || !errors.Is(err, cause) || code(err) != awserr.NoSuchEntity || failure("other", err) != err {
		t.Errorf("the error is %v", err)
	}
}

// The missing permission is shown to the operator, not to the requester.
func TestDenialNamesTheMissingPermissionToOperatorsOnly(t *testing.T) {
	t.Parallel()
	w := newLeastPrivilegeFixture(t, awstest.Definition(), permissions(t, definitions()["minimal"], options()))
	_, err := w.account.Create(t.Context(), w.creation(1))
	expectError(t, err, provider.Denied, provider.LeftNothing)
	e := provider.AsError(err)
	if e.Action != "iam:TagUser" || e.Resource != "arn:aws:iam::123456789012:user/lessor/ci/"+userName {
		t.Errorf("the error is about %s on %s", e.Action, e.Resource)
	}
	for _, safe := range []string{e.Safe(), e.Public().Message} {
		if strings.Contains(safe, "arn:") || strings.Contains(safe, "iam:") {
			t.Error(safe)
		}
	}
}

func TestOnlyDenialsNameAPermission(t *testing.T) {
	e := failure("GetUser", &smithy.GenericAPIError{
		Code: "Throttling", Message: "User: x is not authorized to perform: iam:GetUser on resource: *",
	})
	if e.Action != "" || e.Resource != "" {
		t.Errorf("%+v", e)
	}
}
