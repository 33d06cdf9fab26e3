package awsiam

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestCreateTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(meet(4, "CreateUser"))
	c := b.create()
	b.SetHook(nil)
	if got := b.actions(); !slices.Equal(sorted(got), sorted(createCalls)) || got[0] != "CreateUser" {
		t.Errorf("the calls are %v", got)
	}
	if d := iamsim.Depth(b.Calls()); d != 2 {
		t.Errorf("there are %d round trips", d)
	}
	b.expectWhole(c, "1")
	if c.Username != userName || c.Region != "eu-central-1" || !c.SessionToken.IsZero() {
		t.Errorf("the credentials are %v", c)
	}
}

func TestCreateMakesOnlyTheCallsThatTheLeaseNeeds(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := provider.Creation{User: record.User{Name: userName}, Owner: lease().Owner}
	if _, err := b.account.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := b.actions(); !slices.Equal(got, []string{"CreateUser", "CreateAccessKey"}) {
		t.Errorf("the calls are %v", got)
	}
}

func TestHardExpiryDeniesEverything(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := lease()
	c.User.InlinePolicy, c.DenyAfter = nil, time.Now().Add(-time.Minute)
	key, err := b.account.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if allowed, _ := b.Allowed(key.AccessKeyID, "s3:GetObject", "arn:aws:s3:::bucket/key"); allowed {
		t.Error("an expired key is allowed a call")
	}
	if err := b.account.Extend(t.Context(), c.User, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if allowed, why := b.Allowed(key.AccessKeyID, "s3:GetObject", "arn:aws:s3:::bucket/key"); !allowed {
		t.Errorf("a renewed key is denied: %v", why)
	}
}

// Each call of Create fails permanently. The error's Left is true, and Delete leaves nothing.
func TestFailureAtEachCallOfCreateStatesWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, action := range createCalls {
		for _, c := range []struct {
			status int
			code   string
			kind   provider.Kind
		}{
			{403, "AccessDenied", provider.Denied},
			{400, "ValidationError", provider.Rejected},
			{400, "Throttling", provider.Unavailable},
			{500, "ServiceFailure", provider.Unavailable},
		} {
			t.Run(action+"/"+c.code, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				b.SetHook(on(action, -1, refuse(c.status, c.code)))
				_, err := b.account.Create(t.Context(), lease())
				left := provider.LeftUser
				if action == "CreateUser" {
					left = provider.LeftNothing
					if c.status == 500 {
						left = provider.LeftUnknown
					}
				}
				expectError(t, err, c.kind, left)
				if n := len(b.Users()); (n > 0) != (left == provider.LeftUser) {
					t.Errorf("there are %d users", n)
				}
				b.SetHook(nil)
				if err := b.account.Delete(t.Context(), deletion("")); err != nil {
					t.Error(err)
				}
				b.expectGone()
			})
		}
	}
}

// One attempt at each call, or its answer, is lost, empty, throttled or refused as
// concurrent. Create succeeds, and there is one key.
func TestCreateSurvivesOneFaultAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range createCalls {
		for name, v := range map[string]iamsim.Verdict{
			"dropped before":         {Do: iamsim.DropBefore},
			"dropped after":          {Do: iamsim.DropAfter},
			"empty":                  {Do: iamsim.Empty},
			"throttled":              {Do: iamsim.Throttle},
			"ServiceFailure":         refuse(500, "ServiceFailure"),
			"ConcurrentModification": refuse(409, "ConcurrentModification"),
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				b.SetHook(on(action, 1, v))
				b.expectWhole(b.create(), "1")
			})
		}
	}
}

func TestUserIsUnknownIfAllAnswersToCreateUserAreLost(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(on("CreateUser", -1, iamsim.Verdict{Do: iamsim.DropAfter}))
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUnknown)

	// A refusal after a lost answer proves nothing.
	b.RemoveUser(userName)
	n := 0
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if n++; n == 1 {
			return iamsim.Verdict{Do: iamsim.DropBefore}
		}
		return refuse(403, "AccessDenied")
	})
	_, err = b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Denied, provider.LeftUnknown)
}

func TestUnreachableAWSLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	_ = b.server.Close()
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftNothing)
}

// Every answer is lost. The key is deleted before the next attempt.
func TestKeyWithALostAnswerIsDeletedBeforeTheNextAttempt(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	most := 0
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action != "CreateAccessKey" {
			return iamsim.Verdict{}
		}
		if u, ok := b.User(userName); ok {
			most = max(most, len(u.AccessKeys))
		}
		return iamsim.Verdict{Do: iamsim.DropAfter}
	})
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUser)
	if n := b.count("CreateAccessKey"); n != keyTries {
		t.Errorf("CreateAccessKey was sent %d times, want %d", n, keyTries)
	}
	if most != 0 {
		t.Errorf("there were %d keys before another attempt", most)
	}
}

