package awsiam

import (
	"context"
	"sync"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
)

// DryRun implements [provider.DryRunner]. It goes on after a call has failed, so that an
// operator learns of every missing permission at once. Without a user, only CreateUser and
// ListUsers are tested. It takes five round trips:
//
//	CreateUser ─┬─ additions   ── changes      ── removals ── DeleteUser
//	ListUsers ──┘  and reads      and clearing
//
// Things that are usually added to users by hand, such as login profiles, are not added:
// AWS checks the permission to remove them even if there is nothing to remove. The access
// key is deleted without its secret having been used.
func (a *account) DryRun(ctx context.Context, c provider.Creation) provider.DryRun {
	if c.User.IsSession() {
		return a.dryRunSession(ctx, c)
	}
	policy, err := definition.Compose(c.User.InlinePolicy, c.DenyAfter)
	if err != nil {
		return dryRunFailed(&provider.Error{Kind: provider.Rejected, Op: "the inline policy", Err: err})
	}
	var (
		aside   sync.WaitGroup
		listed  []provider.DryRunCall
		self    provider.Principal
		selfErr error
	)
	aside.Go(func() { listed = a.tryAll(ctx, []dryCall{a.listUsersCall(c.User.Path)}) })
	aside.Go(func() { self, selfErr = a.Identify(ctx) })
	err = a.createUser(ctx, c, 0)
	aside.Wait()
	if err != nil {
		d := dryRunFailed(provider.AsError(err))
		d.Calls[0].Op, d.Calls, d.Left = "CreateUser", append(d.Calls, listed...), d.Calls[0].Err.Left
		return d
	}

	var key messages.Credentials
	calls := []provider.DryRunCall{{Op: "CreateUser"}}
	for _, round := range []func() []dryCall{
		func() []dryCall { return append(a.additionCalls(c, policy, &key), a.readCalls(c.User.Name)...) },
		func() []dryCall {
			return append(a.changeCalls(c, policy), a.clearingCalls(c.User.Name, self, selfErr)...)
		},
		func() []dryCall { return a.removalCalls(c, key.AccessKeyID) },
	} {
		calls = append(calls, a.tryAll(ctx, round())...)
	}
	deleted := a.tryDelete(ctx, c.User)
	d := provider.DryRun{Calls: append(append(calls, deleted), listed...), Left: provider.LeftUser}
	if deleted.Err == nil {
		d.Left = provider.LeftNothing
	}
	return d
}

// dryRunFailed returns a dry run whose first call has failed and that has left nothing.
func dryRunFailed(e *provider.Error) provider.DryRun {
	return provider.DryRun{Calls: []provider.DryRunCall{{Op: e.Op, Err: e}}, Left: provider.LeftNothing}
}

// dryCall is a call of a dry run.
type dryCall struct {
	step
	on string // [provider.DryRunCall.On]
}

// tryAll makes calls concurrently, and returns their results in the given order. Calls
// that AWS refuses because another call changes the user are repeated at the end, one after
// the other.
func (a *account) tryAll(ctx context.Context, list []dryCall) []provider.DryRunCall {
	results := make([]provider.DryRunCall, len(list))
	var wg sync.WaitGroup
	for i, c := range list {
		wg.Go(func() { results[i] = a.try(ctx, c) })
	}
	wg.Wait()
	for i, c := range list {
		if e := results[i].Err; e != nil && awserr.IsConflict(e.Code) {
			results[i] = a.try(ctx, c)
		}
	}
	return results
}

func (a *account) try(ctx context.Context, c dryCall) provider.DryRunCall {
	result := provider.DryRunCall{Op: c.op, On: c.on}
	if err := a.run(ctx, c.step); err != nil {
		result.Err = provider.AsError(err)
	}
	return result
}

// tryDelete deletes the user. If one of the removals has failed, it clears the user first.
// A user that is not found is deleted if an earlier answer was lost.
func (a *account) tryDelete(ctx context.Context, u record.User) provider.DryRunCall {
	result := provider.DryRunCall{Op: "DeleteUser"}
	var t tracker
	err := a.deleteUser(t.track(ctx), u.Name)
	if t.ambiguous.Load() {
		err = ignore(a.missing(ctx, u, err), awserr.NoSuchEntity)
	}
	if err != nil {
		result.Err = provider.AsError(err)
	}
	return result
}
