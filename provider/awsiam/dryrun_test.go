package awsiam

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// named are a trial's calls as people see them.
func named(t provider.DryRun) []string {
	var names []string
	for _, c := range t.Calls {
		names = append(names, strings.TrimSpace(c.Op+" "+c.On))
	}
	return names
}

func TestATrialMakesEveryCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	trial := b.account.DryRun(t.Context(), lease())
	if err := failed(trial); err != nil || trial.Left != provider.LeftNothing {
		t.Errorf("the trial leaves %q: %v", trial.Left, err)
	}
	b.expectGone()
	want := []string{
		"CreateUser",
		"PutUserPolicy", "AttachUserPolicy " + managedPolicy, "AddUserToGroup deployers", "CreateAccessKey",
		"GetUser", "ListUserTags", "ListAccessKeys", "ListSigningCertificates", "ListSSHPublicKeys", "ListServiceSpecificCredentials",
		"ListMFADevices", "ListUserPolicies", "ListAttachedUserPolicies", "ListGroupsForUser",
		"TagUser", "PutUserPolicy renewal",
		"DetachUserPolicy " + awsQuarantine, "DeleteLoginProfile", "DeleteSigningCertificate", "DeleteSSHPublicKey",
		"DeleteServiceSpecificCredential", "DeactivateMFADevice", "DeleteVirtualMFADevice",
		"DeleteAccessKey", "DetachUserPolicy " + managedPolicy, "RemoveUserFromGroup deployers", "DeleteUserPolicy",
		"DeleteUser", "ListUsers",
	}
	if got := named(trial); !slices.Equal(got, want) {
		t.Errorf("the calls are %q", got)
	}
	for _, c := range b.Calls() {
		if c.Action == "ListUsers" && (c.Params.Get("MaxItems") != "1" || c.Params.Get("PathPrefix") != lease().User.Path) {
			t.Errorf("ListUsers has the parameters %v", c.Params)
		}
	}
}

// 50 ms a call and twenty things to give make a check of well below a second.
func TestATrialTakesFiveRoundTrips(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := lease()
	c.User.Groups, c.User.ManagedPolicies = nil, nil
	for _, name := range awstest.Many(9, "g%d") {
		b.AddGroup(name)
		b.AddPolicy("arn:aws:iam::123456789012:policy/"+name, definition.DenyAll)
		c.User.Groups = append(c.User.Groups, name)
		c.User.ManagedPolicies = append(c.User.ManagedPolicies, "arn:aws:iam::123456789012:policy/"+name)
	}
	b.SetFaults(iamsim.Faults{Latency: 100 * time.Millisecond})
	if err := failed(b.account.DryRun(t.Context(), c)); err != nil {
		t.Error(err)
	}
	// On a busy machine the calls of one round need not all overlap.
	if d := iamsim.Depth(b.Calls()); d < 5 || d > 8 {
		t.Errorf("there are %d round trips", d)
	}
}

// Without any right but those to make users, everything else is told at once.
func TestATrialTellsAllThatIsMissing(t *testing.T) {
	t.Parallel()
	for name, s := range definitions() {
		if s.AWS.CredentialType == messages.CredentialAssumeRole {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.AWS.Auth = messages.Auth{} // whose own keys are no part of a trial
			all := parsed(t, permissions(t, s, options()))
			w := newLimitedBench(t, s, permissions(t, s, options()))
			bare := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iam:CreateUser","iam:TagUser"],"Resource":"*"}}`
			w.connectAs(w.AddPrincipalWithPolicy("bare-hands", bare))
			trial := w.account.DryRun(t.Context(), w.creation(1))
			denied := deniedActions(failed(trial))
			for _, statement := range all.Statement {
				for _, action := range list(statement["Action"]) {
					if action != "iam:CreateUser" && action != "iam:TagUser" && !slices.Contains(denied, action) {
						t.Errorf("nothing is said about %s", action)
					}
				}
			}
			if trial.Left != provider.LeftUser {
				t.Errorf("the trial leaves %q", trial.Left)
			}
		})
	}
}

func (w *limitedBench) connectAs(id, secret string) {
	w.account = w.connect(New(Options{
		Endpoint: w.server.URL, Credentials: static(id, secret), Backoff: func(int) time.Duration { return time.Millisecond },
	}))
}

// Each right is missing by itself: the trial names it.
func TestATrialNamesTheMissingRight(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"full", "session"} {
		s := definitions()[name]
		document := permissions(t, s, options())
		for i, statement := range parsed(t, document).Statement {
			for _, action := range list(statement["Action"]) {
				t.Run(name+"/"+statement["Sid"].(string)+"/"+action, func(t *testing.T) {
					t.Parallel()
					w := newLimitedBench(t, s, without(t, document, i, action))
					trial := w.account.DryRun(t.Context(), w.creation(1))
					if err := failed(trial); !slices.Contains(deniedActions(err), action) {
						t.Errorf("it is not named: %v", err)
					}
					if gone := len(w.Users()) == 0; gone != (trial.Left == provider.LeftNothing) {
						t.Errorf("the trial leaves %q, and the user is gone: %t", trial.Left, gone)
					}
				})
			}
		}
	}
}

