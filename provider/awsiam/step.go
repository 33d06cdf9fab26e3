package awsiam

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lessorhq/lessor/provider"
)

// step is one thing to do with a user. It may be done again.
type step struct {
	op string // the call, such as AddUserToGroup
	do func(context.Context) error
	// awaitUser says that a user that can't be found was made just now.
	awaitUser bool
	// keyed marks CreateAccessKey, of which the SDK makes one attempt only, and
	// which makes room itself where the user has too many keys.
	keyed bool
}

// How often a step is tried, by what is wrong.
const (
	conflictTries = 4  // somebody else changes the user
	userTries     = 10 // the user is not visible yet: 11 s to 21 s with the default backoff
	missingTries  = 3  // something is not visible yet, or does not exist
	keyTries      = 4  // CreateAccessKey got no answer, or there are too many keys
)

// tries is how often to try a step that ends with err.
func (s step) tries(err error) int {
	c := code(err)
	switch {
	case errors.Is(err, errTakenOver), errors.Is(err, errHeldBack), isUnsigned(err):
		return 1
	case isConflict(c):
		return conflictTries
	case s.awaitUser && isUserMissing(err):
		return userTries
	case s.awaitUser && c == noSuchEntity:
		return missingTries
	case s.keyed && (c == limitExceeded || kind(c, status(err)) == provider.Unavailable):
		return keyTries
	}
	return 1
}

// run does a step, again if that may help and as long as ctx and waiting last.
// The error is a *[provider.Error].
func (a *account) run(ctx, waiting context.Context, s step) error {
	for try := 1; ; try++ {
		err := s.do(ctx)
		if err == nil {
			return nil
		}
		if try >= s.tries(err) || !pause(waiting, a.backoff(try)) {
			return s.failure(err)
		}
	}
}

// failure is the step's error, once it is given up.
func (s step) failure(err error) error {
	e := failure(s.op, err)
	if s.awaitUser && isUserMissing(err) {
		e.Kind = provider.NotVisible
	}
	return e
}

// together does all steps at once. What AWS refuses because the user is being
// changed is done at last one after the other. When one step has failed for
// good, the others are not tried again; calls that are on the wire are waited
// for, so that nothing happens to the user after the return. The error is that of
// the step that failed first.
func (a *account) together(ctx context.Context, steps []step) error {
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var (
		wg        sync.WaitGroup
		mu        sync.Mutex
		first     error
		conflicts []step
	)
	for _, s := range steps {
		wg.Go(func() {
			growStack()
			err := a.run(ctx, waiting, s)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
			case isConflict(code(err)):
				conflicts = append(conflicts, s)
			case first == nil:
				first = err
				giveUp()
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	for _, s := range conflicts {
		if err := a.run(ctx, ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, and says whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// growStack makes room for the SDK's calls, which are some forty functions deep. A new
// goroutine's stack is smaller, and would be moved with what is on it two or three
// times on the way down.
//
//go:noinline
func growStack() {
	var room [20 << 10]byte
	keep(&room)
}

//go:noinline
func keep(*[20 << 10]byte) {}
