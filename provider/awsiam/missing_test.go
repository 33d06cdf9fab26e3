package awsiam

import (
	"context"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// A person has deleted a lease's user. AWS does not know the path of a user that
// it can't find, so it denies what the broker may do below its path only.
func TestAUserThatAPersonHasDeletedIsGone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*provider.Deletion){
		"ours":              func(d *provider.Deletion) { d.OwnerKnown = true },
		"whose is not sure": func(d *provider.Deletion) { d.OwnerKnown = false },
		"no known key":      func(d *provider.Deletion) { d.AccessKeyID, d.OwnerKnown = "", false },
		"the key alone":     func(d *provider.Deletion) { d.Mode = provider.DeleteKey },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := definitions()["full"]
			w := newLimitedBench(t, s, permissions(t, s, options()))
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

// The answer to DeleteUser is lost; the SDK's next attempt finds no user.
func TestALostAnswerToDeleteUserIsNoDenial(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimitedBench(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if err := w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)); err != nil {
		t.Error(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if trial := w.account.DryRun(t.Context(), w.creation(2)); failed(trial) != nil || trial.Left != provider.LeftNothing {
		t.Errorf("the trial leaves %q: %v", trial.Left, failed(trial))
	}
}

// AWS does not see a new user everywhere at once, and denies what is asked about
// it where it does not.
func TestLeastRightsAreEnoughForAUserThatIsNotVisibleYet(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimitedBench(t, s, permissions(t, s, options()))
	w.SetFaults(iamsim.Faults{UserVisibleAfter: 4 * time.Millisecond})
	if _, err := w.account.Create(t.Context(), w.creation(1)); err != nil {
		t.Error(err)
	}
	w.RemoveUser(userName)
	w.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
	_, err := w.account.Create(t.Context(), w.creation(1))
	expectError(t, err, provider.NotVisible, provider.LeftUser)
}

// Names are unique in an account whatever the path: a name may be that of a user
// that the broker may not look at.
func TestANameThatIsTakenElsewhere(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/people/"} {
		s := definitions()["full"]
		w := newLimitedBench(t, s, permissions(t, s, options()))
		w.AddUser(userName, path, nil)
		_, err := w.account.Create(t.Context(), w.creation(1))
		expectError(t, err, provider.NameTaken, provider.LeftNothing)
	}
}

// A denial is no proof that the user is gone.
func TestADeniedDeletionStaysDenied(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimitedBench(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: user " + userName + " because no",
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/lessor/ci/" + userName + " because no",
		"no words",
	} {
		w.SetHook(on("DeleteAccessKey", -1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: message}))
		expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
	}
	moved := "User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/" + userName
	w.RemoveUser(userName) // from its path
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