// Any call fails, in any way: what the trial says is left is true, and Delete
// leaves nothing.
func TestATrialThatFailsAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range slices.Concat(createCalls, deleteCalls, []string{"GetUser", "TagUser", "ListUsers", "GetCallerIdentity"}) {
		for name, v := range map[string]iamsim.Verdict{
			"denied": refuse(403, "AccessDenied"), "failing": refuse(500, "ServiceFailure"), "lost": {Do: iamsim.DropAfter},
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.SetHook(on(action, -1, v))
				trial := b.account.DryRun(t.Context(), lease())
				if !slices.ContainsFunc(trial.Calls, func(c provider.DryRunCall) bool { return c.Err != nil }) && name != "lost" {
					t.Error("nothing failed")
				}
				switch n := len(b.Users()); {
				case trial.Left == provider.LeftNothing && n > 0, trial.Left == provider.LeftUser && n == 0 && action != "DeleteUser":
					t.Errorf("the trial leaves %q, and there are %d users", trial.Left, n)
				}
				b.SetHook(nil)
				d := deletion("")
				d.OwnerKnown = trial.Left == provider.LeftUser
				if err := b.account.Delete(t.Context(), d); err != nil {
					t.Error(err)
				}
				b.expectGone()
			})
		}
	}
}

// One answer gets lost, or the user is being changed: nobody notices.
func TestATrialSurvivesOneFaultAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range slices.Concat(createCalls, deleteCalls) {
		for name, v := range map[string]iamsim.Verdict{
			"dropped": {Do: iamsim.DropAfter}, "empty": {Do: iamsim.Empty}, "conflict": refuse(409, "ConcurrentModification"),
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.SetHook(on(action, 1, v))
				trial := b.account.DryRun(t.Context(), lease())
				if err := failed(trial); err != nil || trial.Left != provider.LeftNothing {
					t.Errorf("the trial leaves %q: %v", trial.Left, err)
				}
				b.expectGone()
			})
		}
	}
}

func TestATrialWaitsForTheUserToBeVisible(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetFaults(iamsim.Faults{UserVisibleAfter: 10 * time.Millisecond})
	if err := failed(b.account.DryRun(t.Context(), lease())); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

func TestATrialWithoutAUser(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetHook(on("CreateUser", -1, refuse(403, "AccessDenied")))
	trial := b.account.DryRun(t.Context(), lease())
	if got := named(trial); !slices.Equal(got, []string{"CreateUser", "ListUsers"}) || trial.Left != provider.LeftNothing {
		t.Errorf("the calls are %q, and leave %q", got, trial.Left)
	}
	b.AddUser(userName, "/", nil)
	b.SetHook(nil)
	trial = b.account.DryRun(t.Context(), lease())
	if e := trial.Calls[0].Err; e == nil || e.Kind != provider.NameTaken || trial.Left != provider.LeftNothing {
		t.Errorf("the trial is %+v", trial)
	}
	if u, _ := b.User(userName); len(u.AccessKeys) > 0 {
		t.Error("somebody else's user was touched")
	}
}

func TestATrialWithWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := lease()
	c.User.Groups, c.User.ManagedPolicies = []string{"none"}, []string{ownPolicy}
	trial := b.account.DryRun(t.Context(), c)
	for _, call := range trial.Calls {
		bad := call.Op == "AttachUserPolicy" || call.Op == "AddUserToGroup"
		if (call.Err != nil) != bad || bad && call.Err.Kind != provider.Rejected {
			t.Errorf("%s %s: %v", call.Op, call.On, call.Err)
		}
	}
	c.User.InlinePolicy = []byte(`{"Statement":`)
	if trial = b.account.DryRun(t.Context(), c); len(trial.Calls) != 1 || trial.Left != provider.LeftNothing {
		t.Errorf("the trial is %+v", trial)
	}
	b.expectGone()
}

func TestATrialIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			cancel()
		}
		return iamsim.Verdict{}
	})
	trial := b.account.DryRun(ctx, lease())
	if trial.Left != provider.LeftUser {
		t.Errorf("the trial leaves %q", trial.Left)
	}
	b.settle()
	if err := b.account.Delete(t.Context(), deletion("")); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

func TestATrialOfASession(t *testing.T) {
	t.Parallel()
	s := definitions()["session"]
	w := newLimitedBench(t, s, permissions(t, s, options()))
	trial := w.account.DryRun(t.Context(), w.creation(1))
	if err := failed(trial); err != nil || trial.Left != provider.LeftNothing {
		t.Errorf("the trial leaves %q: %v", trial.Left, err)
	}
	if got := named(trial); !slices.Equal(got, []string{"AssumeRole", "PutRolePolicy", "DeleteRolePolicy"}) {
		t.Errorf("the calls are %q", got)
	}
}

// A role of another account may have a namesake in the broker's own.
func TestATrialTouchesNoNamesake(t *testing.T) {
	t.Parallel()
	b := newSessionBench(t)
	c := sessionLease("alice-x7")
	c.User.Role = strings.Replace(c.User.Role, "123456789012", "210987654321", 1)
	trial := b.account.DryRun(t.Context(), c)
	if b.count("PutRolePolicy")+b.count("DeleteRolePolicy") > 0 {
		t.Errorf("the calls are %v", b.actions())
	}
	i := slices.IndexFunc(trial.Calls, func(c provider.DryRunCall) bool { return c.Op == "PutRolePolicy" })
	if i < 0 || trial.Calls[i].Err == nil || trial.Calls[i].Err.Kind != provider.Rejected {
		t.Errorf("the trial does not tell that a session can't be cut: %+v", trial.Calls)
	}
}
