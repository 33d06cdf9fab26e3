package awsiam

import (
	"context"
	"errors"
	"math"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestSessionsAreRefreshedBeforeTheyExpire(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a := newAuthBench(t)
			c := a.as(way.auth)
			a.identify(c)
			first := a.key()

			a.clock.advance(sessionLife - refreshWindow - time.Second)
			a.refreshed(c)
			a.expectAsked(way.calls)
			if a.key() != first {
				t.Error("refreshed too early")
			}

			a.rotate(time.Hour)
			a.write(envAgentToken, "agent-token-2\n")
			a.agent.SetToken("agent-token-2", time.Time{})
			a.clock.advance(refreshWindow/2 + time.Second)
			a.identify(c) // with the first session, which is still valid
			a.refreshed(c)
			second := a.key()
			a.expectAsked(2 * way.calls)
			if second == first {
				t.Error("not refreshed")
			}

			a.rotate(3 * time.Hour)
			a.clock.advance(2 * time.Hour)
			a.identify(c)
			a.expectAsked(3 * way.calls)
			if a.key() == second {
				t.Error("expired and not replaced")
			}
		})
	}
}

// A refresh that fails costs nothing as long as the session is valid, and is not
// tried all the time.
func TestAFailedRefreshFailsNoCall(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	a.identify(c)
	first := a.key()
	a.SetHook(on("AssumeRole", -1, refuse(403, "AccessDenied")))
	a.clock.advance(sessionLife - refreshWindow/2)
	for range 3 {
		a.identify(c)
		a.refreshed(c)
	}
	if n := a.count("AssumeRole"); n != 2 || a.key() != first {
		t.Errorf("AssumeRole was called %d times", n)
	}
	if n := strings.Count(a.log.String(), "could not be refreshed"); n != 1 {
		t.Errorf("%d warnings: %s", n, a.log)
	}
	a.clock.advance(refreshAgain)
	a.identify(c)
	a.refreshed(c)
	if n := a.count("AssumeRole"); n != 3 {
		t.Errorf("AssumeRole was called %d times", n)
	}

	a.clock.advance(refreshWindow / 2)
	a.fails(c, provider.Denied, "AssumeRole", "AccessDenied", "AssumeRole was answered with AccessDenied")
	a.SetHook(nil)
	a.identify(c)
	if a.key() == first {
		t.Error("the session has expired")
	}
}

const workers = 128

func TestManyWhoNeedASessionAskOnce(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	a.identifyAll(c)
	if n := a.count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}

	a.clock.advance(2 * sessionLife)
	a.identifyAll(c)
	if n := a.count("AssumeRole"); n != 2 {
		t.Errorf("for a session that has expired AssumeRole was called %d times", n-1)
	}
}

