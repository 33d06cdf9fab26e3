package awsiam

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

func TestAWrongExternalIDIsForAPersonToMend(t *testing.T) {
	for _, way := range ways {
		if way.auth.ExternalID == "" {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			a := newAuthBench(t)
			auth := way.auth
			auth.ExternalID = "lessor:wrong"
			c := a.as(auth)
			a.fails(c, provider.Denied, "AssumeRole", "AccessDenied",
				"the broker could not authenticate to AWS: AssumeRole was answered with AccessDenied; its operator must see to that")
			if n := a.count("AssumeRole"); n != 1 {
				t.Errorf("AssumeRole was called %d times", n)
			}
			a.SetTrust("one", trust("arn:aws:iam::123456789012:user/base", "lessor:wrong"))
			a.SetTrust("two", trustPolicy(t, TrustLeasedRole, TrustOptions{Principal: rolePod, ExternalID: "lessor:wrong"}))
			a.identify(c)
		})
	}
}

func TestARoleWithoutTrust(t *testing.T) {
	for _, c := range []struct{ name, op, code string }{
		{"assume_role", "AssumeRole", "AccessDenied"},
		{"irsa", "AssumeRoleWithWebIdentity", "AccessDenied"},
		{"irsa, second role", "AssumeRoleWithWebIdentity", "AccessDenied"},
		{"pod_identity", "GetCredentials", "AccessDeniedException"},
		{"pod_identity, second role", "GetCredentials", "AccessDeniedException"},
	} {
		for _, way := range ways {
			if way.name == c.name {
				a := newAuthBench(t)
				a.SetTrust("one", trust("arn:aws:iam::123456789012:user/somebody", ""))
				a.SetTrust("pod", trust("arn:aws:iam::123456789012:user/somebody", ""))
				a.fails(a.as(way.auth), provider.Denied, c.op, c.code, c.op+" was answered with "+c.code)
			}
		}
	}
}

func TestARevokedBaseKey(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	a.SetKeyActive(a.baseKey, false)
	a.fails(c, provider.Unavailable, "AssumeRole", "InvalidClientTokenId", "AssumeRole was answered with InvalidClientTokenId")
	a.SetKeyActive(a.baseKey, true)
	a.identify(c)

	a.RevokeKey(a.baseKey)
	a.identify(c) // the session outlives the key
	a.clock.advance(2 * sessionLife)
	a.fails(c, provider.Unavailable, "AssumeRole", "InvalidClientTokenId", "InvalidClientTokenId")
}

// A key that is AWS's own to refuse is signed with, so the call says it.
func TestARevokedAccessKey(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(a.userKey)
	a.identify(c)
	a.RevokeKey(a.userKey.AccessKeyID)
	_, err := c.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	if e := provider.AsError(err); e.Unsigned || e.Op != "CreateUser" || e.Code != "InvalidClientTokenId" {
		t.Errorf("the error is %+v", e)
	}
	a.expectNoSecret(provider.AsError(err))
}

func TestATokenThatHasExpired(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(messages.Auth{Method: messages.AuthIRSA})
	a.clock.advance(2 * time.Hour)
	a.fails(c, provider.Unavailable, "AssumeRoleWithWebIdentity", "ExpiredTokenException", "ExpiredTokenException")
	a.write(envWebToken, "not a token")
	a.fails(c, provider.Unavailable, "AssumeRoleWithWebIdentity", "InvalidIdentityToken", "InvalidIdentityToken")
	a.rotate(time.Hour)
	a.identify(c)

	a = newAuthBench(t)
	c = a.as(messages.Auth{Method: messages.AuthPodIdentity})
	a.agent.SetToken("pod-token", a.clock.now())
	a.fails(c, provider.Unavailable, "GetCredentials", "", "GetCredentials failed before AWS answered")
	a.agent.SetToken("pod-token-2", time.Time{})
	a.fails(c, provider.Unavailable, "GetCredentials", "InvalidTokenException", "InvalidTokenException")
	a.write(envAgentToken, "pod-token-2")
	a.identify(c)
}

func TestATokenFileThatIsNotThereYet(t *testing.T) {
	for variable, auth := range map[string]messages.Auth{
		envWebToken:   {Method: messages.AuthIRSA},
		envAgentToken: {Method: messages.AuthPodIdentity},
	} {
		a := newAuthBench(t)
		c := a.as(auth)
		token, err := os.ReadFile(a.env[variable])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(a.env[variable]); err != nil {
			t.Fatal(err)
		}
		a.fails(c, provider.Unavailable, "CreateUser", "", "no credentials for AWS: the file that "+variable+" names can't be read; its operator")
		a.write(variable, "\n")
		a.fails(c, provider.Unavailable, "CreateUser", "", "the file that "+variable+" names is empty")
		if n := a.asked(); n != 0 {
			t.Errorf("%d calls without a token", n)
		}
		a.write(variable, string(token))
		a.identify(c)
	}
}

func TestAnAgentThatIsAway(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(messages.Auth{Method: messages.AuthPodIdentity})
	_ = a.pod.Close()
	a.fails(c, provider.Unavailable, "GetCredentials", "", "GetCredentials failed before AWS answered")
}

func TestAVariableThatIsMissing(t *testing.T) {
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
		a := newAuthBench(t)
		a.env[c.variable] = c.value
		account := a.as(messages.Auth{Method: c.method})
		a.fails(account, provider.Rejected, "CreateUser", "", c.variable)
		e := provider.AsError(account.Extend(t.Context(), lease().User, time.Now()))
		if e.Kind != provider.Rejected || !strings.HasPrefix(e.Safe(), "the broker has no credentials for AWS: ") {
			t.Errorf("%s: %s", c.variable, e.Safe())
		}
		if n := a.asked() + len(a.Calls()); n != 0 {
			t.Errorf("%s: there were %d calls", c.variable, n)
		}
	}
}

func TestAnAccessKeyWithoutItsSecret(t *testing.T) {
	a := newAuthBench(t)
	auth := a.userKey
	auth.SecretAccessKey = messages.Sensitive{}
	a.fails(a.as(auth), provider.Rejected, "CreateUser", "", "the access key has no secret")
}

func TestKindsOfAuthentication(t *testing.T) {
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
		e := failure("CreateUser", unauthenticated("GetCredentials", c.err))
		if e.Kind != c.kind || e.Code != c.code || e.Op != "GetCredentials" || !e.Unsigned || code(e) != "" {
			t.Errorf("%v is %+v", c.err, e)
		}
	}
}

// agentError is an error of an agent's, as the SDK makes it.
type agentError struct {
	status  int
	message string
}

func (e *agentError) Error() string                 { return ": " + e.message }
func (e *agentError) ErrorCode() string             { return "" }
func (e *agentError) ErrorMessage() string          { return e.message }
func (e *agentError) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }
func (e *agentError) HTTPStatusCode() int           { return e.status }

// The machine's own agent is asked without a proxy.
func TestNoProxySeesTheTokenOfAPod(t *testing.T) {
	c, ok := agentClient(httpClient(Options{})).(interface{ GetTransport() *http.Transport })
	if !ok {
		t.Fatal("the client has no transport to look at")
	}
	t.Setenv("HTTP_PROXY", "http://proxy.example.com")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.170.23/v1/credentials", nil)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := c.GetTransport().Proxy(r); proxy != nil || err != nil {
		t.Errorf("the proxy is %v: %v", proxy, err)
	}
}
