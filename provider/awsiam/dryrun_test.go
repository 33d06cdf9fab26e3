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

// named returns the calls of a dry run as operators see them.
func named(d provider.DryRun) []string {
	var names []string
	for _, c := range d.Calls {
		names = append(names, strings.TrimSpace(c.Op+" "+c.On))
	}
	return names
}

func TestDryRunMakesEveryCall(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	dry := b.account.DryRun(t.Context(), lease())
	if err := failed(dry); err != nil || dry.Left != provider.LeftNothing {
		t.Errorf("the dry run leaves %q: %v", dry.Left, err)
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
	if got := named(dry); !slices.Equal(got, want) {
		t.Errorf("the calls are %q", got)
	}
	for _, c := range b.Calls() {
		if c.Action == "ListUsers" && (c.Params.Get("MaxItems") != "1" || c.Params.Get("PathPrefix") != lease().User.Path) {
			t.Errorf("ListUsers has the parameters %v", c.Params)
		}
	}
}

// A dry run with twenty policies and groups at 50 ms a call takes well below a second.
func TestDryRunTakesFiveRoundTrips(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
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
	// On a busy machine the calls of one round may not overlap.
	if d := iamsim.Depth(b.Calls()); d < 5 || d > 8 {
		t.Errorf("there are %d round trips", d)
	}
}

// A broker that may only create users learns of all missing permissions at once.
func TestDryRunNamesAllMissingPermissions(t *testing.T) {
	t.Parallel()
	for name, s := range definitions() {
		if s.AWS.CredentialType == messages.CredentialAssumeRole {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.AWS.Auth = messages.Auth{} // the rotation of its own key is not part of a dry run
			all := parsed(t, permissions(t, s, options()))
			w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
			bare := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iam:CreateUser","iam:TagUser"],"Resource":"*"}}`
			w.connectAs(w.AddPrincipalWithPolicy("bare-hands", bare))
			dry := w.account.DryRun(t.Context(), w.creation(1))
			denied := deniedActions(failed(dry))
			for _, statement := range all.Statement {
				for _, action := range list(statement["Action"]) {
					if action != "iam:CreateUser" && action != "iam:TagUser" && !slices.Contains(denied, action) {
						t.Errorf("%s is not named", action)
					}
				}
			}
			if dry.Left != provider.LeftUser {
				t.Errorf("the dry run leaves %q", dry.Left)
			}
		})
	}
}

func (w *leastPrivilegeFixture) connectAs(id, secret string) {
	w.account = w.connect(New(Options{
		Endpoint: w.server.URL, Credentials: static(id, secret), Backoff: func(int) time.Duration { return time.Millisecond },
	}))
}

func TestDryRunNamesEachMissingPermission(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"full", "session"} {
		s := definitions()[name]
		document := permissions(t, s, options())
		for i, statement := range parsed(t, document).Statement {
			for _, action := range list(statement["Action"]) {
				t.Run(name+"/"+statement["Sid"].(string)+"/"+action, func(t *testing.T) {
					t.Parallel()
					w := newLeastPrivilegeFixture(t, s, without(t, document, i, action))
					dry := w.account.DryRun(t.Context(), w.creation(1))
					if err := failed(dry); !slices.Contains(deniedActions(err), action) {
						t.Errorf("the permission is not named: %v", err)
					}
					if gone := len(w.Users()) == 0; gone != (dry.Left == provider.LeftNothing) {
						t.Errorf("the dry run leaves %q, and the user is gone: %t", dry.Left, gone)
					}
				})
			}
		}
	}
}

// Each call fails. Left is true, and Delete leaves nothing.
func TestFailureAtEachCallOfADryRunStatesWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, action := range slices.Concat(createCalls, deleteCalls, []string{"GetUser", "TagUser", "ListUsers", "GetCallerIdentity"}) {
		for name, v := range map[string]iamsim.Verdict{
			"denied": refuse(403, "AccessDenied"), "failing": refuse(500, "ServiceFailure"), "lost": {Do: iamsim.DropAfter},
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				b.SetHook(on(action, -1, v))
				dry := b.account.DryRun(t.Context(), lease())
				if !slices.ContainsFunc(dry.Calls, func(c provider.DryRunCall) bool { return c.Err != nil }) && name != "lost" {
					t.Error("no call failed")
				}
				switch n := len(b.Users()); {
				case dry.Left == provider.LeftNothing && n > 0, dry.Left == provider.LeftUser && n == 0 && action != "DeleteUser":
					t.Errorf("the dry run leaves %q, and there are %d users", dry.Left, n)
				}
				b.SetHook(nil)
				d := deletion("")
				d.OwnerKnown = dry.Left == provider.LeftUser
				if err := b.account.Delete(t.Context(), d); err != nil {
					t.Error(err)
				}
				b.expectGone()
			})
		}
	}
}

