package awsiam

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Waiting calls are made in the order of their priorities, not of their arrival.
func TestCallsWaitByPriority(t *testing.T) {
	t.Parallel()
	b := newFixture(t, func(o *Options) { o.MaxConns = 1 }) // calls cannot overtake each other
	b.AddRole("deploy", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}`)
	session := record.User{Name: "lessor-alice-s", Role: leasedRoleARN, DenyOnRevoke: true}
	leased := b.addLeased(20)
	var wg sync.WaitGroup
	each := func(n int, do func(i int) error) {
		for i := range n {
			wg.Go(func() {
				if err := do(i); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := b.account.DenySession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	b.ResetCalls()
	start := b.slow(standstill)
	each(2, func(i int) error {
		c := lease()
		c.User.Name = fmt.Sprint("lessor-bob-", i)
		_, err := b.account.Create(t.Context(), c)
		return err
	})
	b.queued(2)
	each(10, func(i int) error { return b.account.Extend(t.Context(), leased[i].User, time.Now().Add(time.Hour)) })
	b.queued(12)
	each(30, func(int) error {
		return b.account.Delete(t.Context(), provider.Deletion{User: session, OwnerKnown: true})
	})
	b.queued(42)
	each(3, func(int) error { return b.account.DenySession(t.Context(), session) })
	b.queued(45)
	each(20, func(i int) error {
		d := leased[i]
		d.Mode = provider.DeleteKey
		return b.account.Delete(t.Context(), d)
	})
	b.queued(65)
	if !b.account.Backlog() {
		t.Error("65 calls wait, and there is no backlog")
	}
	start(200)
	wg.Wait()
	got := b.priorities()
	// Calls that get their slots at once may be sent in any order.
	if first := got[:25]; countOf(first, throttle.EndAccess) != 23 {
		t.Errorf("the first calls are %v", first)
	}
	rest := got[23:]
	last := lastOf(rest, throttle.Cleanup)
	if n := countOf(rest[:last], throttle.Renewal); n < 3 || n > 6 {
		t.Errorf("%d renewals go before the last of 30 removals: %v", n, rest)
	}
	if n := countOf(rest[:last], throttle.Other); n < 1 {
		t.Errorf("no creation goes before the last of 30 removals: %v", rest)
	}
	if b.account.Backlog() {
		t.Error("no call waits, and there is a backlog")
	}
}

// AWS throttles a flood of creations. Keys are deleted without delay, the creations go on,
// and when AWS stops throttling, no call waits.
func TestKeysAreDeletedDuringAFloodOfCreations(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	const keys = 40
	leased := b.addLeased(keys)
	b.SetFaults(iamsim.Faults{Rate: 200, Burst: 20})
	ctx, stop := context.WithCancel(t.Context())
	var flood, ends sync.WaitGroup
	for w := range 64 {
		flood.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				c := lease()
				c.User.Name = fmt.Sprintf("lessor-bob-%d-%d", w, i)
				_, _ = b.account.Create(ctx, c) // the result does not matter
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); !b.account.Backlog(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no call waits")
		}
	}
	b.ResetCalls()
	for _, d := range leased {
		d.Mode = provider.DeleteKey
		ends.Go(func() {
			if err := b.account.Delete(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	ends.Wait()
	actions := b.actions()
	span := actions[max(0, slices.Index(actions, "DeleteAccessKey")) : lastOf(actions, "DeleteAccessKey")+1]
	others := 0
	for _, a := range span {
		if a != "DeleteAccessKey" {
			others++
		}
	}
	// A throttled deletion waits for its backoff before it queues again.
	if others > keys {
		t.Errorf("there are %d other calls among the deletions of %d keys", others, keys)
	}

	before := b.count("CreateUser")
	for deadline := time.Now().Add(10 * time.Second); b.count("CreateUser") == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the creations do not go on")
		}
	}
	b.SetFaults(iamsim.Faults{})
	stop()
	flood.Wait()
	state := b.limiter().State()
	if math.IsInf(state.Rate, 1) {
		t.Error("AWS throttles, and the rate is not limited")
	}
	state.ThrottledAt = time.Now().Add(-time.Minute)
	b.limiter().SetState(state)
	if err := b.account.Extend(t.Context(), leased[0].User, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if rate := b.limiter().State().Rate; !math.IsInf(rate, 1) || b.account.Backlog() {
		t.Errorf("a minute after the last throttled call the rate is %v", rate)
	}
}

// DenySession, and the Deny that is put if a key cannot be deleted, end access as well.
func TestCallsThatEndAccessHaveTheHighestPriority(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.AddRole("deploy", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}`)
	d := b.addLeased(1)[0]
	unknown := d
	unknown.AccessKeyID, unknown.OwnerKnown = "", false
	session := record.User{Name: "lessor-alice-s", Role: leasedRoleARN, DenyOnRevoke: true}
	a := b.account.(*account)
	for name, end := range map[string]func(context.Context) error{
		"a session":      func(ctx context.Context) error { return a.DenySession(ctx, session) },
		"a deny":         func(ctx context.Context) error { return a.denyAgain(ctx, userName, context.Canceled) },
		"an unknown key": func(ctx context.Context) error { return a.Delete(ctx, unknown) },
		"an own key":     func(ctx context.Context) error { return a.DeleteOwnKey(ctx, "AKIAEXAMPLEEXAMPLE") },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		start := b.slow(0.1) // denyAgain has a deadline of 20 s
		done := make(chan struct{})
		go func() { defer close(done); _ = end(ctx) }()
		b.queued(1)
		if b.limiter().State().Waiting[throttle.EndAccess] != 1 {
			t.Errorf("%s does not have the highest priority", name)
		}
		cancel()
		start(1000)
		<-done
	}
}

