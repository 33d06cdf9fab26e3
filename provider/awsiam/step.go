package awsiam

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/awsiam/throttle"
)

// step is one call about a user. It can be repeated.
type step struct {
	op string // the call, such as AddUserToGroup
	do func(context.Context) error
	// awaitUser states that the user exists, and may be too new to be found.
	awaitUser bool
	// createsKey marks CreateAccessKey: the SDK makes one attempt at it, and the step itself
	// makes room if the user has too many keys.
	createsKey bool
}

// The number of tries at a step, by error.
const (
	conflictStepTries = 4  // another call changes the user
	userTries         = 10 // the user is not visible yet: 11 s to 21 s with the default backoff
	missingTries      = 3  // something else is not visible yet, or does not exist
	keyTries          = 4  // CreateAccessKey got no answer, or the user has too many keys
)

// tries returns how often to try a step that ends with err.
func (s step) tries(err error) int {
	c := code(err)
	switch {
	case errors.Is(err, errTakenOver), errors.Is(err, throttle.ErrNotInTime), isUnsigned(err):
		return 1
	case awserr.IsConflict(c):
		return conflictStepTries
	case s.awaitUser && isUserMissing(err):
		return userTries
	case s.awaitUser && c == awserr.NoSuchEntity:
		return missingTries
	case s.createsKey && (c == awserr.LimitExceeded || awserr.Kind(c, awserr.Status(err)) == provider.Unavailable):
		return keyTries
	}
	return 1
}

// run does a step, and repeats it where that may help, until ctx ends.
func (a *account) run(ctx context.Context, s step) error { return a.runWhile(ctx, ctx, s) }

// runWhile does a step, and repeats it where that may help, until ctx or waiting ends: ctx ends
// a call in progress, too; waiting only the repetitions. The error is a [*provider.Error].
func (a *account) runWhile(ctx, waiting context.Context, s step) error {
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

// failure returns the error of a step that is given up.
func (s step) failure(err error) error {
	e := failure(s.op, err)
	if s.awaitUser && isUserMissing(err) {
		e.Kind = provider.NotVisible
	}
	return e
}

// together does steps concurrently. Steps that AWS refuses because another call changes
// the user are repeated at the end, one after the other. Once a step has failed, the others
// are not repeated; calls in progress are waited for, so that nothing changes the user
// after together returns. It returns the error of the step that failed first.
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
			err := a.runWhile(ctx, waiting, s)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
			case awserr.IsConflict(code(err)):
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
		if err := a.run(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for a time, and reports whether ctx has not ended.
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
