package awsauth

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestSessionsAreRefreshedBeforeTheyExpire(t *testing.T) {
	for _, m := range awstest.Methods {
		t.Run(m.Name, func(t *testing.T) {
			b := newFixture(t)
			c := b.credentials(m.Auth)
			b.identify(c)
			first := b.LastKey()

			b.Clock.Advance(sessionLife - refreshWindow - time.Second)
			b.refreshed(c)
			b.ExpectCredentialCalls(m.Calls)
			if b.LastKey() != first {
				t.Error("the session was refreshed too early")
			}

			b.RotateToken(time.Hour)
			b.Write(envAgentToken, "agent-token-2\n")
			b.Agent.SetToken("agent-token-2", time.Time{})
			b.Clock.Advance(refreshWindow/2 + time.Second)
			b.identify(c) // uses the first session, which is still valid
			b.refreshed(c)
			second := b.LastKey()
			b.ExpectCredentialCalls(2 * m.Calls)
			if second == first {
				t.Error("the session was not refreshed")
			}

			b.RotateToken(3 * time.Hour)
			b.Clock.Advance(2 * time.Hour)
			b.identify(c)
			b.ExpectCredentialCalls(3 * m.Calls)
			if b.LastKey() == second {
				t.Error("the expired session was not replaced")
			}
		})
	}
}

// The SDK's chain returns a session until it expires.
func TestSessionsOfTheChainAreRefreshedBeforeTheyExpire(t *testing.T) {
	for name, auth := range map[string]messages.Auth{
		"default":     {Method: messages.AuthDefault},
		"assume_role": {Method: messages.AuthAssumeRole, RoleARN: awstest.RoleTwo, ExternalID: "lessor:2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			clear(b.Vars)
			b.UsePodChain()
			c := b.credentials(auth)
			b.identify(c)
			first := b.LastKey()
			b.Clock.Advance(sessionLife - refreshWindow/2)
			b.identify(c)
			b.refreshed(c)
			b.identify(c)
			// The base credentials of assume_role are refreshed in the background.
			for end := time.Now().Add(10 * time.Second); b.Count("AssumeRoleWithWebIdentity") != 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if b.Count("AssumeRoleWithWebIdentity") != 2 || b.LastKey() == first {
				t.Errorf("the session was not refreshed: %v", b.Actions())
			}
		})
	}
}

// A failed refresh does no harm while the session is valid, and is not repeated for every
// call.
func TestFailedRefreshFailsNoCall(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	b.identify(c)
	first := b.LastKey()
	b.SetHook(awstest.On("AssumeRole", -1, awstest.Refuse(403, "AccessDenied")))
	b.Clock.Advance(sessionLife - refreshWindow/2)
	for range 3 {
		b.identify(c)
		b.refreshed(c)
	}
	if n := b.Count("AssumeRole"); n != 2 || b.LastKey() != first {
		t.Errorf("AssumeRole was called %d times", n)
	}
	if n := strings.Count(b.Log.String(), "could not be refreshed"); n != 1 {
		t.Errorf("%d warnings: %s", n, b.Log)
	}
	b.Clock.Advance(refreshPause)
	b.identify(c)
	b.refreshed(c)
	if n := b.Count("AssumeRole"); n != 3 {
		t.Errorf("AssumeRole was called %d times", n)
	}

	b.Clock.Advance(refreshWindow / 2)
	b.fails(c, provider.Denied, "AssumeRole", "AccessDenied", "AssumeRole was answered with AccessDenied")
	b.SetHook(nil)
	b.identify(c)
	if b.LastKey() == first {
		t.Error("the expired session is used")
	}
}

func TestConcurrentCallsShareARefresh(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	b.retrieveMany(c)
	if n := b.Count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}

	b.Clock.Advance(2 * sessionLife)
	b.retrieveMany(c)
	if n := b.Count("AssumeRole"); n != 2 {
		t.Errorf("for an expired session AssumeRole was called %d times", n-1)
	}
}

