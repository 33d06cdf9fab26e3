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

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// limiter is that of the bench's account.
func (b *bench) limiter() *limiter { return b.account.(*account).calls.budget.now() }

// standstill is a rate at which the next call goes after a quarter of an hour.
const standstill = 1e-3

// slow lets so few calls through that all wait, until the returned function lets
// them go at another rate.
func (b *bench) slow(perSecond float64) (start func(perSecond float64)) {
	l := b.limiter()
	set := func(found float64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fill(time.Now())
		l.found, l.slots, l.likely = found, 0, 0
		l.throttledAt = time.Now()
		l.serve(time.Now())
	}
	set(perSecond)
	return set
}

// queued waits until n calls wait.
func (b *bench) queued(n int) {
	b.t.Helper()
	l := b.limiter()
	has := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.queue.len()
	}
	for deadline := time.Now().Add(10 * time.Second); has() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d calls wait, not %d", has(), n)
		}
	}
}

// addLeased makes users as leases have them, and returns their deletions.
func (b *bench) addLeased(n int) []provider.Deletion {
	deletions := make([]provider.Deletion, n)
	for i := range deletions {
		name := fmt.Sprintf("lessor-alice-%d", i)
		b.AddUser(name, lease().User.Path, nil)
		key, _ := b.AddAccessKey(name)
		b.AddToGroup(name, "deployers")
		b.AttachPolicy(name, managedPolicy)
		b.AddInlinePolicy(name, policyName, denyAll)
		d := deletion(key)
		d.User.Name = name
		deletions[i] = d
	}
	return deletions
}

// all does something for each of n, so many at once.
func all(n, workers int, do func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// ranksOf are the ranks of the calls that have arrived, as far as the action tells.
func (b *bench) ranksOf() []rank {
	var got []rank
	for _, a := range b.actions() {
		switch a {
		case "DeleteAccessKey", "PutRolePolicy":
			got = append(got, rankKeys)
		case "DeleteRolePolicy":
			got = append(got, rankTidy)
		case "PutUserPolicy":
			got = append(got, rankRenew)
		case "CreateUser":
			got = append(got, rankCreate)
		}
	}
	return got
}

// What waits together goes in the order of the ranks, whoever came first.
func TestCallsWaitByRank(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.MaxConns = 1 }) // nothing overtakes on the wire
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
	got := b.ranksOf()
	// Slots that come together may change places on the way to the wire.
	if first := got[:25]; count(first, rankKeys) != 23 {
		t.Errorf("the first calls are %v", first)
	}
	rest := got[23:]
	last := lastOf(rest, rankTidy)
	if n := count(rest[:last], rankRenew); n < 3 || n > 6 {
		t.Errorf("before the last of 30 removals come %d renewals: %v", n, rest)
	}
	if n := count(rest[:last], rankCreate); n < 1 {
		t.Errorf("before the last of 30 removals comes no creation: %v", rest)
	}
	if b.account.Backlog() {
		t.Error("nothing waits, and there is a backlog")
	}
}

// AWS throttles a flood of creations: keys are deleted in the midst of it as if
// nothing else were going on, the flood goes on, and when AWS takes everything again
// nothing waits any more.
func TestKeysGoThroughAFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t)
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
				_, _ = b.account.Create(ctx, c) // whatever becomes of it
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); !b.account.Backlog(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits")
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
	// One that AWS throttles takes a breath before it waits again.
	if others > keys {
		t.Errorf("among %d deletions of keys are %d other calls", keys, others)
	}

	before := b.count("CreateUser")
	for deadline := time.Now().Add(10 * time.Second); b.count("CreateUser") == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the flood does not go on")
		}
	}
	b.SetFaults(iamsim.Faults{})
	stop()
	flood.Wait()
	l := b.limiter()
	l.mu.Lock()
	if math.IsInf(l.found, 1) {
		t.Error("AWS throttles, and nothing is held back")
	}
	l.throttledAt = time.Now().Add(-2 * forgive)
	l.mu.Unlock()
	if err := b.account.Extend(t.Context(), leased[0].User, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if !math.IsInf(l.found, 1) || b.account.Backlog() {
		t.Errorf("long after AWS has throttled the rate is %v", l.found)
	}
}

// Cut and the deny that is put where a key could not be deleted end access as well.
func TestWhatEndsAccessGoesWithTheKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
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
		start := b.slow(0.1) // what the broker does on its own account has 20 s
		done := make(chan struct{})
		go func() { defer close(done); _ = end(ctx) }()
		b.queued(1)
		l := b.limiter()
		l.mu.Lock()
		if l.queue.waiting[rankKeys].Len() != 1 {
			t.Errorf("%s does not go with the keys", name)
		}
		l.mu.Unlock()
		cancel()
		start(1000)
		<-done
	}
}

