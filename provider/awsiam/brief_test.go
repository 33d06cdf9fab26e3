package awsiam

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Where calls wait once the key is deleted, whoever is brief does not; the rest is
// for later, and the key is not asked for again.
func TestABriefDeletionLeavesWhatHasToWait(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.DeletionMode{provider.Teardown, provider.TeardownKeyFirst} {
		b := newBench(t)
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
			t.Errorf("with the key went %v", b.actions())
		}
		start(1000)
		d.Mode = provider.Cleanup
		if err := b.account.Delete(t.Context(), d); err != nil {
			t.Error(err)
		}
		b.expectGone()
		if n := b.count("DeleteAccessKey"); n != 1 {
			t.Errorf("the key is deleted %d times", n)
		}
	}
}

// As long as AWS does not delete the key, what holds it back stays; and everything is
// denied, because an earlier try may have removed that.
func TestTheKeyGoesBeforeWhatHoldsItBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.addLeased(1)[0]
	d.Mode = provider.TeardownKeyFirst
	b.AddInlinePolicy(d.User.Name, policyName, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	b.SetHook(on("DeleteAccessKey", -1, refuse(500, "ServiceFailure")))
	if e := provider.AsError(b.account.Delete(t.Context(), d)); e.KeyDeleted || e.Throttled || e.Op != "DeleteAccessKey" {
		t.Errorf("got %+v", e)
	}
	for _, a := range b.actions() {
		if a != "DeleteAccessKey" && a != "PutUserPolicy" {
			t.Errorf("%s, and the key is alive", a)
		}
	}
	if u, _ := b.User(d.User.Name); u.InlinePolicies[policyName] != denyAll {
		t.Error("the user is not denied everything")
	}
	b.SetHook(nil)
	if err := b.account.Delete(t.Context(), d); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

// A key of a user that AWS may not show yet is not gone because it can't be found.
func TestAKeyThatMayBeTooYoungToBeSeenIsNotGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.addLeased(1)[0]
	d.Mode, d.Young = provider.TeardownKeyFirst, true
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" {
			b.slow(standstill)
			return refuse(404, noSuchEntity)
		}
		return iamsim.Verdict{}
	})
	if e := provider.AsError(b.account.Delete(t.Context(), d)); e.KeyDeleted || !e.Throttled {
		t.Errorf("got %+v", e)
	}
}

// Of what waits, the creations that have begun are finished before others begin.
func TestACreationThatHasBegunIsFinishedFirst(t *testing.T) {
	t.Parallel()
	const n = 8
	b := newBench(t)
	b.slow(standstill)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c := lease()
			c.User.Name = fmt.Sprint("lessor-bob-", i)
			_, _ = b.account.Create(ctx, c) // but for one they are cut off
		})
	}
	b.queued(n)
	l := b.limiter()
	grant := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slots = 1
		l.serve(time.Now())
	}
	grant()
	b.queued(n - 1 + 4) // what follows has come into line behind the others
	for range 4 {
		grant()
	}
	for deadline := time.Now().Add(10 * time.Second); len(b.Calls()) < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %v", b.actions())
		}
	}
	cancel()
	wg.Wait()
	if got := b.count("CreateUser"); got != 1 {
		t.Errorf("before the first user has its key there are %d: %v", got, b.actions())
	}
}

// No user is made where its key could not be in time.
func TestNoCreationBeginsThatCannotBeFinishedInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.slow(1)
	l := b.limiter()
	l.mu.Lock()
	l.slots = 1 // CreateUser could go now, and the last of the others in 4 s
	l.mu.Unlock()
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

// The turn of CreateUser may come so late that the rest would not be in time.
func TestACreationWhoseTurnComesTooLateIsNotBegun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	start := b.slow(1)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := b.account.Create(ctx, lease())
		done <- err
	}()
	b.queued(1)
	start(0.1) // AWS takes less than it did
	l := b.limiter()
	l.mu.Lock()
	l.slots = 1
	l.serve(time.Now())
	l.mu.Unlock()
	expectError(t, <-done, provider.Unavailable, provider.LeftNothing)
	if len(b.Calls()) != 0 {
		t.Errorf("made %v", b.actions())
	}
}

// What AWS has not answered says nothing of the calls that it takes.
func TestOnlyAnswersTellWhatAWSTakes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetHook(on("ListUsers", -1, iamsim.Verdict{Do: iamsim.DropBefore}))
	if _, err := b.account.(*account).isListed(t.Context(), "/", userName); err == nil {
		t.Fatal("an answer")
	}
	l := b.limiter()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.flow.got + l.flow.before; n != 0 {
		t.Errorf("%d calls got through", n)
	}
}
