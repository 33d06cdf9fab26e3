package awsiam

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// Attempt 2 has read the user's tag and is about to set it. Attempt 3 sets the tag and makes
// its key. Then attempt 2's TagUser overwrites the tag. StillCurrent tells attempt 2 that it
// has lost the lease.
func TestDelayedTakeOverKeepsTheLaterAttemptsKey(t *testing.T) {
	b := newFixture(t)
	b.create()
	claiming, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "TagUser" {
			first := false
			once.Do(func() { first = true })
			if first {
				close(claiming)
				<-release
			}
		}
		return iamsim.Verdict{}
	})
	var replaced atomic.Bool
	second := resumed(2)
	second.StillCurrent = func(context.Context) error {
		if replaced.Load() {
			return errors.New("the record says attempt 3")
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { _, err := b.account.Create(t.Context(), second); done <- err }()
	<-claiming
	replaced.Store(true)
	third, err := b.account.Create(t.Context(), resumed(3))
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	err = <-done
	if perr := b.account.Probe(t.Context(), third); perr != nil {
		u, _ := b.User(userName)
		t.Fatalf("attempt 2 returned %v, and attempt 3's key does not work: %v\n%+v", err, perr, u)
	}
}
