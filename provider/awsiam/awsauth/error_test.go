package awsauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestWrongExternalIDIsDenied(t *testing.T) {
	for _, m := range awstest.Methods {
		if m.Auth.ExternalID == "" {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			b := newFixture(t)
			auth := m.Auth
			auth.ExternalID = "lessor:wrong"
			c := b.credentials(auth)
			b.fails(c, provider.Denied, "AssumeRole", "AccessDenied",
				"the broker could not authenticate to AWS: AssumeRole was answered with AccessDenied; its operator has to fix that")
			if n := b.Count("AssumeRole"); n != 1 {
				t.Errorf("AssumeRole was called %d times", n)
			}
			b.SetTrust("one", awstest.Trust("arn:aws:iam::123456789012:user/base", "lessor:wrong"))
			b.SetTrust("two", awstest.Trust(awstest.RolePod, "lessor:wrong"))
			b.identify(c)
		})
	}
}

func TestRoleThatDoesNotTrustTheBrokerIsDenied(t *testing.T) {
	for _, c := range []struct{ name, op, code string }{
		{"assume_role", "AssumeRole", "AccessDenied"},
		{"irsa", "AssumeRoleWithWebIdentity", "AccessDenied"},
		{"irsa, second role", "AssumeRoleWithWebIdentity", "AccessDenied"},
		{"pod_identity", "GetCredentials", "AccessDeniedException"},
		{"pod_identity, second role", "GetCredentials", "AccessDeniedException"},
	} {
		for _, m := range awstest.Methods {
			if m.Name == c.name {
				b := newFixture(t)
				b.SetTrust("one", awstest.Trust("arn:aws:iam::123456789012:user/other", ""))
				b.SetTrust("pod", awstest.Trust("arn:aws:iam::123456789012:user/other", ""))
				b.fails(b.credentials(m.Auth), provider.Denied, c.op, c.code, c.op+" was answered with "+c.code)
			}
		}
	}
}

func TestSessionOutlivesTheBaseKey(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	b.SetKeyActive(b.BaseKey, false)
	b.fails(c, provider.Unavailable, "AssumeRole", "InvalidClientTokenId", "AssumeRole was answered with InvalidClientTokenId")
	b.SetKeyActive(b.BaseKey, true)
	b.identify(c)

	b.RevokeKey(b.BaseKey)
	b.identify(c)
	b.Clock.Advance(2 * sessionLife)
	b.fails(c, provider.Unavailable, "AssumeRole", "InvalidClientTokenId", "InvalidClientTokenId")
}

func TestExpiredTokenIsUnavailableUntilItIsReplaced(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(messages.Auth{Method: messages.AuthIRSA})
	b.Clock.Advance(2 * time.Hour)
	b.fails(c, provider.Unavailable, "AssumeRoleWithWebIdentity", "ExpiredTokenException", "ExpiredTokenException")
	b.Write(envWebToken, "not a token")
	b.fails(c, provider.Unavailable, "AssumeRoleWithWebIdentity", "InvalidIdentityToken", "InvalidIdentityToken")
	b.RotateToken(time.Hour)
	b.identify(c)

	b = newFixture(t)
	c = b.credentials(messages.Auth{Method: messages.AuthPodIdentity})
	b.Agent.SetToken("pod-token", b.Clock.Now())
	b.fails(c, provider.Unavailable, "GetCredentials", "", "GetCredentials failed before AWS answered")
	b.Agent.SetToken("pod-token-2", time.Time{})
	b.fails(c, provider.Unavailable, "GetCredentials", "InvalidTokenException", "InvalidTokenException")
	b.Write(envAgentToken, "pod-token-2")
	b.identify(c)
}

func TestUnreachableAgentIsUnavailable(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(messages.Auth{Method: messages.AuthPodIdentity})
	_ = b.AgentServer.Close()
	b.fails(c, provider.Unavailable, "GetCredentials", "", "GetCredentials failed before AWS answered")
}

