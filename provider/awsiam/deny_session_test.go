package awsiam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awserr"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// denies returns the names of the policies on the role, except its own.
func (b *sessionFixture) denies() []string {
	names := slices.Sorted(maps.Keys(b.RolePolicies("ci")))
	return slices.DeleteFunc(names, func(n string) bool { return n == "rights" })
}

func TestDenySessionEndsOneSessionOnly(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	mine, other, longer := b.begin(sessionLease("alice-x7")), b.begin(sessionLease("bob-x7")), b.begin(sessionLease("an-alice-x7"))
	for range 2 { // it may be repeated
		if err := b.account.DenySession(t.Context(), sessionLease("alice-x7").User); err != nil {
			t.Fatal(err)
		}
		if b.works(mine) {
			t.Error("IAM still accepts the session")
		}
		b.expectAllowed(mine, "s3:GetObject", object, false)
		if !b.works(other) || !b.works(longer) {
			t.Error("another session is denied as well")
		}
	}
	if got := b.denies(); !slices.Equal(got, []string{"lessor-deny-alice-x7"}) {
		t.Errorf("the role has the policies %v", got)
	}
	// A later session of the same name is denied as well.
	if b.works(b.begin(sessionLease("alice-x7"))) {
		t.Error("a later session of the same name works")
	}
	for range 2 {
		if err := b.account.Delete(t.Context(), sessionDeletion("alice-x7")); err != nil {
			t.Fatal(err)
		}
		if got := b.denies(); len(got) > 0 {
			t.Errorf("the role has the policies %v", got)
		}
	}
	if !b.works(mine) {
		t.Error("the session is still denied")
	}
}

func TestDenySessionAndDeleteSurviveOneFault(t *testing.T) {
	t.Parallel()
	faults := maps.Clone(oneFault)
	faults["ConcurrentModification"] = refuse(409, "ConcurrentModification")
	for _, action := range []string{"PutRolePolicy", "DeleteRolePolicy", "GetCallerIdentity"} {
		for name, v := range faults {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				if action == "GetCallerIdentity" && v.Code == "ConcurrentModification" {
					t.Skip("STS has no such error")
				}
				b := newSessionFixture(t)
				c := b.begin(sessionLease("alice-x7"))
				b.SetHook(on(action, 1, v))
				if err := b.account.DenySession(t.Context(), sessionLease("alice-x7").User); err != nil || b.works(c) {
					t.Errorf("the session is not denied: %v", err)
				}
				if err := b.account.Delete(t.Context(), sessionDeletion("alice-x7")); err != nil || len(b.denies()) > 0 {
					t.Errorf("the role has the policies %v: %v", b.denies(), err)
				}
			})
		}
	}
}

func TestDenySessionAndDeleteReturnTheFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		v    iamsim.Verdict
		kind provider.Kind
	}{
		"denied":    {refuse(403, "AccessDenied"), provider.Denied},
		"throttled": {iamsim.Verdict{Do: iamsim.Throttle}, provider.Unavailable},
		"failing":   {refuse(500, "ServiceFailure"), provider.Unavailable},
		"no answer": {iamsim.Verdict{Do: iamsim.DropAfter}, provider.Unavailable},
		"modified":  {refuse(409, "ConcurrentModification"), provider.Unavailable},
		"managed":   {refuse(400, "UnmodifiableEntity"), provider.Rejected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSessionFixture(t)
			b.begin(sessionLease("alice-x7"))
			b.SetHook(on("PutRolePolicy", -1, test.v))
			err := b.account.DenySession(t.Context(), sessionLease("alice-x7").User)
			expectError(t, err, test.kind, "")
			b.expectNoSecret(err)
			b.SetHook(on("DeleteRolePolicy", -1, test.v))
			err = b.account.Delete(t.Context(), sessionDeletion("alice-x7"))
			expectError(t, err, test.kind, "")
			b.expectNoSecret(err)
		})
	}
}

