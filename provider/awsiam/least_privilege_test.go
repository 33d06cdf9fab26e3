package awsiam

import (
	"cmp"
	"encoding/json"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestPermissionsAreSufficient(t *testing.T) {
	t.Parallel()
	for name, s := range definitions() {
		for _, o := range []definition.PermissionOptions{options(), {Account: accountID}} {
			t.Run(name+"/"+o.Installation, func(t *testing.T) {
				t.Parallel()
				w := newLeastPrivilegeFixture(t, s, permissions(t, s, o))
				if err := w.exercise(); err != nil {
					t.Error(err)
				}
				dry := w.account.DryRun(t.Context(), w.creation(1))
				if err := failed(dry); err != nil || dry.Left != "nothing" {
					t.Errorf("the dry run leaves %q: %v", dry.Left, err)
				}
				w.expectGone()
			})
		}
	}
}

// Without any one action, the broker fails.
func TestEachActionOfThePermissionsIsNeeded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"access key", "minimal", "session"} {
		s := definitions()[name]
		document := permissions(t, s, options())
		for i, statement := range parsed(t, document).Statement {
			for _, action := range list(statement["Action"]) {
				t.Run(name+"/"+statement["Sid"].(string)+"/"+action, func(t *testing.T) {
					t.Parallel()
					w := newLeastPrivilegeFixture(t, s, without(t, document, i, action))
					err := w.exercise()
					if neededByDryRunOnly(action, s) {
						err = failed(w.account.DryRun(t.Context(), w.creation(1)))
					}
					if !slices.Contains(deniedActions(err), action) {
						t.Errorf("the error does not name the action: %v", err)
					}
				})
			}
		}
	}
}

// neededByDryRunOnly reports whether a user can be deleted without an action: then a virtual
// device of the user is left, or groups added by hand are not found, which the broker could
// not leave anyway.
func neededByDryRunOnly(action string, s messages.DynamicSecret) bool {
	return action == "iam:DeleteVirtualMFADevice" || action == "iam:ListGroupsForUser" && len(s.AWS.Groups) == 0
}

