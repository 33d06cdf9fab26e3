package awsiam

import (
	"context"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// A lease's user was deleted by hand. AWS does not know the path of a missing user, so it
// denies the broker, whose permissions are limited to the path, every call about it.
func TestDeleteOfAUserThatWasDeletedByHandSucceeds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*provider.Deletion){
		"owner known":   func(d *provider.Deletion) { d.OwnerKnown = true },
		"owner unknown": func(d *provider.Deletion) { d.OwnerKnown = false },
		"key unknown":   func(d *provider.Deletion) { d.AccessKeyID, d.OwnerKnown = "", false },
		"key only":      func(d *provider.Deletion) { d.Mode = provider.DeleteKey },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := definitions()["full"]
			w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
			key, err := w.account.Create(t.Context(), w.creation(1))
			if err != nil {
				t.Fatal(err)
			}
			w.RemoveUser(userName)
			d := w.deletion(key.AccessKeyID)
			change(&d)
			if err := w.account.Delete(t.Context(), d); err != nil {
				t.Error(err)
			}
			d.Young = true
			expectError(t, w.account.Delete(t.Context(), d), provider.NotVisible, "")
		})
	}
}

// The answer to DeleteUser is lost. The SDK's next attempt is denied, because the user is
// missing.
func TestDeleteSucceedsIfTheAnswerToDeleteUserIsLost(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if err := w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)); err != nil {
		t.Error(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if dry := w.account.DryRun(t.Context(), w.creation(2)); failed(dry) != nil || dry.Left != provider.LeftNothing {
		t.Errorf("the dry run leaves %q: %v", dry.Left, failed(dry))
	}
}

// While a new user is not visible everywhere, AWS denies calls about it.
func TestCreateWithLeastPrivilegeWaitsForTheUserToBeVisible(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
	w.SetFaults(iamsim.Faults{UserVisibleAfter: 4 * time.Millisecond})
	if _, err := w.account.Create(t.Context(), w.creation(1)); err != nil {
		t.Error(err)
	}
	w.RemoveUser(userName)
	w.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
	_, err := w.account.Create(t.Context(), w.creation(1))
	expectError(t, err, provider.NotVisible, provider.LeftUser)
}

// Names are unique in an account. A name may be taken by a user that the broker must not
// read.
func TestNameTakenBelowAnotherPathIsReported(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/people/"} {
		s := definitions()["full"]
		w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
		w.AddUser(userName, path, nil)
		_, err := w.account.Create(t.Context(), w.creation(1))
		expectError(t, err, provider.NameTaken, provider.LeftNothing)
	}
}

// A denial does not prove that the user is missing.
func TestDeniedDeletionOfAnExistingUserFails(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: user " + userName + " because no",
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/lessor/ci/" + userName + " because no",
		"no details",
	} {
		w.SetHook(on("DeleteAccessKey", -1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: message}))
		expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
	}
	moved := "User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/" + userName
	w.RemoveUser(userName) // as if it was moved to another path
	w.SetHook(on("DeleteAccessKey", -1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: moved}))
	expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
	w.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" || c.Action == "ListUsers" {
			return refuse(403, "AccessDenied")
		}
		return iamsim.Verdict{}
	})
	expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
}
