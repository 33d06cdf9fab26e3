package awsiam

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/awsauth"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// authFixture is an account, and a provider that has the environment of every
// authentication method.
type authFixture struct {
	*awstest.Env
	t        *testing.T
	provider *Provider
}

func newAuthFixture(t *testing.T) *authFixture {
	t.Helper()
	e := awstest.NewEnv(t)
	return &authFixture{Env: e, t: t, provider: New(Options{
		Endpoint: e.Server.URL, Getenv: e.Getenv, Now: e.Clock.Now, Log: zerolog.New(e.Log),
		Backoff: func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
	})}
}

// connect connects by a method.
func (b *authFixture) connect(auth messages.Auth) *account {
	b.t.Helper()
	a, err := b.provider.Connect(b.t.Context(), provider.Connection{
		Name: fmt.Sprint(auth), Region: "eu-central-1", Auth: auth, Session: "inst-1",
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.(*account)
}

// identify returns the broker's ARN. It makes one call.
func (b *authFixture) identify(a *account) string {
	b.t.Helper()
	who, err := a.Identify(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return who.ARN
}

// fails expects that Create fails because there are no credentials, before CreateUser is
// sent. Its error contains no secret.
func (b *authFixture) fails(a *account, kind provider.Kind, op, code, safe string) {
	b.t.Helper()
	_, err := a.Create(b.t.Context(), lease())
	expectError(b.t, err, kind, provider.LeftNothing)
	e := provider.AsError(err)
	if err == nil || !e.Unsigned || e.Code != code || e.Op != op || !strings.Contains(e.Safe(), safe) {
		b.t.Errorf("the error is %+v: %s", e, e.Safe())
	}
	if slices.Contains(b.Actions(), "CreateUser") {
		b.t.Error("CreateUser was sent")
	}
	b.ExpectNoSecret(e.Error(), e.Safe(), e.Public().Message, fmt.Sprintf("%+v %#v", e, e))
}

// plainUser returns the creation of a user with nothing attached.
func plainUser() provider.Creation {
	return provider.Creation{User: record.User{Name: userName, Path: "/"}, Owner: lease().Owner}
}

func TestEachAuthenticationMethodCreatesUsers(t *testing.T) {
	for _, m := range awstest.Methods {
		t.Run(m.Name, func(t *testing.T) {
			b := newAuthFixture(t)
			a := b.connect(m.Auth)
			if who := b.identify(a); who != "arn:aws:sts::123456789012:assumed-role/"+m.Principal {
				t.Errorf("the broker is %s", who)
			}
			if _, err := a.Create(t.Context(), plainUser()); err != nil {
				t.Error(err)
			}
			if n := b.CredentialCalls(); n != m.Calls {
				t.Errorf("there were %d calls for credentials", n)
			}
			for _, call := range b.Calls() {
				if call.AccessKeyID == os.Getenv("AWS_ACCESS_KEY_ID") {
					t.Errorf("%s was signed with the environment's key", call.Action)
				}
			}
		})
	}
}

// AWS's answer to AssumeRole is not its answer to the call that needs the session.
func TestAnswerToAssumeRoleIsNotTheCallsAnswer(t *testing.T) {
	b := newAuthFixture(t)
	a := b.connect(awstest.Methods[0].Auth)
	answer := func(status int, code string) {
		b.ResetCalls()
		b.SetHook(on("AssumeRole", -1, iamsim.Verdict{
			Do: iamsim.Fail, Status: status, Code: code, Message: "The user with name " + userName + " cannot be found.",
		}))
	}
	d := deletion("AKIAEXAMPLEEXAMPLE")
	for _, known := range []bool{true, false} {
		answer(404, awserr.NoSuchEntity)
		d.OwnerKnown = known
		err := a.Delete(t.Context(), d)
		if e := provider.AsError(err); err == nil || e.Kind != provider.Rejected || !e.Unsigned {
			t.Errorf("a user is taken for deleted although no call was made: %v", err)
		}
		if err := a.DeleteOwnKey(t.Context(), "AKIAEXAMPLEEXAMPLE"); err == nil {
			t.Error("a key is taken for deleted although no call was made")
		}
	}
	for code, kind := range map[string]provider.Kind{
		awserr.NoSuchEntity: provider.Rejected, awserr.AlreadyExists: provider.Rejected, awserr.LimitExceeded: provider.Rejected,
		awserr.ConcurrentModification: provider.Unavailable, awserr.DeleteConflict: provider.Unavailable,
	} {
		answer(409, code)
		b.fails(a, kind, "AssumeRole", code, "AssumeRole was answered with "+code)
		if n := b.Count("AssumeRole"); n != 1 || len(b.Calls()) != 1 {
			t.Errorf("%s: the calls are %v", code, b.Actions())
		}
	}

	answer(400, "Throttling")
	b.fails(a, provider.Unavailable, "AssumeRole", "Throttling", "Throttling")
	if n := b.Count("AssumeRole"); n != sdkAttempts {
		t.Errorf("AssumeRole was sent %d times", n)
	}
	if s := a.retryer.budget.Limiter().State(); !math.IsInf(s.Rate, 1) || s.Accepted != 0 {
		t.Errorf("the answers count for the account's call budget: %+v", s)
	}
	b.SetHook(nil)
	b.ResetCalls()
	if _, err := a.Create(t.Context(), plainUser()); err != nil || !slices.Contains(b.Actions(), "CreateUser") {
		t.Errorf("Create does not recover: %v", err)
	}
}

func TestSessionThatExpiresDuringACreationIsRequestedOnce(t *testing.T) {
	b := newAuthFixture(t)
	a := b.connect(awstest.Methods[0].Auth)
	b.identify(a)
	b.SetHook(func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		switch call.Action {
		case "AssumeRole":
			return refuse(409, awserr.LimitExceeded)
		case "CreateUser":
			return iamsim.Verdict{After: func() { b.Clock.Advance(2 * time.Hour) }}
		}
		return iamsim.Verdict{}
	})
	b.ResetCalls()
	_, err := a.Create(t.Context(), plainUser())
	expectError(t, err, provider.Rejected, provider.LeftUser)
	if n := b.Count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// If the broker's clock is slow, AWS may refuse a session that the broker takes for valid.
func TestSessionThatAWSCallsExpiredIsReplaced(t *testing.T) {
	for _, m := range awstest.Methods {
		t.Run(m.Name, func(t *testing.T) {
			b := newAuthFixture(t)
			a := b.connect(m.Auth)
			b.identify(a)
			first := b.LastKey()
			expired := func(action string) {
				b.SetHook(on(action, 1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "ExpiredToken", Message: "expired"}))
				if _, err := a.Identify(t.Context()); provider.AsError(err).Code != "ExpiredToken" {
					t.Errorf("the error is %v", err)
				}
			}
			b.Clock.Advance(time.Minute)
			expired("GetCallerIdentity")
			b.identify(a)
			second := b.LastKey()
			if second == first {
				t.Error("the refused session is still used")
			}
			expired("GetCallerIdentity") // may be the answer to a call with the first session
			if b.identify(a); b.LastKey() != second {
				t.Error("a session was replaced that had just been retrieved")
			}
			if m.Calls < 2 {
				return
			}
			n := b.CredentialCalls()
			b.Clock.Advance(40 * time.Minute)
			expired("GetCallerIdentity")
			expired("AssumeRole")
			b.identify(a)
			b.ExpectCredentialCalls(n + 3) // two for the second role, one for the first
		})
	}
}

// A key that AWS refuses is one that the call was signed with, so the call itself fails.
func TestRevokedAccessKeyFailsTheCall(t *testing.T) {
	b := newAuthFixture(t)
	a := b.connect(b.UserKey)
	b.identify(a)
	b.RevokeKey(b.UserKey.AccessKeyID)
	_, err := a.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	e := provider.AsError(err)
	if e.Unsigned || e.Op != "CreateUser" || e.Code != "InvalidClientTokenId" {
		t.Errorf("the error is %+v", e)
	}
	b.ExpectNoSecret(e.Error(), e.Safe(), fmt.Sprintf("%+v %#v", e, e))
}

// A creation that is cancelled while it waits for credentials leaves nothing.
func TestCancelledCreationWithoutCredentialsLeavesNothing(t *testing.T) {
	b := newAuthFixture(t)
	a := b.connect(awstest.Methods[0].Auth)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan struct{})
	b.SetHook(func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		if call.Action == "AssumeRole" {
			cancel()
			<-answer
		}
		return iamsim.Verdict{}
	})
	_, err := a.Create(ctx, lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	if e := provider.AsError(err); !errors.Is(err, context.Canceled) || !e.Unsigned || e.Op != "AssumeRole" {
		t.Errorf("the error is %+v", e)
	}
	close(answer)
	b.identify(a)
	if n := b.Count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// A call for credentials whose answer is lost is not recorded as an attempt at the call
// that needs them.
func TestLostAnswerToAssumeRoleLeavesNothing(t *testing.T) {
	b := newAuthFixture(t)
	a := b.connect(awstest.Methods[0].Auth)
	b.SetHook(on("AssumeRole", -1, iamsim.Verdict{Do: iamsim.DropAfter}))
	b.fails(a, provider.Unavailable, "AssumeRole", "", "AssumeRole failed before AWS answered")
	if n := b.Count("AssumeRole"); n != sdkAttempts {
		t.Errorf("AssumeRole was sent %d times", n)
	}
}

func TestMissingCredentialsAreReported(t *testing.T) {
	t.Parallel()
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no role here")
	})
	b := newFixture(t, func(o *Options) { o.Credentials = none })
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	if e := provider.AsError(err); !e.Unsigned || !strings.Contains(e.Safe(), "no credentials") || !awsauth.IsUnsigned(err) {
		t.Errorf("the error is %+v", e)
	}
	if _, err := b.account.Identify(t.Context()); err == nil || !strings.Contains(err.Error(), "no role here") {
		t.Errorf("the error is %v", err)
	}
	if n := len(b.Calls()); n > 0 {
		t.Errorf("there were %d calls", n)
	}
}

