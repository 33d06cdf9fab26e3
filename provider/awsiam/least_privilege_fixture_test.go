package awsiam

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// leastPrivilegeFixture is a fixture whose broker has the permissions of a policy only. It also has
// SDK clients with the broker's key, to make calls that the broker never makes.
type leastPrivilegeFixture struct {
	*fixture
	secret messages.DynamicSecret
	iam    *iam.Client
	sts    *sts.Client
}

func newLeastPrivilegeFixture(t *testing.T, s messages.DynamicSecret, document string) *leastPrivilegeFixture {
	t.Helper()
	b := newFixture(t)
	b.AddGroupAt("/teams/", "auditors")
	b.AddPolicy(ownPolicy, definition.DenyAll)
	b.AddRole("deploy", trustPolicy(t, definition.TrustLeasedRole, definition.TrustOptions{Principal: "arn:aws:iam::123456789012:root"}))
	id, secret := b.AddPrincipalWithPolicy("least", document)
	o := Options{
		Endpoint: b.server.URL, Credentials: static(id, secret),
		Backoff: func(int) time.Duration { return time.Millisecond },
	}
	b.account = b.connect(New(o))
	return &leastPrivilegeFixture{
		fixture: b, secret: s.WithDefaults(),
		iam: iam.New(iam.Options{Region: "eu-central-1", BaseEndpoint: &b.server.URL, Credentials: o.Credentials}),
		sts: sts.New(sts.Options{Region: "eu-central-1", BaseEndpoint: &b.server.URL, Credentials: o.Credentials}),
	}
}

// options are the options of the broker of newLeastPrivilegeFixture.
func options() definition.PermissionOptions {
	return definition.PermissionOptions{Account: accountID, Installation: "inst"}
}