func TestMissingVariableIsNamed(t *testing.T) {
	for _, c := range []struct {
		method          messages.AuthMethod
		variable, value string
	}{
		{messages.AuthIRSA, envIRSA, ""},
		{messages.AuthIRSA, envIRSA, "false"},
		{messages.AuthIRSA, envIRSA, "True"},
		{messages.AuthIRSA, envRole, ""},
		{messages.AuthIRSA, envWebToken, ""},
		{messages.AuthPodIdentity, envAgentURL, ""},
		{messages.AuthPodIdentity, envAgentURL, "http://10.0.0.1/"},
		{messages.AuthPodIdentity, envAgentToken, ""},
	} {
		b := newFixture(t)
		b.Vars[c.variable] = c.value
		got := b.credentials(messages.Auth{Method: c.method})
		b.fails(got, provider.Rejected, "CreateUser", "", c.variable)
		b.fails(got, provider.Rejected, "CreateUser", "", "the broker has no credentials for AWS: ")
		if n := b.CredentialCalls() + len(b.Calls()); n != 0 {
			t.Errorf("%s: there were %d calls", c.variable, n)
		}
	}
}

func TestAccessKeyWithoutItsSecretIsRejected(t *testing.T) {
	b := newFixture(t)
	auth := b.UserKey
	auth.SecretAccessKey = messages.Sensitive{}
	b.fails(b.credentials(auth), provider.Rejected, "CreateUser", "", "the access key has no secret")
}

func TestErrorKinds(t *testing.T) {
	agent := func(status int, message string) error {
		return fmt.Errorf("failed to load credentials, %w", &agentError{status, message})
	}
	for _, c := range []struct {
		err  error
		kind provider.Kind
		code string
	}{
		{errors.New("no route"), provider.Unavailable, ""},
		{&smithy.GenericAPIError{Code: "AccessDenied"}, provider.Denied, "AccessDenied"},
		{&smithy.GenericAPIError{Code: "ExpiredTokenException"}, provider.Unavailable, "ExpiredTokenException"},
		{&smithy.GenericAPIError{Code: "InvalidIdentityToken"}, provider.Unavailable, "InvalidIdentityToken"},
		{&smithy.GenericAPIError{Code: "IDPCommunicationError"}, provider.Unavailable, "IDPCommunicationError"},
		{&smithy.GenericAPIError{Code: "IDPRejectedClaim"}, provider.Unavailable, "IDPRejectedClaim"},
		{&smithy.GenericAPIError{Code: "ValidationError"}, provider.Rejected, "ValidationError"},
		{&smithy.GenericAPIError{Code: "RegionDisabledException"}, provider.Rejected, "RegionDisabledException"},
		{agent(400, "[b7]: (AccessDeniedException): Unauthorized Exception!, fault: client"), provider.Denied, "AccessDeniedException"},
		{agent(400, "[b7]: (ExpiredTokenException): x, fault: client"), provider.Unavailable, "ExpiredTokenException"},
		{agent(404, "[b7]: (ResourceNotFoundException): x, fault: client"), provider.Rejected, "ResourceNotFoundException"},
		{agent(429, "[b7]: (ThrottlingException): x, fault: client"), provider.Unavailable, "ThrottlingException"},
		{agent(500, "[b7]: (InternalServerException): x, fault: server"), provider.Unavailable, "InternalServerException"},
		{agent(429, "Too Many Requests. x"), provider.Unavailable, ""},
		{agent(403, "Access Denied. Called agent through invalid address"), provider.Unavailable, ""},
		{agent(502, "<html>"), provider.Unavailable, ""},
	} {
		err := unauthenticated("GetCredentials", c.err)
		e := err.Failure("CreateUser", err)
		if e.Kind != c.kind || e.Code != c.code || e.Op != "GetCredentials" || !e.Unsigned || !IsUnsigned(e) || !errors.Is(e, c.err) {
			t.Errorf("%v is %+v", c.err, e)
		}
	}
}

// A method that lacks credentials for its own call reports what that call lacks.
func TestFirstCauseIsReported(t *testing.T) {
	first := unauthenticated("GetCredentials", errors.New("no route"))
	second := unauthenticated("AssumeRole", fmt.Errorf("failed to sign: %w", first))
	if second != first || !strings.Contains(second.Error(), "GetCredentials failed before AWS answered") {
		t.Errorf("got %v", second)
	}
}

// agentError is an error of the agent, as the SDK returns it.
type agentError struct {
	status  int
	message string
}

func (e *agentError) Error() string                 { return ": " + e.message }
func (e *agentError) ErrorCode() string             { return "" }
func (e *agentError) ErrorMessage() string          { return e.message }
func (e *agentError) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }
func (e *agentError) HTTPStatusCode() int           { return e.status }