// without returns the document without an action, and without the statement if it was the
// only one.
func without(t *testing.T, document string, i int, action string) string {
	t.Helper()
	d := parsed(t, document)
	actions := slices.DeleteFunc(list(d.Statement[i]["Action"]), func(a string) bool { return a == action })
	if d.Statement[i]["Action"] = actions; len(actions) == 0 {
		d.Statement = slices.Delete(d.Statement, i, i+1)
	}
	if len(d.Statement) == 0 {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}`
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// attempt is a call that the broker never makes, made with its key.
type attempt func(w *leastPrivilegeFixture) error

func createUser(name, path, boundary string, tags ...types.Tag) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.CreateUser(w.t.Context(), &iam.CreateUserInput{
			UserName: &name, Path: &path, PermissionsBoundary: optional(boundary), Tags: tags,
		})
		return err
	}
}

func attach(user, arn string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.AttachUserPolicy(w.t.Context(), &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}
}

func detach(user, arn string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.DetachUserPolicy(w.t.Context(), &iam.DetachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}
}

func putPolicy(user string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.PutUserPolicy(w.t.Context(), &iam.PutUserPolicyInput{
			UserName: &user, PolicyName: aws.String("x"), PolicyDocument: aws.String(string(awstest.Allow(`"*"`))),
		})
		return err
	}
}

func tagUser(user, key, value string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.TagUser(w.t.Context(), &iam.TagUserInput{UserName: &user, Tags: []types.Tag{tag(key, value)}})
		return err
	}
}

func createKey(user *string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.CreateAccessKey(w.t.Context(), &iam.CreateAccessKeyInput{UserName: user})
		return err
	}
}

func join(user, group string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.AddUserToGroup(w.t.Context(), &iam.AddUserToGroupInput{UserName: &user, GroupName: &group})
		return err
	}
}

func leave(user, group string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.RemoveUserFromGroup(w.t.Context(), &iam.RemoveUserFromGroupInput{UserName: &user, GroupName: &group})
		return err
	}
}

func assume(externalID string, tags ...string) attempt {
	return func(w *leastPrivilegeFixture) error {
		in := &sts.AssumeRoleInput{RoleArn: aws.String(leasedRoleARN), RoleSessionName: aws.String("x1"), ExternalId: optional(externalID)}
		for i := 0; i < len(tags); i += 2 {
			in.Tags = append(in.Tags, ststypes.Tag{Key: &tags[i], Value: &tags[i+1]})
		}
		_, err := w.sts.AssumeRole(w.t.Context(), in)
		return err
	}
}

// furnish adds a user of a lease, one of the same path without a boundary, and one of another
// path.
func (w *leastPrivilegeFixture) furnish() {
	w.t.Helper()
	if w.secret.AWS.CredentialType == messages.CredentialIAMUser {
		if _, err := w.account.Create(w.t.Context(), w.creation(1)); err != nil {
			w.t.Fatal(err)
		}
		w.AttachPolicy(userName, ownPolicy)
		w.AttachPolicy(userName, "arn:aws:iam::aws:policy/AWSDenyAll")
	}
	w.AddUser("bare", cmp.Or(w.secret.AWS.Path, messages.DefaultPath), nil)
	w.AttachPolicy("bare", awsQuarantine)
	w.AddUser("foreign", "/lessor/ci2/", nil)
	w.AddGroup("denied")
	w.AddRole("other", trustPolicy(w.t, definition.TrustLeasedRole, definition.TrustOptions{Principal: "arn:aws:iam::123456789012:root"}))
}

var goodTags = []types.Tag{tag(definition.TagInstallation, "inst"), tag(definition.TagLease, "x"), tag("team", "platform")}

func TestPermissionsAllowNothingElse(t *testing.T) {
	t.Parallel()
	const path = "/lessor/ci/"
	full := definitions()["full"]
	for name, attack := range map[string]attempt{
		"a user elsewhere":                    createUser("x", "/lessor/", boundary, goodTags...),
		"a user of a similar path":            createUser("x", "/lessor/ci2/", boundary, goodTags...),
		"a user without a boundary":           createUser("x", path, "", goodTags...),
		"a user with another boundary":        createUser("x", path, otherBoundary, goodTags...),
		"a user without tags":                 createUser("x", path, boundary),
		"a user of another installation":      createUser("x", path, boundary, tag(definition.TagInstallation, "other")),
		"a user with a foreign tag":           createUser("x", path, boundary, append([]types.Tag{tag("admin", "yes")}, goodTags...)...),
		"a policy that is not the secret's":   attach(userName, "arn:aws:iam::aws:policy/AdministratorAccess"),
		"the quarantine policy":               attach(userName, awsQuarantine),
		"a policy for a bare user":            attach("bare", managedPolicy),
		"a policy for a foreign user":         attach("foreign", managedPolicy),
		"no policy that denies":               detach(userName, "arn:aws:iam::aws:policy/AWSDenyAll"),
		"a bare user's quarantine removed":    detach("bare", awsQuarantine),
		"an inline policy for a bare user":    putPolicy("bare"),
		"an inline policy for a foreign user": putPolicy("foreign"),
		"an inline policy for itself":         putPolicy("least"),
		"another installation's tag":          tagUser(userName, definition.TagInstallation, "other"),
		"a tag that is not the secret's":      tagUser(userName, "admin", "yes"),
		"a tag for a foreign user":            tagUser("foreign", definition.TagLease, "x"),
		"a key for a foreign user":            createKey(aws.String("foreign")),
		"a key for itself":                    createKey(nil),
		"another group":                       join(userName, "admins"),
		"out of another group":                leave("foreign", "denied"),
		"a role":                              assume(""),
		"a foreign user's end": func(w *leastPrivilegeFixture) error {
			_, err := w.iam.DeleteUser(w.t.Context(), &iam.DeleteUserInput{UserName: aws.String("foreign")})
			return err
		},
		"no boundary any more": func(w *leastPrivilegeFixture) error {
			_, err := w.iam.DeleteUserPermissionsBoundary(w.t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String(userName)})
			return err
		},
		"another boundary": func(w *leastPrivilegeFixture) error {
			_, err := w.iam.PutUserPermissionsBoundary(w.t.Context(), &iam.PutUserPermissionsBoundaryInput{
				UserName: aws.String(userName), PermissionsBoundary: aws.String(ownPolicy),
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLeastPrivilegeFixture(t, full, permissions(t, full, options()))
			w.furnish()
			if err := attack(w); code(err) != "AccessDenied" {
				t.Errorf("the answer is %v", err)
			}
		})
	}
	session := definitions()["session"]
	good := []string{definition.TagInstallation, "inst", definition.TagLease, "x"}
	for name, attack := range map[string]attempt{
		"no external id":           assume("", good...),
		"another external id":      assume("theirs", good...),
		"a foreign tag":            assume("my-project", append(good, "admin", "yes")...),
		"another installation":     assume("my-project", definition.TagInstallation, "other"),
		"tags, no installation":    assume("my-project", definition.TagLease, "x"),
		"a policy on another role": putRolePolicy("other"),
		"a user":                   createUser("x", path, boundary, goodTags...),
	} {
		t.Run("session/"+name, func(t *testing.T) {
			t.Parallel()
			w := newLeastPrivilegeFixture(t, session, permissions(t, session, options()))
			w.furnish()
			if err := attack(w); code(err) != "AccessDenied" {
				t.Errorf("the answer is %v", err)
			}
		})
	}
}

func putRolePolicy(role string) attempt {
	return func(w *leastPrivilegeFixture) error {
		_, err := w.iam.PutRolePolicy(w.t.Context(), &iam.PutRolePolicyInput{
			RoleName: &role, PolicyName: aws.String("x"), PolicyDocument: aws.String(definition.DenyAll),
		})
		return err
	}
}

// attacks are calls that a condition prevents, by the statement's Sid and the condition
// key.
var attacks = map[string]attempt{
	"CreateUsers/iam:PermissionsBoundary":            createUser("x", "/lessor/ci/", "", goodTags...),
	"CreateUsers/aws:RequestTag/lessor:installation": createUser("x", "/lessor/ci/", boundary),
	"TagUsers/aws:TagKeys":                           tagUser(userName, "admin", "yes"),
	"TagUsers/aws:RequestTag/lessor:installation":    tagUser(userName, definition.TagInstallation, "other"),
	"InlinePolicies/iam:PermissionsBoundary":         putPolicy("bare"),
	"AttachPolicies/iam:PermissionsBoundary":         attach("bare", managedPolicy),
	"AttachPolicies/iam:PolicyARN":                   attach(userName, "arn:aws:iam::aws:policy/AdministratorAccess"),
	"DetachQuarantine/iam:PermissionsBoundary":       detach("bare", awsQuarantine),
	"DetachQuarantine/iam:PolicyARN":                 detach(userName, "arn:aws:iam::aws:policy/AWSDenyAll"),
	"AssumeRole/sts:ExternalId":                      assume(""),
	"TagSession/aws:TagKeys":                         assume("my-project", definition.TagInstallation, "inst", "admin", "yes"),
	"TagSession/aws:RequestTag/lessor:installation":  assume("my-project", definition.TagInstallation, "other"),
}

// Without any one condition, a call is allowed that it prevents.
func TestEachConditionOfThePermissionsPreventsACall(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]messages.DynamicSecret{"users": definitions()["full"], "sessions": definitions()["session"]} {
		for _, o := range []definition.PermissionOptions{options(), {Account: accountID}} {
			document := permissions(t, s, o)
			for i, statement := range parsed(t, document).Statement {
				condition, _ := statement["Condition"].(map[string]any)
				for operator, keys := range condition {
					for key := range keys.(map[string]any) {
						t.Run(name+"/"+o.Installation+"/"+statement["Sid"].(string)+"/"+key, func(t *testing.T) {
							t.Parallel()
							attack := attacks[statement["Sid"].(string)+"/"+key]
							if attack == nil {
								t.Fatal("there is no attack")
							}
							for _, document := range []string{document, unconditioned(t, document, i, operator, key)} {
								w := newLeastPrivilegeFixture(t, s, document)
								w.furnish()
								want := "AccessDenied"
								if document != permissions(t, s, o) {
									want = ""
								}
								if err := attack(w); code(err) != want || (err != nil) != (want != "") {
									t.Errorf("the answer is %v, want %q", err, want)
								}
							}
						})
					}
				}
			}
		}
	}
}

func unconditioned(t *testing.T, document string, i int, operator, key string) string {
	t.Helper()
	d := parsed(t, document)
	condition := d.Statement[i]["Condition"].(map[string]any)
	delete(condition[operator].(map[string]any), key)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The broker may rotate its own key, whatever the path of its user, and no other.
func TestBrokerMayRotateItsOwnKeyOnly(t *testing.T) {
	t.Parallel()
	s := definitions()["access key"]
	for _, principal := range []string{"", "arn:aws:iam::123456789012:user/least"} {
		o := options()
		o.Principal = principal
		w := newLeastPrivilegeFixture(t, s, permissions(t, s, o))
		w.furnish()
		if err := createKey(nil)(w); err != nil {
			t.Error(err)
		}
		if err := createKey(aws.String("foreign"))(w); code(err) != "AccessDenied" {
			t.Errorf("the answer is %v", err)
		}
	}
	s.AWS.Groups, s.AWS.ManagedPolicies = nil, nil
	w := newLeastPrivilegeFixture(t, s, permissions(t, s, options()))
	w.AddUser("robot", "/robots/eu/", nil)
	w.AddInlinePolicy("robot", "lessor", permissions(t, s, options()))
	id, secret := w.AddAccessKey("robot")
	robot := iam.New(iam.Options{Region: "eu-central-1", BaseEndpoint: &w.server.URL, Credentials: static(id, secret)})
	if _, err := robot.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{}); err != nil {
		t.Error(err)
	}
	if _, err := robot.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("least")}); code(err) != "AccessDenied" {
		t.Errorf("the answer is %v", err)
	}
}