// The policies of other denied sessions fill the role, until one of them is deleted.
func TestDenySessionIsUnavailableWhileTheRoleIsFull(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	name := func(i int) string { return fmt.Sprintf("lessor-%024d-%016d", i, i) }
	var err error
	n := 0
	for ; err == nil; n++ {
		err = b.account.DenySession(t.Context(), sessionLease(name(n)).User)
	}
	expectError(t, err, provider.Unavailable, "")
	if provider.AsError(err).Code != awserr.LimitExceeded || n < 50 {
		t.Errorf("after %d sessions: %v", n, err)
	}
	if err := b.account.Delete(t.Context(), sessionDeletion(name(0))); err != nil {
		t.Fatal(err)
	}
	if err := b.account.DenySession(t.Context(), sessionLease(name(n-1)).User); err != nil {
		t.Error(err)
	}
}

func TestDenySessionRejectsInvalidSessions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*record.User){
		"a session without deny_on_revoke": func(u *record.User) { u.DenyOnRevoke = false },
		"a name that is a wildcard":        func(u *record.User) { u.Name = "*" },
		"a name with a variable":           func(u *record.User) { u.Name = "${aws:username}" },
		"a name that is too short":         func(u *record.User) { u.Name = "a" },
		"a user":                           func(u *record.User) { u.Role = "" },
		"the ARN of a user":                func(u *record.User) { u.Role = "arn:aws:iam::123456789012:user/ci" },
		"a role of another account":        func(u *record.User) { u.Role = strings.Replace(u.Role, "123456789012", "210987654321", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSessionFixture(t)
			u := sessionLease("alice-x7").User
			change(&u)
			expectError(t, b.account.DenySession(t.Context(), u), provider.Rejected, "")
			if got := b.denies(); len(got) > 0 || b.count("PutRolePolicy") > 0 {
				t.Errorf("the role has the policies %v", got)
			}
			if u.IsSession() {
				if err := b.account.Delete(t.Context(), provider.Deletion{User: u}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestDenySessionOfAMissingRoleSucceeds(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	d := sessionDeletion("alice-x7")
	d.User.Role += "x"
	if err := b.account.DenySession(t.Context(), d.User); err != nil {
		t.Error(err)
	}
	if err := b.account.Delete(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestDeleteMakesNoCallForASessionThatCannotBeDenied(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	if err := b.account.DenySession(t.Context(), sessionLease("alice-x7").User); err != nil {
		t.Fatal(err)
	}
	b.ResetCalls()
	plain, key := sessionDeletion("alice-x7"), sessionDeletion("alice-x7")
	plain.User.DenyOnRevoke = false
	key.Mode = provider.DeleteKey
	for _, d := range []provider.Deletion{plain, key} {
		if err := b.account.Delete(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	if len(b.Calls()) > 0 || len(b.denies()) != 1 {
		t.Errorf("the calls are %v", b.actions())
	}
}

// A broker without permissions for roles of its own account has denied no session of a role
// in another one.
func TestDeleteOfASessionInAnotherAccountSucceeds(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	id, secret := b.AddPrincipalWithPolicy("least", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}`)
	least := b.as(static(id, secret))
	d := sessionDeletion("alice-x7")
	expectError(t, least.Delete(t.Context(), d), provider.Denied, "")
	d.User.Role = strings.Replace(d.User.Role, "123456789012", "210987654321", 1)
	if err := least.Delete(t.Context(), d); err != nil {
		t.Error(err)
	}
	b.SetHook(on("GetCallerIdentity", -1, refuse(500, "ServiceFailure")))
	expectError(t, least.Delete(t.Context(), d), provider.Denied, "")
}

func TestDeleteRemovesTheDenyOfAnExpiredSession(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	c := b.begin(sessionLease("alice-x7"))
	if err := b.account.DenySession(t.Context(), sessionLease("alice-x7").User); err != nil {
		t.Fatal(err)
	}
	b.moved.Store(int64(time.Hour + time.Second))
	if err := b.account.Delete(t.Context(), sessionDeletion("alice-x7")); err != nil || len(b.denies()) > 0 {
		t.Errorf("the role has the policies %v: %v", b.denies(), err)
	}
	if _, err := b.Allowed(c.AccessKeyID, "s3:GetObject", object); err == nil {
		t.Error("the expired session works")
	}
}