// A connection is replaced when the secret of its access key changes.
func TestConnectionWithANewSecretIsReplaced(t *testing.T) {
	b := newAuthFixture(t)
	connect := func(secret string) provider.Account {
		auth := b.UserKey
		auth.SecretAccessKey = messages.NewSensitive(secret)
		a, err := b.provider.Connect(t.Context(), provider.Connection{Name: "same", Region: "eu-central-1", Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	old := connect("wrong")
	if _, err := old.Identify(t.Context()); provider.AsError(err).Code != "SignatureDoesNotMatch" {
		t.Error(err)
	}
	now := connect(b.UserKey.SecretAccessKey.Reveal())
	if _, err := now.Identify(t.Context()); err != nil {
		t.Error(err)
	}
	if connect(b.UserKey.SecretAccessKey.Reveal()) != now || now == old {
		t.Error("the connection does not change exactly with its secret")
	}
}

func TestConnectFailsIfItsChainIsInvalid(t *testing.T) {
	b := newAuthFixture(t)
	b.BreakChain()
	b.identify(b.connect(b.UserKey)) // does not use the chain
	_, err := b.provider.Connect(t.Context(), provider.Connection{Region: "eu-central-1", Auth: messages.Auth{Method: messages.AuthDefault}})
	expectError(t, err, provider.Unavailable, "")
}

// The permissions of a pod are enough to lease sessions of a role, whose tags include those
// of the pod.
func TestPermissionsOfAPodAreEnoughForSessions(t *testing.T) {
	b := newAuthFixture(t)
	s := definitions()["session"]
	s.AWS.Auth.Method = messages.AuthPodIdentity
	b.AddPolicy(ownPolicy, definition.DenyAll)
	b.AddRole("deploy", awstest.Trust("arn:aws:iam::123456789012:root", ""))
	b.AddRolePolicy("pod", "everything", permissions(t, s, options()))
	w := leastPrivilegeFixture{fixture: &fixture{Sim: b.Sim, t: t, server: b.Server}, secret: s.WithDefaults()}
	creation := w.creation(1)
	creation.User.ManagedPolicies = nil
	if err := failed(b.connect(s.AWS.Auth).DryRun(t.Context(), creation)); err != nil {
		t.Error(err)
	}
	without := s
	without.AWS.Auth.Method = messages.AuthDefault
	b.AddRolePolicy("pod", "everything", permissions(t, without, options()))
	if err := failed(b.connect(s.AWS.Auth).DryRun(t.Context(), creation)); !slices.Contains(deniedActions(err), "sts:TagSession") {
		t.Errorf("the error is %v", err)
	}
}
