package awsiam

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// If calls wait once the key is deleted, a teardown leaves the rest, and a cleanup does not
// delete the key again.
func TestTeardownLeavesTheRestInABacklog(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.DeletionMode{provider.Teardown, provider.TeardownKeyFirst} {
		b := newFixture(t)
		d := b.addLeased(1)[0]
		d.Mode = mode
		var start func(float64)
		b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
			if c.Action == "DeleteAccessKey" {
				start = b.slow(standstill)
			}
			return iamsim.Verdict{}
		})
		e := provider.AsError(b.account.Delete(t.Context(), d))
		if !e.KeyDeleted || !e.Throttled || b.count("DeleteUser") != 0 {
			t.Errorf("mode %d: got %+v after %v", mode, e, b.actions())
		}
		if mode == provider.TeardownKeyFirst && len(b.Calls()) != 1 {
			t.Errorf("before the key's deletion was acknowledged there were %v", b.actions())
		}
		start(1000)
		d.Mode = provider.Cleanup
		if err := b.account.Delete(t.Context(), d); err != nil {
			t.Error(err)
		}
		b.expectGone()
		if n := b.count("DeleteAccessKey"); n != 1 {
			t.Errorf("the key was deleted %d times", n)
		}
	}
}

// While AWS does not delete the key, nothing that denies it is removed, and the user is
// denied everything, because an earlier try may have removed the Deny.
func TestKeyFirstRemovesNothingBeforeTheKeyIsDeleted(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	d := b.addLeased(1)[0]
	d.Mode = provider.TeardownKeyFirst
	b.AddInlinePolicy(d.User.Name, definition.PolicyName, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	b.SetHook(on("DeleteAccessKey", -1, refuse(500, "ServiceFailure")))
	if e := provider.AsError(b.account.Delete(t.Context(), d)); e.KeyDeleted || e.Throttled || e.Op != "DeleteAccessKey" {
		t.Errorf("got %+v", e)
	}
	for _, a := range b.actions() {
		if a != "DeleteAccessKey" && a != "PutUserPolicy" {
			t.Errorf("%s was called while the key is alive", a)
		}
	}
	if u, _ := b.User(d.User.Name); u.InlinePolicies[definition.PolicyName] != definition.DenyAll {
		t.Error("the user is not denied everything")
	}
	b.SetHook(nil)
	if err := b.account.Delete(t.Context(), d); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

// The key of a young user is not taken for deleted because it is not found.
func TestKeyOfAYoungUserThatIsNotFoundIsNotDeleted(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	d := b.addLeased(1)[0]
	d.Mode, d.Young = provider.TeardownKeyFirst, true
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" {
			b.slow(standstill)
			return refuse(404, awserr.NoSuchEntity)
		}
		return iamsim.Verdict{}
	})
	if e := provider.AsError(b.account.Delete(t.Context(), d)); e.KeyDeleted || !e.Throttled {
		t.Errorf("got %+v", e)
	}
}

// Creations that have begun are completed before others begin.
func TestCreationThatHasBegunIsCompletedFirst(t *testing.T) {
	t.Parallel()
	const n = 8
	b := newFixture(t)
	b.slow(standstill)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c := lease()
			c.User.Name = fmt.Sprint("lessor-bob-", i)
			_, _ = b.account.Create(ctx, c) // all but one are cancelled
		})
	}
	b.queued(n)
	b.grant(standstill)
	b.queued(n - 1 + 4) // the calls that follow CreateUser
	for range 4 {
		b.grant(standstill)
	}
	for deadline := time.Now().Add(10 * time.Second); len(b.Calls()) < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %v", b.actions())
		}
	}
	cancel()
	wg.Wait()
	if got := b.count("CreateUser"); got != 1 {
		t.Errorf("%d users were created before the first had its key: %v", got, b.actions())
	}
}

// No user is created if its key would not be created in time.
func TestCreationThatCannotBeCompletedInTimeIsNotBegun(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.grant(1) // CreateUser has a slot now, and the last call in 4 s
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	began := time.Now()
	_, err := b.account.Create(ctx, lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
	e := provider.AsError(err)
	if !e.Throttled || e.After < 3*time.Second || e.After > 4*time.Second || time.Since(began) > time.Second {
		t.Errorf("after %s: %+v", time.Since(began), e)
	}
	if len(b.Calls()) != 0 {
		t.Errorf("made %v", b.actions())
	}
}

// CreateUser may get its slot so late that the rest would not get theirs in time.
func TestCreationIsNotBegunIfItsSlotComesTooLate(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.slow(1)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := b.account.Create(ctx, lease())
		done <- err
	}()
	b.queued(1)
	b.grant(0.1) // AWS accepts fewer calls than before
	expectError(t, <-done, provider.Unavailable, provider.LeftNothing)
	if len(b.Calls()) != 0 {
		t.Errorf("made %v", b.actions())
	}
}

// A call without an answer does not count for the rate.
func TestOnlyAnswersCountForTheRate(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(on("ListUsers", -1, iamsim.Verdict{Do: iamsim.DropBefore}))
	if _, err := b.account.(*account).isListed(t.Context(), "/", userName); err == nil {
		t.Fatal("an answer")
	}
	if n := b.limiter().State().Accepted; n != 0 {
		t.Errorf("%d calls count as accepted", n)
	}
}