// Many leases end at once. Every key is deleted before the first user is.
func TestEveryKeyIsDeletedBeforeTheFirstUser(t *testing.T) {
	t.Parallel()
	const leases = 128
	b := newFixture(t)
	deletions := b.addLeased(leases)
	start := b.slow(standstill)
	var wg sync.WaitGroup
	for _, d := range deletions {
		wg.Go(func() {
			if err := b.account.Delete(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	b.queued(leases)
	start(250) // so slowly that calls are mostly sent in the order of their slots
	wg.Wait()
	b.expectGone()
	actions := b.actions()
	lastKey := lastOf(actions, "DeleteAccessKey")
	if early := lastKey + 1 - leases; early > leases/2 {
		t.Errorf("%d other calls go before the last key's deletion: %v", early, actions[:lastKey])
	}
	if slices.Index(actions, "DeleteUser") < lastKey {
		t.Error("a user is deleted before the last key")
	}
}

// A call that would not get its slot in time fails at once, and is not sent.
func TestCallThatWouldWaitTooLongFailsAtOnce(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	d := b.addLeased(1)[0]
	b.slow(standstill)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	_, createErr := b.account.Create(ctx, lease())
	deleteErr := b.account.Delete(ctx, d)
	extendErr := b.account.Extend(ctx, d.User, time.Now().Add(time.Hour))
	if time.Since(began) > time.Minute {
		t.Errorf("it took %s", time.Since(began))
	}
	expectError(t, createErr, provider.Unavailable, provider.LeftNothing)
	expectError(t, deleteErr, provider.Unavailable, provider.LeftUnknown)
	expectError(t, extendErr, provider.Unavailable, provider.LeftUnknown)
	for _, err := range []error{createErr, deleteErr, extendErr} {
		if e := provider.AsError(err); e.Code != "" || !strings.Contains(e.Safe(), "AWS throttles") {
			t.Errorf("the error does not state the reason: %s", e.Safe())
		}
	}
	if n := len(b.Calls()); n > 0 {
		t.Errorf("%d calls were sent", n)
	}
}

// An attempt that would not get its slot in time is not made. What is left behind is what
// the attempts before it have left.
func TestRetryThatWouldWaitTooLongKeepsWhatIsLeft(t *testing.T) {
	t.Parallel()
	for left, v := range map[provider.Left]iamsim.Verdict{
		provider.LeftNothing: {Do: iamsim.Throttle},
		provider.LeftUnknown: {Do: iamsim.DropAfter},
	} {
		b := newFixture(t)
		b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
			if c.Action != "CreateUser" {
				return iamsim.Verdict{}
			}
			b.slow(standstill)
			return v
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		_, err := b.account.Create(ctx, lease())
		cancel()
		expectError(t, err, provider.Unavailable, left)
		if n := b.count("CreateUser"); n != 1 {
			t.Errorf("CreateUser was sent %d times", n)
		}
	}
}

func TestConnectionsToOneAccountShareItsCallBudget(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	id, secret := b.AddPrincipal("other")
	p := New(Options{Endpoint: b.server.URL, Credentials: static(id, secret), Backoff: func(int) time.Duration { return 0 }})
	first, second := b.connection(p, "first"), b.connection(p, "second")
	own := first.retryer.budget.Limiter()
	if own == second.retryer.budget.Limiter() {
		t.Fatal("two connections share a limiter before their account is known")
	}
	first.identify(t)
	second.identify(t)
	if first.retryer.budget.Limiter() != own || second.retryer.budget.Limiter() != own {
		t.Error("two connections to one account have two limiters")
	}

	b.SetHook(on("ListUsers", 1, iamsim.Verdict{Do: iamsim.Throttle}))
	if _, err := first.isListed(t.Context(), "/", userName); err != nil {
		t.Fatal(err)
	}
	if rate := second.retryer.budget.Limiter().State().Rate; math.IsInf(rate, 1) {
		t.Error("AWS throttles one connection, and the rate of the other is not limited")
	}
	// A changed connection still reaches the same account.
	c := first.connection
	c.Session = "renamed"
	changed, err := p.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if changed == provider.Account(first) || changed.(*account).retryer.budget.Limiter() != own {
		t.Error("a changed connection has another limiter")
	}
}

// The configured rate holds for all connections and all priorities together.
func TestConfiguredRateHoldsForAllConnectionsTogether(t *testing.T) {
	t.Parallel()
	const perSecond, n = 200, 300
	b := newFixture(t)
	id, secret := b.AddPrincipal("other")
	p := New(Options{Endpoint: b.server.URL, Credentials: static(id, secret), Rate: perSecond})
	accounts := []*account{b.connection(p, "first"), b.connection(p, "second")}
	for _, a := range accounts {
		a.identify(t)
	}
	leased := b.addLeased(n)
	b.ResetCalls()
	all(n, 64, func(i int) {
		d := leased[i]
		d.Mode = provider.DeleteKey
		end := func(a *account) error { return a.Delete(t.Context(), d) }
		if i%3 == 0 {
			end = func(a *account) error { return a.Extend(t.Context(), d.User, time.Now().Add(time.Hour)) }
		}
		if err := end(accounts[i%2]); err != nil {
			t.Error(err)
		}
	})
	calls := b.Calls()
	took := calls[len(calls)-1].Arrived.Sub(calls[0].Arrived)
	if most := perSecond*took.Seconds() + perSecond/10 + 20; len(calls) != n || float64(len(calls)) > most {
		t.Errorf("%d calls in %s", len(calls), took)
	}
}