func permissions(t testing.TB, s messages.DynamicSecret, o definition.PermissionOptions) string {
	t.Helper()
	document, err := definition.Permissions(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

func trustPolicy(t testing.TB, kind definition.TrustKind, o definition.TrustOptions) string {
	t.Helper()
	document, err := definition.Trust(kind, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// parsed returns a policy that a test can change.
func parsed(t *testing.T, document string) (d struct {
	Version   string
	Statement []map[string]any
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func list(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var l []string
	for _, e := range v.([]any) {
		l = append(l, e.(string))
	}
	return l
}

// definitions returns definitions that differ in what the broker needs for them.
func definitions() map[string]messages.DynamicSecret {
	all := map[string]messages.DynamicSecret{}
	add := func(name string, change func(*messages.DynamicSecret)) {
		s := awstest.Definition()
		s.AWS.Groups = messages.List{"deployers", "auditors"}
		s.AWS.ManagedPolicies = messages.List{managedPolicy, ownPolicy}
		change(&s)
		all[name] = s
	}
	add("full", func(*messages.DynamicSecret) {})
	add("minimal", func(s *messages.DynamicSecret) { *s = messages.DynamicSecret{Name: "ci"} })
	add("no boundary", func(s *messages.DynamicSecret) { s.AWS.PermissionsBoundary = "" })
	add("path /", func(s *messages.DynamicSecret) { s.AWS.Path = "/" })
	add("a path with odd characters", func(s *messages.DynamicSecret) { s.AWS.Path = `/<a&b>/"c\d"/` })
	add("groups only", func(s *messages.DynamicSecret) { s.AWS.ManagedPolicies, s.AWS.InlinePolicy = nil, nil })
	add("no hard expiry", func(s *messages.DynamicSecret) { s.HardExpiry = messages.HardExpiryNone })
	add("no inline policy at all", func(s *messages.DynamicSecret) {
		s.HardExpiry, s.AWS.InlinePolicy = messages.HardExpiryNone, nil
	})
	add("access key", func(s *messages.DynamicSecret) { s.AWS.Auth.Method = messages.AuthAccessKey })
	session := messages.AWS{
		CredentialType: messages.CredentialAssumeRole, RoleARN: leasedRoleARN, ExternalID: "my-project", DenyOnRevoke: true,
		ManagedPolicies: messages.List{managedPolicy}, InlinePolicy: awstest.Allow(`"s3:*"`),
	}
	add("session", func(s *messages.DynamicSecret) { s.AWS = session })
	add("plain session", func(s *messages.DynamicSecret) {
		*s = messages.DynamicSecret{Name: "ci", AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole, RoleARN: leasedRoleARN}}
	})
	return all
}

// creation returns the creation of a lease of the definition.
func (w *leastPrivilegeFixture) creation(attempt int) provider.Creation {
	a := w.secret.AWS
	c := provider.Creation{
		User: record.User{
			Name: userName, Path: a.Path, Boundary: a.PermissionsBoundary, Groups: a.Groups, ManagedPolicies: a.ManagedPolicies,
			InlinePolicy: json.RawMessage(a.InlinePolicy), Tags: w.secret.Tags, HardExpiry: w.secret.HardExpiry,
			Role: a.RoleARN, ExternalID: a.ExternalID, DenyOnRevoke: a.DenyOnRevoke,
		},
		Owner: provider.Owner{Installation: "inst", Lease: "alice.ci.x7", Attempt: attempt},
		For:   15 * time.Minute,
	}
	if w.secret.HardExpiry == messages.HardExpiryLease {
		c.DenyAfter = time.Now().Add(time.Hour)
	}
	return c
}

// exercise makes the broker do everything that it may do for the definition, except a dry
// run, and returns its errors. Each part begins without a user.
func (w *leastPrivilegeFixture) exercise() error {
	parts := []func(context.Context) error{w.wholeLife, w.takeOver, w.slowPath, w.keyThatStays, w.sweep}
	if w.secret.AWS.CredentialType == messages.CredentialAssumeRole {
		parts = []func(context.Context) error{w.session}
	}
	if w.secret.AWS.Auth.Method == messages.AuthAccessKey {
		parts = append(parts, w.ownKey)
	}
	var errs []error
	for _, part := range parts {
		errs = append(errs, part(w.t.Context()))
		for _, u := range w.Users() {
			w.RemoveUser(u.Name)
		}
	}
	return errors.Join(errs...)
}

func (w *leastPrivilegeFixture) deletion(keyID string) provider.Deletion {
	c := w.creation(9)
	return provider.Deletion{User: c.User, Owner: c.Owner, AccessKeyID: keyID, OwnerKnown: keyID != ""}
}

// expectNone returns an error if a user exists.
func (w *leastPrivilegeFixture) expectNone() error {
	if len(w.Users()) > 0 {
		return errors.New("there is still a user")
	}
	return nil
}

func (w *leastPrivilegeFixture) wholeLife(ctx context.Context) error {
	c := w.creation(1)
	key, err := w.account.Create(ctx, c)
	if err != nil {
		return err
	}
	errs := []error{w.account.Probe(ctx, key)}
	if !c.DenyAfter.IsZero() {
		errs = append(errs, w.account.Extend(ctx, c.User, c.DenyAfter.Add(time.Hour)))
	}
	keyOnly := w.deletion(key.AccessKeyID)
	keyOnly.Mode = provider.DeleteKey
	errs = append(errs, w.account.Delete(ctx, keyOnly), w.account.Delete(ctx, w.deletion(key.AccessKeyID)), w.expectNone())
	return errors.Join(errs...)
}

// takeOver takes a user over, and deletes it without knowing its key.
func (w *leastPrivilegeFixture) takeOver(ctx context.Context) error {
	if _, err := w.account.Create(ctx, w.creation(1)); err != nil {
		return err
	}
	_, err := w.account.Create(ctx, w.creation(2))
	return errors.Join(err, w.account.Delete(ctx, w.deletion("")), w.expectNone())
}

// slowPath deletes a user to which operators and AWS have attached everything.
func (w *leastPrivilegeFixture) slowPath(ctx context.Context) error {
	key, err := w.account.Create(ctx, w.creation(1))
	if err != nil {
		return err
	}
	w.AddLoginProfile(userName)
	w.AddSigningCertificate(userName)
	w.AddSSHKey(userName)
	w.AddServiceSpecificCredential(userName)
	w.AddMFADevice(userName, true)
	w.AddMFADevice(userName, false)
	w.AddInlinePolicy(userName, "theirs", definition.DenyAll)
	w.AddAccessKey(userName)
	w.AttachPolicy(userName, awsQuarantine)
	d := w.deletion(key.AccessKeyID)
	d.User.Groups = nil // as in a lease that was issued before the definition was changed
	err = w.account.Delete(ctx, d)
	if left := w.VirtualMFADevices(); err == nil && len(left) > 0 {
		err = errors.New("a device is left")
	}
	return errors.Join(err, w.expectNone())
}

// keyThatStays fails to delete a key, and denies its user everything.
func (w *leastPrivilegeFixture) keyThatStays(ctx context.Context) error {
	key, err := w.account.Create(ctx, w.creation(1))
	if err != nil {
		return err
	}
	w.SetHook(on("DeleteAccessKey", -1, refuse(500, "ServiceFailure")))
	defer w.SetHook(nil)
	err = w.account.Delete(ctx, w.deletion(key.AccessKeyID))
	if u, _ := w.User(userName); u.InlinePolicies[definition.PolicyName] == definition.DenyAll {
		err = nil
	}
	w.SetHook(nil)
	return errors.Join(err, w.account.Delete(ctx, w.deletion(key.AccessKeyID)), w.expectNone())
}

// sweep lists users and their tags.
func (w *leastPrivilegeFixture) sweep(ctx context.Context) error {
	w.AddUser(userName, w.secret.AWS.Path, nil)
	_, listErr := w.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: &w.secret.AWS.Path})
	_, tagsErr := w.iam.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: aws.String(userName)})
	return errors.Join(wrapped("ListUsers", listErr), wrapped("ListUserTags", tagsErr))
}

func (w *leastPrivilegeFixture) ownKey(ctx context.Context) error {
	_, listErr := w.account.OwnKeys(ctx)
	key, err := w.account.CreateOwnKey(ctx)
	if err != nil {
		return errors.Join(listErr, err)
	}
	return errors.Join(listErr, w.account.DeleteOwnKey(ctx, key.AccessKeyID))
}

func (w *leastPrivilegeFixture) session(ctx context.Context) error {
	return failed(w.account.DryRun(ctx, w.creation(1)))
}

func wrapped(op string, err error) error {
	if err == nil {
		return nil
	}
	return failure(op, err)
}

// failed returns the errors of a dry run.
func failed(d provider.DryRun) error {
	var errs []error
	for _, c := range d.Calls {
		if c.Err != nil {
			errs = append(errs, c.Err)
		}
	}
	return errors.Join(errs...)
}

// deniedActions returns the actions that the errors in err's tree name as denied.
func deniedActions(err error) []string {
	var actions []string
	if e, ok := err.(*provider.Error); ok && e.Kind == provider.Denied {
		actions = append(actions, e.Action)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		actions = append(actions, deniedActions(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			actions = append(actions, deniedActions(err)...)
		}
	}
	return slices.Compact(actions)
}
