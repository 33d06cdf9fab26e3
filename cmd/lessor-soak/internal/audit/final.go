package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/inspect"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/messages/retry"
)

// Settle waits, after the faults, until AWS has no users, the work queues are empty, no
// lease is live and no rotation is in progress, for no longer than the bound of the
// verdict.
func (a *Audit) Settle(ctx context.Context) {
	begin := time.Now()
	for ctx.Err() == nil && time.Since(begin) < verdict.SettleBound && !a.settled(ctx) {
		_ = retry.Sleep(ctx, 500*time.Millisecond) // the loop checks ctx
	}
	a.tally.Max("seconds until all leases had ended", int(time.Since(begin).Seconds()))
}

func (a *Audit) settled(ctx context.Context) bool {
	users, err := a.w.Control.Users(ctx)
	if err != nil || len(users) > 0 {
		return false
	}
	queued, queuedErr := a.queued(ctx)
	live, liveErr := a.live(ctx)
	keys, keysErr := a.w.Control.Keys(ctx, world.Manager)
	return errors.Join(queuedErr, liveErr, keysErr) == nil && len(queued) == 0 && len(keys) == 1 && !slices.ContainsFunc(live, notInTeardown)
}

// notInTeardown reports whether the teardown of a lease has not begun. A lease in teardown
// without a user in AWS is harmless: the broker looks for a user that AWS may show late,
// for up to two minutes and the wait until the next try.
func notInTeardown(r record.Record) bool { return r.State != messages.StateRevoking }

// queued returns the work queues that have messages.
func (a *Audit) queued(ctx context.Context) (map[messages.Verb]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return inspect.Queued(ctx, a.w.JS, messages.Namespace{})
}

// live returns the leases that have not ended.
func (a *Audit) live(ctx context.Context) ([]record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return inspect.Live(ctx, a.w.JS, messages.Namespace{})
}

// Finish checks what is left after Settle, and the events.
func (a *Audit) Finish(ctx context.Context) error {
	users, err := a.w.Control.Users(ctx)
	if err != nil {
		return err
	}
	live, err := a.live(ctx)
	if err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	queued, err := a.queued(ctx)
	if err != nil {
		return fmt.Errorf("read the queues: %w", err)
	}
	keys, err := a.w.Control.Keys(ctx, world.Manager)
	if err != nil {
		return err
	}
	a.judgeRest(users, live, queued, len(keys))
	calls, err := a.w.Control.Calls(ctx)
	if err != nil {
		return err
	}
	a.countCalls(calls)
	if err := a.countRotations(ctx); err != nil {
		return err
	}
	if a.secrets, err = a.w.Control.Secrets(ctx); err != nil {
		return err
	}
	return a.checkEvents(ctx, live)
}

// judgeRest checks that nothing is left but the given number of keys of the managing user.
func (a *Audit) judgeRest(users []account.User, live []record.Record, queued map[messages.Verb]uint64, keys int) {
	for _, u := range users {
		a.tally.Violated(verdict.UsersLeft, u.Name, "lease %s, created %s", u.Lease, u.Created)
	}
	for _, rec := range live {
		if !notInTeardown(rec) && len(users) == 0 {
			a.tally.Excuse("leases still in teardown with nothing left in AWS")
			continue
		}
		a.tally.Violated(verdict.LeasesLeft, rec.Name().String(), "%s, due %s, %d tries of the teardown: %s", rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
	}
	for verb, n := range queued {
		a.tally.Violated(verdict.Queued, string(verb), "%d messages", n)
	}
	if keys != 1 {
		a.tally.Violated(verdict.Rotation, world.Manager, "it has %d keys", keys)
	}
}

// countRotations counts the keys that rotations have replaced, also those of rotations
// without an answer.
func (a *Audit) countRotations(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	kv, err := a.w.JS.KeyValue(ctx, messages.Namespace{}.StateBucket())
	if err != nil {
		return err
	}
	keys, err := kv.ListKeysFiltered(ctx, "connection.*")
	if err != nil {
		return err
	}
	for key := range keys.Keys() {
		e, err := kv.Get(ctx, key)
		var c struct {
			Retired []string `json:"retired"`
		}
		if err == nil {
			err = json.Unmarshal(e.Value(), &c)
		}
		if err != nil {
			return fmt.Errorf("read %s of the state: %w", key, err)
		}
		if len(c.Retired) > 0 {
			a.tally.Add("keys of the managing user replaced", len(c.Retired))
		}
	}
	return nil
}

func (a *Audit) countCalls(calls account.Calls) {
	a.tally.Add("AWS calls", int(calls.Calls))
	for code, n := range calls.Codes {
		a.tally.Add("AWS calls answered with "+code, n)
	}
	a.tally.Add("AWS calls with an empty answer", int(calls.Empty))
	a.tally.Add("AWS calls without an answer", int(calls.Dropped))
	a.tally.Fault(verdict.AWSDisturbed, 100*calls.Disturbed()/max(1, int(calls.Calls)))
}
