package awsiam

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// resumed returns the creation of [lease] by a later attempt.
func resumed(attempt int) provider.Creation {
	c := lease()
	c.Owner.Attempt = attempt
	return c
}

// An attempt crashes at each of its calls, before or after AWS has carried it out. The next
// attempt completes the user, and deletes the key whose secret is lost.
func TestCreationIsResumedAfterACrashAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range createCalls {
		for _, after := range []bool{false, true} {
			t.Run(action+"/"+map[bool]string{false: "before", true: "after"}[after], func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				ctx, crash := context.WithCancel(t.Context())
				defer crash()
				// All concurrent calls have arrived before the crash. Otherwise AWS might carry
				// one out later.
				others := meet(int32(len(createCalls)-1), "CreateUser")
				b.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
					others(ctx, c)
					switch {
					case c.Action != action:
						return iamsim.Verdict{}
					case after:
						return iamsim.Verdict{Do: iamsim.DropAfter, After: crash}
					default:
						crash()
						return iamsim.Verdict{Do: iamsim.DropBefore}
					}
				})
				if _, err := b.account.Create(ctx, lease()); err == nil {
					t.Fatal("the attempt did not crash")
				}
				b.settle()
				b.SetHook(nil)
				c, err := b.account.Create(t.Context(), resumed(2))
				if err != nil {
					t.Fatal(err)
				}
				b.expectWhole(c, "2")
			})
		}
	}
}

func TestResumedCreationReplacesTheKeyOfACompleteUser(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	old := b.create()
	c, err := b.account.Create(t.Context(), resumed(2))
	if err != nil {
		t.Fatal(err)
	}
	b.expectWhole(c, "2")
	expectError(t, b.account.Probe(t.Context(), old), provider.NotVisible, "")
}

// An answer without a body is not taken for an empty list.
func TestAdoptionSurvivesAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"GetUser", "TagUser", "ListAccessKeys", "DeleteAccessKey"} {
		b := newFixture(t)
		b.create()
		b.SetHook(on(action, 1, iamsim.Verdict{Do: iamsim.Empty}))
		c, err := b.account.Create(t.Context(), resumed(2))
		if err != nil {
			t.Errorf("%s: %v", action, err)
		}
		b.expectWhole(c, "2")
	}
}

func TestUserOfAnotherOwnerIsNotChanged(t *testing.T) {
	t.Parallel()
	for name, tags := range map[string]map[string]string{
		"no tags":              {},
		"another lease":        {definition.TagInstallation: "inst", definition.TagLease: "alice.ci.other", definition.TagAttempt: "1"},
		"another installation": {definition.TagInstallation: "other", definition.TagLease: "alice.ci.x7", definition.TagAttempt: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.AddUser("LESSOR-alice-X7", "/people/", tags) // IAM ignores case
			b.AddAccessKey("LESSOR-alice-X7")
			for _, c := range []provider.Creation{lease(), resumed(2)} {
				_, err := b.account.Create(t.Context(), c)
				expectError(t, err, provider.NameTaken, provider.LeftNothing)
			}
			d := deletion("")
			d.OwnerKnown = false
			for _, mode := range []provider.DeletionMode{provider.DeleteUser, provider.DeleteKey} {
				d.Mode = mode
				if err := b.account.Delete(t.Context(), d); err != nil {
					t.Error(err)
				}
			}
			u, ok := b.User(userName)
			if !ok || len(u.AccessKeys) != 1 || len(u.Tags) != len(tags) || len(u.Groups)+len(u.AttachedPolicies)+len(u.InlinePolicies) > 0 {
				t.Errorf("the user is now %+v", u)
			}
		})
	}
}

// An attempt that continues after a later one has begun neither takes the user over nor
// deletes the later attempt's key.
func TestEarlierAttemptLeavesTheLaterOneAlone(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c, err := b.account.Create(t.Context(), resumed(2))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUser)
	b.expectWhole(c, "2")
}

func TestEarlierAttemptWithALostAnswerLeavesTheLaterOneAlone(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	var seen atomic.Int32
	var successor messages.Credentials
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action != "CreateAccessKey" || seen.Add(1) > 1 {
			return iamsim.Verdict{}
		}
		var err error
		if successor, err = b.account.Create(t.Context(), resumed(2)); err != nil {
			t.Error(err)
		}
		return iamsim.Verdict{Do: iamsim.DropBefore}
	})
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUser)
	b.expectWhole(successor, "2")
}

func TestUserWithAnotherBoundaryIsNotAdopted(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.create()
	c := resumed(2)
	c.User.Boundary = otherBoundary
	_, err := b.account.Create(t.Context(), c)
	expectError(t, err, provider.Rejected, provider.LeftUser)
}

func TestOwnerIsUnknownIfTheTagsCannotBeRead(t *testing.T) {
	t.Parallel()
	for i, v := range []iamsim.Verdict{refuse(403, "AccessDenied"), {Do: iamsim.DropBefore}} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			b.create()
			b.SetHook(on("GetUser", -1, v))
			_, err := b.account.Create(t.Context(), resumed(2))
			if e := provider.AsError(err); err == nil || e.Left != provider.LeftUnknown {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