// retrieveMany retrieves credentials many times concurrently.
func (b *fixture) retrieveMany(c *Cache) {
	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			if _, err := c.Retrieve(b.t.Context()); err != nil {
				b.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// STS answers the refresh only after all calls were served.
func TestCallsDoNotWaitForARefreshWhileTheSessionIsValid(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	b.identify(c)
	done := make(chan struct{})
	b.SetHook(func(ctx context.Context, call iamsim.Call) iamsim.Verdict {
		if call.Action == "AssumeRole" {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		return iamsim.Verdict{}
	})
	b.Clock.Advance(sessionLife - refreshWindow/2)
	b.retrieveMany(c)
	close(done)
	b.refreshed(c)
	if n := b.Count("AssumeRole"); n != 2 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// The call that started a refresh is cancelled; the refresh goes on for the others.
func TestRefreshSurvivesTheCallThatStartedIt(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	ctx, cancel := context.WithCancel(t.Context())
	asked, answer := make(chan struct{}), make(chan struct{})
	b.SetHook(func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		if call.Action == "AssumeRole" {
			close(asked)
			<-answer
		}
		return iamsim.Verdict{}
	})
	cancelled := make(chan error, 1)
	go func() { _, err := c.Retrieve(ctx); cancelled <- err }()
	<-asked
	cancel()
	err := <-cancelled
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, context.Canceled) || e.Kind != provider.Unavailable || e.Op != "AssumeRole" {
		t.Errorf("the error is %v", err)
	}
	close(answer)
	b.identify(c)
	if n := b.Count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// A refresh has neither the values nor the traces of the call's context, and a deadline of
// its own.
func TestRefreshHasItsOwnContext(t *testing.T) {
	type key struct{}
	c := Config{Timeout: time.Minute, Now: time.Now}.cached("", func(ctx context.Context) (aws.Credentials, error) {
		if ctx.Value(key{}) != nil || httptrace.ContextClientTrace(ctx) != nil {
			t.Error("the refresh has the context of the call")
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the refresh has no deadline")
		}
		return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
	})
	ctx := httptrace.WithClientTrace(context.WithValue(t.Context(), key{}, true), &httptrace.ClientTrace{})
	if _, err := c.Retrieve(ctx); err != nil {
		t.Error(err)
	}
}

func TestLostAnswersAreRepeated(t *testing.T) {
	b := newFixture(t)
	c := b.credentials(awstest.Methods[0].Auth)
	b.SetHook(awstest.On("AssumeRole", -1, iamsim.Verdict{Do: iamsim.DropAfter}))
	b.fails(c, provider.Unavailable, "AssumeRole", "", "AssumeRole failed before AWS answered")
	if n := b.Count("AssumeRole"); n != attempts {
		t.Errorf("AssumeRole was sent %d times", n)
	}
}

// Sessions that are shorter than the refresh window are not refreshed for every call.
func TestShortSessionsAreRefreshedAtMostEveryHalfMinute(t *testing.T) {
	b := newFixture(t)
	b.Agent.SetSessionDuration(2 * time.Minute)
	c := b.credentials(awstest.Methods[3].Auth)
	for range 3 {
		b.identify(c)
		b.refreshed(c)
	}
	if n := b.Agent.Requests(); n != 1 {
		t.Errorf("the agent was called %d times", n)
	}
	b.Clock.Advance(refreshPause)
	b.identify(c)
	b.refreshed(c)
	if n := b.Agent.Requests(); n != 2 {
		t.Errorf("the agent was called %d times", n)
	}
}

// A refresh that began before the machine slept returns a session that has expired by the
// time it wakes.
func TestSessionThatExpiresDuringTheRefreshIsReplaced(t *testing.T) {
	clock := awstest.NewClock()
	calls := 0
	c := &Cache{timeout: time.Minute, now: clock.Now, log: zerolog.Nop()}
	c.retrieve = func(context.Context) (aws.Credentials, error) {
		calls++
		expires := clock.Now().Add(time.Hour)
		if calls == 1 {
			clock.Advance(2 * time.Hour)
		}
		return aws.Credentials{AccessKeyID: "A", SecretAccessKey: "s", CanExpire: true, Expires: expires}, nil
	}
	got, err := c.Retrieve(t.Context())
	if err != nil || calls != 2 || !got.Expires.After(clock.Now()) {
		t.Errorf("after %d refreshes the session expires at %v, and it is %v: %v", calls, got.Expires, clock.Now(), err)
	}
}
