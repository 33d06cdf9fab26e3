package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// Settle waits until AWS has no users, the queues are empty, no lease is alive, and
// no rotation is under way.
func (a *Audit) Settle(ctx context.Context) {
	begun := time.Now()
	for ctx.Err() == nil && time.Since(begun) < verdict.SettleBound {
		users, err := a.w.Control.Users(ctx)
		if err == nil && len(users) == 0 {
			queued, err := a.queued(ctx)
			alive, aliveErr := a.alive(ctx)
			keys, keysErr := a.w.Control.Keys(ctx, world.Manager)
			if errors.Join(err, aliveErr, keysErr) == nil && len(queued) == 0 && len(keys) == 1 && !slices.ContainsFunc(alive, notClosing) {
				break
			}
		}
		_ = retry.Sleep(ctx, 500*time.Millisecond) // the loop looks at ctx
	}
	a.tally.Most("seconds until all was over", int(time.Since(begun).Seconds()))
}

// notClosing says whether a lease is not even being closed. With one that is, and
// no user left in AWS, the broker only makes sure that AWS does not show a young
// user late: that takes up to two minutes, and then the wait between two tries.
func notClosing(r record.Record) bool { return r.State != messages.StateRevoking }

// queued returns the queues that have messages.
func (a *Audit) queued(ctx context.Context) (map[messages.Verb]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return inspect.Queued(ctx, a.w.JS, messages.Namespace{})
}

// alive returns the leases that have not ended.
func (a *Audit) alive(ctx context.Context) ([]record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return inspect.Live(ctx, a.w.JS, messages.Namespace{})
}

// Last is the look at what is left when everything should be over.
func (a *Audit) Last(ctx context.Context) error {
	users, err := a.w.Control.Users(ctx)
	if err != nil {
		return err
	}
	alive, err := a.alive(ctx)
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
	a.judgeLast(users, alive, queued, len(keys))
	var calls account.Calls
	if err := a.w.Control.Ask(ctx, http.MethodGet, "/calls", nil, &calls); err != nil {
		return err
	}
	a.tellCalls(calls)
	if err := a.tellRotations(ctx); err != nil {
		return err
	}
	if err := a.w.Control.Ask(ctx, http.MethodGet, "/secrets", nil, &a.secrets); err != nil {
		return err
	}
	return a.readEvents(ctx, alive)
}

// judgeLast counts what is left.
func (a *Audit) judgeLast(users []account.User, alive []record.Record, queued map[messages.Verb]uint64, keys int) {
	for _, u := range users {
		a.tally.Violated(verdict.UsersLeft, u.Name, "lease %s, since %s", u.Lease, u.Created)
	}
	for _, rec := range alive {
		if !notClosing(rec) && len(users) == 0 {
			a.tally.Lost("leases with nothing left in AWS, whose young user is looked for again")
			continue
		}
		a.tally.Violated(verdict.LeasesLeft, rec.Name().String(), "%s, due %s, %d tries to undo it: %s", rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
	}
	for verb, n := range queued {
		a.tally.Violated(verdict.Queued, string(verb), "%d messages", n)
	}
	if keys != 1 {
		a.tally.Violated(verdict.Rotation, world.Manager, "it has %d keys", keys)
	}
}

// tellRotations counts the keys that rotations have put out of use, whoever heard of it.
func (a *Audit) tellRotations(ctx context.Context) error {
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
			return fmt.Errorf("read the state's %s: %w", key, err)
		}
		if len(c.Retired) > 0 {
			a.tally.Add("keys of the managing user replaced", len(c.Retired))
		}
	}
	return nil
}

func (a *Audit) tellCalls(calls account.Calls) {
	a.tally.Add("AWS calls", int(calls.Calls))
	for code, n := range calls.Codes {
		a.tally.Add("AWS calls answered with "+code, n)
	}
	a.tally.Add("AWS calls answered with nothing", int(calls.Empty))
	a.tally.Add("AWS calls without an answer", int(calls.Dropped))
	a.tally.Broke(verdict.AwsFaults, 100*calls.Faults()/max(1, int(calls.Calls)))
}