func TestDryRunSurvivesOneFaultAtEachCall(t *testing.T) {
	t.Parallel()
	for _, action := range slices.Concat(createCalls, deleteCalls) {
		for name, v := range map[string]iamsim.Verdict{
			"dropped": {Do: iamsim.DropAfter}, "empty": {Do: iamsim.Empty}, "conflict": refuse(409, "ConcurrentModification"),
		} {
			t.Run(action+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newFixture(t)
				b.SetHook(on(action, 1, v))
				dry := b.account.DryRun(t.Context(), lease())
				if err := failed(dry); err != nil || dry.Left != provider.LeftNothing {
					t.Errorf("the dry run leaves %q: %v", dry.Left, err)
				}
				b.expectGone()
			})
		}
	}
}

func TestDryRunWaitsForTheUserToBeVisible(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetFaults(iamsim.Faults{UserVisibleAfter: 10 * time.Millisecond})
	if err := failed(b.account.DryRun(t.Context(), lease())); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

func TestDryRunWithoutAUserListsUsersOnly(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.SetHook(on("CreateUser", -1, refuse(403, "AccessDenied")))
	dry := b.account.DryRun(t.Context(), lease())
	if got := named(dry); !slices.Equal(got, []string{"CreateUser", "ListUsers"}) || dry.Left != provider.LeftNothing {
		t.Errorf("the calls are %q, and leave %q", got, dry.Left)
	}
	b.AddUser(userName, "/", nil)
	b.SetHook(nil)
	dry = b.account.DryRun(t.Context(), lease())
	if e := dry.Calls[0].Err; e == nil || e.Kind != provider.NameTaken || dry.Left != provider.LeftNothing {
		t.Errorf("the dry run is %+v", dry)
	}
	if u, _ := b.User(userName); len(u.AccessKeys) > 0 {
		t.Error("the user of another owner was changed")
	}
}

func TestDryRunRejectsMissingPoliciesAndGroups(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	c := lease()
	c.User.Groups, c.User.ManagedPolicies = []string{"none"}, []string{ownPolicy}
	dry := b.account.DryRun(t.Context(), c)
	for _, call := range dry.Calls {
		bad := call.Op == "AttachUserPolicy" || call.Op == "AddUserToGroup"
		if (call.Err != nil) != bad || bad && call.Err.Kind != provider.Rejected {
			t.Errorf("%s %s: %v", call.Op, call.On, call.Err)
		}
	}
	c.User.InlinePolicy = []byte(`{"Statement":`)
	if dry = b.account.DryRun(t.Context(), c); len(dry.Calls) != 1 || dry.Left != provider.LeftNothing {
		t.Errorf("the dry run is %+v", dry)
	}
	b.expectGone()
}

func TestCancelledDryRunLeavesAUser(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			cancel()
		}
		return iamsim.Verdict{}
	})
	dry := b.account.DryRun(ctx, lease())
	if dry.Left != provider.LeftUser {
		t.Errorf("the dry run leaves %q", dry.Left)
	}
	b.settle()
	if err := b.account.Delete(t.Context(), deletion("")); err != nil {
		t.Error(err)
	}
	b.expectGone()
}

func TestDryRunOfASession(t *testing.T) {
	t.Parallel()
	s := definitions()["session"]
	w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
	dry := w.account.DryRun(t.Context(), w.creation(1))
	if err := failed(dry); err != nil || dry.Left != provider.LeftNothing {
		t.Errorf("the dry run leaves %q: %v", dry.Left, err)
	}
	if got := named(dry); !slices.Equal(got, []string{"AssumeRole", "PutRolePolicy", "DeleteRolePolicy"}) {
		t.Errorf("the calls are %q", got)
	}
}

// The broker's own account may have a role of the same name.
func TestDryRunChangesNoRoleForARoleInAnotherAccount(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	c := sessionLease("alice-x7")
	c.User.Role = strings.Replace(c.User.Role, "123456789012", "210987654321", 1)
	dry := b.account.DryRun(t.Context(), c)
	if b.count("PutRolePolicy")+b.count("DeleteRolePolicy") > 0 {
		t.Errorf("the calls are %v", b.actions())
	}
	i := slices.IndexFunc(dry.Calls, func(c provider.DryRunCall) bool { return c.Op == "PutRolePolicy" })
	if i < 0 || dry.Calls[i].Err == nil || dry.Calls[i].Err.Kind != provider.Rejected {
		t.Errorf("the dry run does not report that the session cannot be denied: %+v", dry.Calls)
	}
}
