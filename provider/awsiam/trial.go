package awsiam

import (
	"context"
	"sync"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// Try is described at [provider.Account]. It goes on after a failure: whoever has
// to see to the broker's rights learns of all that are missing, not of the first.
// Only where there is no user nothing can be tried with it. It takes five round
// trips:
//
//	CreateUser ─┬─ what a lease is given  ── what may happen  ── what undoes it ── DeleteUser
//	ListUsers ──┘  what is read of users     to it later
//
// What people may have added to a user is not added here: that it may be removed
// shows as well where there is nothing to remove. The key that is made is deleted,
// and its secret forgotten.
func (a *account) DryRun(ctx context.Context, c provider.Creation) provider.DryRun {
	if c.User.IsSession() {
		return a.trySession(ctx, c)
	}
	policy, err := compose(c.User.InlinePolicy, c.DenyAfter)
	if err != nil {
		return untried(&provider.Error{Kind: provider.Rejected, Op: "the inline policy", Err: err})
	}
	var (
		aside   sync.WaitGroup
		users   []provider.DryRunCall
		self    provider.Principal
		selfErr error
	)
	aside.Go(func() { users = a.tryAll(ctx, []attempt{a.listUsers(c.User.Path)}) })
	aside.Go(func() { self, selfErr = a.Identify(ctx) })
	err = a.createUser(ctx, c, 0)
	aside.Wait()
	if err != nil {
		t := untried(provider.AsError(err))
		t.Calls[0].Op, t.Calls, t.Left = "CreateUser", append(t.Calls, users...), t.Calls[0].Err.Left
		return t
	}

	var key messages.Credentials
	calls := []provider.DryRunCall{{Op: "CreateUser"}}
	for _, round := range []func() []attempt{
		func() []attempt { return append(a.gifts(c, policy, &key), a.reads(c.User.Name)...) },
		func() []attempt { return append(a.changes(c, policy), a.clearances(c.User.Name, self, selfErr)...) },
		func() []attempt { return a.undoings(c, key.AccessKeyID) },
	} {
		calls = append(calls, a.tryAll(ctx, round())...)
	}
	gone := a.tryDelete(ctx, c.User)
	t := provider.DryRun{Calls: append(append(calls, gone), users...), Left: provider.LeftUser}
	if gone.Err == nil {
		t.Left = provider.LeftNothing
	}
	return t
}

func untried(e *provider.Error) provider.DryRun {
	return provider.DryRun{Calls: []provider.DryRunCall{{Op: e.Op, Err: e}}, Left: provider.LeftNothing}
}

// attempt is a call to be tried.
type attempt struct {
	step
	on string // [provider.DryRunCall.On]
}

// tryAll makes calls at once, and tells what came of them in the order in which
// they are given. What AWS refuses because the user is being changed is tried
// again at last, one after the other.
func (a *account) tryAll(ctx context.Context, attempts []attempt) []provider.DryRunCall {
	calls := make([]provider.DryRunCall, len(attempts))
	var wg sync.WaitGroup
	for i, t := range attempts {
		wg.Go(func() { calls[i] = a.try(ctx, t) })
	}
	wg.Wait()
	for i, t := range attempts {
		if e := calls[i].Err; e != nil && isConflict(e.Code) {
			calls[i] = a.try(ctx, t)
		}
	}
	return calls
}

func (a *account) try(ctx context.Context, t attempt) provider.DryRunCall {
	call := provider.DryRunCall{Op: t.op, On: t.on}
	if err := a.run(ctx, ctx, t.step); err != nil {
		call.Err = provider.AsError(err)
	}
	return call
}

// tryDelete deletes the user, and clears it first where one of the calls before
// has failed. A user that can't be found is gone if an earlier answer was lost.
func (a *account) tryDelete(ctx context.Context, u record.User) provider.DryRunCall {
	call := provider.DryRunCall{Op: "DeleteUser"}
	var o outcome
	err := a.deleteUser(o.follow(ctx), u.Name)
	if o.unsure.Load() {
		err = ignore(a.missing(ctx, u, err), noSuchEntity)
	}
	if err != nil {
		call.Err = provider.AsError(err)
	}
	return call
}