// A hundred leases end at once: every key is deleted before the first user.
func TestKeysOfAllLeasesGoFirst(t *testing.T) {
	t.Parallel()
	const leases = 128
	b := newBench(t)
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
	start(250) // slowly: what leaves the queue first is mostly first on the wire then
	wg.Wait()
	b.expectGone()
	actions := b.actions()
	lastKey := lastOf(actions, "DeleteAccessKey")
	if early := lastKey + 1 - leases; early > leases/2 {
		t.Errorf("before the last key's deletion come %d other calls: %v", early, actions[:lastKey])
	}
	if slices.Index(actions, "DeleteUser") < lastKey {
		t.Error("a user is deleted while another has its key")
	}
}

// lastOf is where x is for the last time.
func lastOf[T comparable](list []T, x T) int {
	last := -1
	for i, y := range list {
		if x == y {
			last = i
		}
	}
	return last
}

// A call whose turn would not come in time is not sent, and says so at once.
func TestACallThatIsNotFreeInTimeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
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
		if e := provider.AsError(err); e.Code != "" || !strings.Contains(e.Safe(), "held back") {
			t.Errorf("the error does not say why: %s", e.Safe())
		}
	}
	if n := len(b.Calls()); n > 0 {
		t.Errorf("%d calls were sent", n)
	}
}

// The key is not sent a second time when it is known that there is no time for it:
// what is left behind is what the attempts before have left.
func TestAnAttemptThatIsNotFreeInTimeLeavesWhatTheOneBeforeHasLeft(t *testing.T) {
	t.Parallel()
	for left, v := range map[provider.Left]iamsim.Verdict{
		provider.LeftNothing: {Do: iamsim.Throttle},
		provider.LeftUnknown: {Do: iamsim.DropAfter},
	} {
		b := newBench(t)
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

// connection is one of several to the account.
func (b *bench) connection(p *Provider, name string) *account {
	b.t.Helper()
	a, err := p.Connect(b.t.Context(), provider.Connection{Name: name, Region: "eu-central-1", Auth: messages.Auth{Method: messages.AuthDefault}})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.(*account)
}

func (a *account) identify(t *testing.T) {
	t.Helper()
	if _, err := a.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsToOneAccountShareItsLimiter(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id, secret := b.AddPrincipal("other")
	p := New(Options{Endpoint: b.server.URL, Credentials: static(id, secret), Backoff: func(int) time.Duration { return 0 }})
	first, second := b.connection(p, "first"), b.connection(p, "second")
	own := first.calls.budget.now()
	if own == second.calls.budget.now() {
		t.Fatal("two connections share a limiter before it is known which account they reach")
	}
	first.identify(t)
	second.identify(t)
	if first.calls.budget.now() != own || second.calls.budget.now() != own {
		t.Error("two connections to one account have two limiters")
	}

	b.SetHook(on("ListUsers", 1, iamsim.Verdict{Do: iamsim.Throttle}))
	if _, err := first.isListed(t.Context(), "/", userName); err != nil {
		t.Fatal(err)
	}
	if l := second.calls.budget.now(); math.IsInf(l.found, 1) {
		t.Error("AWS throttles one connection, and the other is not held back")
	}
	// A change of its secret makes it another connection, to the same account.
	c := first.connection
	c.Session = "renamed"
	changed, err := p.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if changed == provider.Account(first) || changed.(*account).calls.budget.now() != own {
		t.Error("a connection that is changed forgets what its account takes")
	}
}

// A broker whose credentials are of another account from now on leaves the limiter
// to the first one.
func TestAConnectionThatMovesToAnotherAccountLeavesTheLimiterBehind(t *testing.T) {
	var s budgets
	a, b, c := newBudget(7), newBudget(7), newBudget(7)
	s.join(a, "1")
	s.join(b, "1")
	first := a.now()
	s.join(a, "2")
	if a.now() == first || b.now() != first || a.now().ceiling != 7 {
		t.Error("the accounts share a limiter")
	}
	s.join(c, "2")
	if c.now() != a.now() {
		t.Error("the second account has two limiters")
	}
	s.join(a, "1")
	if a.now() != first {
		t.Error("it does not find back")
	}
}

// The ceiling holds for all connections and all ranks together.
func TestTheConfiguredRateHoldsForTheSum(t *testing.T) {
	t.Parallel()
	const perSecond, n = 200, 300
	b := newBench(t)
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
