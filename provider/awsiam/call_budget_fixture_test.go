package awsiam

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// limiter returns the limiter of the fixture's account.
func (b *fixture) limiter() *throttle.Limiter { return b.account.(*account).retryer.budget.Limiter() }

// standstill is a rate at which a call waits for a quarter of an hour.
const standstill = 1e-3

// slow limits the rate, so that all calls wait, until the returned function sets another
// rate.
func (b *fixture) slow(perSecond float64) (start func(perSecond float64)) {
	l := b.limiter()
	set := func(rate float64) { l.SetState(throttle.State{Rate: rate, ThrottledAt: time.Now()}) }
	set(perSecond)
	return set
}

// grant lets one call go, at the rate set by slow.
func (b *fixture) grant(perSecond float64) {
	b.limiter().SetState(throttle.State{Rate: perSecond, Slots: 1, ThrottledAt: time.Now()})
}

// queued waits until n calls wait.
func (b *fixture) queued(n int) {
	b.t.Helper()
	has := func() int { return b.limiter().State().Backlog() }
	for deadline := time.Now().Add(10 * time.Second); has() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d calls wait, want %d", has(), n)
		}
	}
}

// addLeased adds the users of n leases, and returns their deletions.
func (b *fixture) addLeased(n int) []provider.Deletion {
	deletions := make([]provider.Deletion, n)
	for i := range deletions {
		name := fmt.Sprintf("lessor-alice-%d", i)
		b.AddUser(name, lease().User.Path, nil)
		key, _ := b.AddAccessKey(name)
		b.AddToGroup(name, "deployers")
		b.AttachPolicy(name, managedPolicy)
		b.AddInlinePolicy(name, definition.PolicyName, definition.DenyAll)
		d := deletion(key)
		d.User.Name = name
		deletions[i] = d
	}
	return deletions
}

// all calls do for each of n, with a number of workers.
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

// priorities returns the priorities of the calls so far, as far as their actions show.
func (b *fixture) priorities() []throttle.Priority {
	var got []throttle.Priority
	for _, a := range b.actions() {
		switch a {
		case "DeleteAccessKey", "PutRolePolicy":
			got = append(got, throttle.EndAccess)
		case "DeleteRolePolicy":
			got = append(got, throttle.Cleanup)
		case "PutUserPolicy":
			got = append(got, throttle.Renewal)
		case "CreateUser":
			got = append(got, throttle.Other)
		}
	}
	return got
}

// countOf returns how often x is in a list.
func countOf[T comparable](list []T, x T) int {
	n := 0
	for _, y := range list {
		if x == y {
			n++
		}
	}
	return n
}

// lastOf returns the last index of x; -1 if there is none.
func lastOf[T comparable](list []T, x T) int {
	last := -1
	for i, y := range list {
		if x == y {
			last = i
		}
	}
	return last
}

// connection returns one of several connections to the account.
func (b *fixture) connection(p *Provider, name string) *account {
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