// Two overlapping attempts have left two keys.
func TestLostKeysAreDeletedToMakeRoom(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	var seen atomic.Int32
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" && seen.Add(1) == 1 {
			b.AddAccessKey(userName)
			b.AddAccessKey(userName)
		}
		return iamsim.Verdict{}
	})
	b.expectWhole(b.create(), "1")
}

func TestThrottledCreateAccessKeyIsRepeated(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(on("CreateAccessKey", 2, iamsim.Verdict{Do: iamsim.Throttle}))
	b.expectWhole(b.create(), "1")
	if n := b.count("ListAccessKeys"); n != 0 {
		t.Error("a throttled CreateAccessKey was taken for one that AWS may have carried out")
	}
}

// Concurrent calls are refused.
func TestConflictingCallsAreFinallyMadeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateUser" || b.count(c.Action) > conflictStepTries {
			return iamsim.Verdict{}
		}
		return refuse(409, "ConcurrentModification")
	})
	c := b.create()
	b.SetHook(nil)
	b.expectWhole(c, "1")
}

// Faults are injected at random. If Create succeeds, the user is complete; if it fails, its
// error is true; and Delete, without faults, leaves nothing.
func TestCreateAndDeleteWithRandomFaults(t *testing.T) {
	t.Parallel()
	for seed := range byte(12) {
		t.Run(strconv.Itoa(int(seed)), func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			dice := rand.New(rand.NewChaCha8([32]byte{seed}))
			chance := func() float64 { return dice.Float64() * 0.2 }
			storm := iamsim.Faults{
				ConcurrentModification: chance(), InternalError: chance(), DropAnswer: chance(), EmptyBody: chance(),
				UserVisibleAfter: time.Duration(dice.IntN(4)) * time.Millisecond,
			}
			b.SetFaults(storm)
			c, err := b.account.Create(t.Context(), lease())
			b.SetFaults(iamsim.Faults{})
			_, exists := b.User(userName)
			switch e := provider.AsError(err); {
			case err == nil:
				b.expectWhole(c, "1")
			case e.Left == provider.LeftNothing && exists, e.Left == provider.LeftUser && !exists:
				t.Errorf("there is a user: %t, but the error leaves %q: %v", exists, e.Left, err)
			}
			d := deletion(c.AccessKeyID)
			d.OwnerKnown = err == nil
			b.SetFaults(storm)
			if b.account.Delete(t.Context(), d) == nil {
				b.expectGone()
			}
			b.SetFaults(iamsim.Faults{})
			if err := b.account.Delete(t.Context(), d); err != nil {
				t.Error(err)
			}
			b.expectGone()
		})
	}
}

func TestCreateWaitsForTheUserToBeVisible(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetFaults(iamsim.Faults{UserVisibleAfter: 10 * time.Millisecond})
	b.expectWhole(b.create(), "1")
}

func TestUserThatNeverBecomesVisibleIsNotVisible(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
	_, err := b.account.Create(t.Context(), lease())
	expectError(t, err, provider.NotVisible, provider.LeftUser)

	// The context ends while Create waits.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b = newFixture(t, func(o *Options) {
		o.Backoff = func(int) time.Duration { cancel(); return time.Hour }
	})
	b.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
	_, err = b.account.Create(ctx, provider.Creation{User: record.User{Name: userName}, Owner: lease().Owner})
	expectError(t, err, provider.NotVisible, provider.LeftUser)
}

// Create does not wait for a missing policy or group as long as for a user.
func TestMissingPolicyOrGroupIsRejected(t *testing.T) {
	t.Parallel()
	for action, change := range map[string]func(*record.User){
		"AttachUserPolicy": func(u *record.User) { u.ManagedPolicies = []string{"arn:aws:iam::123456789012:policy/none"} },
		"AddUserToGroup":   func(u *record.User) { u.Groups = []string{"none"} },
	} {
		b := newFixture(t)
		c := lease()
		change(&c.User)
		_, err := b.account.Create(t.Context(), c)
		expectError(t, err, provider.Rejected, provider.LeftUser)
		if n := b.count(action); n > missingTries {
			t.Errorf("%s was sent %d times", action, n)
		}
	}
}

func TestMalformedInlinePolicyMakesNoCall(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := lease()
	c.User.InlinePolicy = []byte(`{"Statement":`)
	_, err := b.account.Create(t.Context(), c)
	expectError(t, err, provider.Rejected, provider.LeftNothing)
	if n := len(b.Calls()); n > 0 {
		t.Errorf("there were %d calls", n)
	}
}

// Many leases share few HTTP connections.
func TestManyLeasesAreCreatedAndDeletedConcurrently(t *testing.T) {
	t.Parallel()
	b := newFixture(t, func(o *Options) { o.MaxConns = 8 })
	errs := make(chan error)
	const leases = 40
	for i := range leases {
		go func() {
			c := lease()
			c.User.Name += strconv.Itoa(i)
			key, err := b.account.Create(t.Context(), c)
			if err == nil {
				d := deletion(key.AccessKeyID)
				d.User = c.User
				err = b.account.Delete(t.Context(), d)
			}
			errs <- err
		}()
	}
	for range leases {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	b.expectGone()
}