func (a *authBench) identifyAll(c *account) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			if _, err := c.Identify(a.t.Context()); err != nil {
				a.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// STS answers only when all are done: those who have a valid session do not wait.
func TestNobodyWaitsForARefreshThatIsNotUrgent(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	a.identify(c)
	done := make(chan struct{})
	a.SetHook(func(ctx context.Context, call iamsim.Call) iamsim.Verdict {
		if call.Action == "AssumeRole" {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		return iamsim.Verdict{}
	})
	a.clock.advance(sessionLife - refreshWindow/2)
	a.identifyAll(c)
	close(done)
	a.refreshed(c)
	if n := a.count("AssumeRole"); n != 2 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// The one for whose sake credentials were asked for goes away; others get them.
func TestTheOneWhoAskedGoesAway(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	ctx, cancel := context.WithCancel(t.Context())
	asked, answer := make(chan struct{}), make(chan struct{})
	a.SetHook(func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		if call.Action == "AssumeRole" {
			close(asked)
			<-answer
		}
		return iamsim.Verdict{}
	})
	gone := make(chan error, 1)
	go func() { _, err := c.Create(ctx, lease()); gone <- err }()
	<-asked
	cancel()
	err := <-gone
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	if e := provider.AsError(err); !errors.Is(err, context.Canceled) || !e.Unsigned || e.Op != "AssumeRole" {
		t.Errorf("the error is %+v", e)
	}
	close(answer)
	a.identify(c)
	if n := a.count("AssumeRole"); n != 1 {
		t.Errorf("AssumeRole was called %d times", n)
	}
}

// What is followed of a call is nothing of the call that brings its credentials.
func TestACallForCredentialsIsNobodyElses(t *testing.T) {
	a := newAuthBench(t)
	c := authentication{options: a.provider.options}.cached("", func(ctx context.Context) (aws.Credentials, error) {
		if ctx.Value(outcomeKey{}) != nil || httptrace.ContextClientTrace(ctx) != nil {
			t.Error("the call is followed")
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the call may last for ever")
		}
		return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, nil
	})
	var o outcome
	if _, err := c.Retrieve(whenWritten(o.follow(t.Context()), func() {})); err != nil {
		t.Error(err)
	}

	account := a.as(ways[0].auth)
	a.SetHook(on("AssumeRole", -1, iamsim.Verdict{Do: iamsim.DropAfter}))
	a.fails(account, provider.Unavailable, "AssumeRole", "", "AssumeRole failed before AWS answered")
	if n := a.count("AssumeRole"); n != sdkAttempts {
		t.Errorf("AssumeRole was sent %d times", n)
	}
}

// Credentials that last for less than the window are not asked for at every call.
func TestShortSessions(t *testing.T) {
	a := newAuthBench(t)
	a.agent.SetSessionDuration(2 * time.Minute)
	c := a.as(ways[3].auth)
	for range 3 {
		a.identify(c)
		a.refreshed(c)
	}
	if n := a.agent.Requests(); n != 1 {
		t.Errorf("the agent was asked %d times", n)
	}
	a.clock.advance(refreshAgain)
	a.identify(c)
	a.refreshed(c)
	if n := a.agent.Requests(); n != 2 {
		t.Errorf("the agent was asked %d times", n)
	}
}

// What AWS says of AssumeRole is not what it says of the call that needs it.
func TestAnAnswerToAssumeRoleIsNoAnswerToTheCall(t *testing.T) {
	a := newAuthBench(t)
	c := a.as(ways[0].auth)
	said := func(status int, code string) {
		a.ResetCalls()
		a.SetHook(on("AssumeRole", -1, iamsim.Verdict{
			Do: iamsim.Fail, Status: status, Code: code, Message: "The user with name " + userName + " cannot be found.",
		}))
	}
	d := deletion("AKIAEXAMPLEEXAMPLE")
	for _, ours := range []bool{true, false} {
		said(404, noSuchEntity)
		d.OwnerKnown = ours
		err := c.Delete(t.Context(), d)
		if e := provider.AsError(err); err == nil || e.Kind != provider.Rejected || !e.Unsigned {
			t.Errorf("a user that nobody has looked for is gone: %v", err)
		}
		if err := c.DeleteOwnKey(t.Context(), "AKIAEXAMPLEEXAMPLE"); err == nil {
			t.Error("a key that nobody has looked for is gone")
		}
	}
	for code, kind := range map[string]provider.Kind{
		noSuchEntity: provider.Rejected, alreadyExists: provider.Rejected, limitExceeded: provider.Rejected,
		concurrentModification: provider.Unavailable, deleteConflict: provider.Unavailable,
	} {
		said(409, code)
		a.fails(c, kind, "AssumeRole", code, "AssumeRole was answered with "+code)
		if n := a.count("AssumeRole"); n != 1 || len(a.Calls()) != 1 {
			t.Errorf("%s: the calls are %v", code, a.actions())
		}
	}

	said(400, "Throttling")
	a.fails(c, provider.Unavailable, "AssumeRole", "Throttling", "Throttling")
	if n := a.count("AssumeRole"); n != sdkAttempts {
		t.Errorf("AssumeRole was sent %d times", n)
	}
	if l := c.calls.budget.now(); !math.IsInf(l.found, 1) || l.flow.got != 0 {
		t.Errorf("calls to the account are held back at %v; %d were answered", l.found, l.flow.got)
	}
	a.SetHook(nil)
	a.ResetCalls()
	user := provider.Creation{User: record.User{Name: userName, Path: "/"}, Owner: lease().Owner}
	if _, err := c.Create(t.Context(), user); err != nil || !slices.Contains(a.actions(), "CreateUser") {
		t.Errorf("it does not heal: %v", err)
	}

	// The session expires between two calls of one creation.
	a.RemoveUser(userName)
	a.SetHook(func(_ context.Context, call iamsim.Call) iamsim.Verdict {
		switch call.Action {
		case "AssumeRole":
			return refuse(409, limitExceeded)
		case "CreateUser":
			return iamsim.Verdict{After: func() { a.clock.advance(2 * sessionLife) }}
		}
		return iamsim.Verdict{}
	})
	a.ResetCalls()
	_, err := c.Create(t.Context(), user)
	expectError(t, err, provider.Rejected, provider.LeftUser)
	if n := a.count("AssumeRole"); n != 1 {
		t.Errorf("a creation that can't go on asks for credentials %d times", n)
	}
}

// A refresh that began before the machine slept brings a session that has expired
// when it wakes. Nobody is given that one.
func TestASessionThatExpiredOnItsWayIsReplaced(t *testing.T) {
	clock := &clock{at: time.Now()}
	calls := 0
	c := &cache{timeout: time.Minute, now: clock.now, log: zerolog.Nop()}
	c.retrieve = func(context.Context) (aws.Credentials, error) {
		calls++
		expires := clock.now().Add(time.Hour)
		if calls == 1 {
			clock.advance(2 * time.Hour)
		}
		return aws.Credentials{AccessKeyID: "A", SecretAccessKey: "s", CanExpire: true, Expires: expires}, nil
	}
	got, err := c.Retrieve(t.Context())
	if err != nil || calls != 2 || !got.Expires.After(clock.now()) {
		t.Errorf("%d calls, expires %v at %v, %v", calls, got.Expires, clock.now(), err)
	}
}
