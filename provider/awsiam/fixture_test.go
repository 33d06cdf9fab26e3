package awsiam

import (
	"context"
	"slices"
	"sort"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	userName      = awstest.UserName
	accountID     = awstest.AccountID
	managedPolicy = awstest.ManagedPolicy
	ownPolicy     = awstest.OwnPolicy
	boundary      = awstest.Boundary
	otherBoundary = "arn:aws:iam::123456789012:policy/other-boundary"
	leasedRoleARN = awstest.LeasedRole
	awsQuarantine = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
)

var (
	on     = awstest.On
	refuse = awstest.Refuse
)

// fixture is a simulated AWS account and a connection to it.
type fixture struct {
	*iamsim.Sim
	t       testing.TB
	server  *iamsim.Server
	account provider.Account
}

// newFixture starts an account with everything that the user of [lease] needs. The backoff
// is a few milliseconds.
func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	sim := iamsim.New(iamsim.Options{})
	id, secret := sim.AddPrincipal("broker")
	sim.AddGroup("deployers")
	sim.AddGroup("admins")
	for _, arn := range []string{boundary, otherBoundary} {
		sim.AddPolicy(arn, awstest.AllowAll)
	}
	server, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	o := Options{
		Endpoint:    server.URL,
		Credentials: static(id, secret),
		Backoff:     func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
	}
	for _, c := range change {
		c(&o)
	}
	b := &fixture{Sim: sim, t: t, server: server}
	b.account = b.connect(New(o))
	return b
}

func (b *fixture) connect(p *Provider) provider.Account {
	b.t.Helper()
	account, err := p.Connect(b.t.Context(), provider.Connection{
		Name: "default-eu-central-1", Region: "eu-central-1", Auth: messages.Auth{Method: messages.AuthDefault},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return account
}

// lease returns the creation of a lease's user with one group, one managed policy, an
// inline policy and a hard expiry.
func lease() provider.Creation {
	return provider.Creation{
		User: record.User{
			Name: userName, Path: "/lessor/ci/", Boundary: boundary,
			Groups:          []string{"deployers"},
			ManagedPolicies: []string{managedPolicy},
			InlinePolicy:    []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`),
			Tags:            map[string]string{"team": "platform"},
			HardExpiry:      messages.HardExpiryLease,
		},
		Owner:     provider.Owner{Installation: "inst", Lease: "alice.ci.x7", Attempt: 1},
		DenyAfter: time.Now().Add(time.Hour),
	}
}

// deletion returns the deletion of the user of [lease].
func deletion(keyID string) provider.Deletion {
	return provider.Deletion{User: lease().User, Owner: lease().Owner, AccessKeyID: keyID, OwnerKnown: true}
}

// create makes the user of [lease].
func (b *fixture) create() messages.Credentials {
	b.t.Helper()
	c, err := b.account.Create(b.t.Context(), lease())
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// actions returns the actions of the calls so far, in the order of their arrival.
func (b *fixture) actions() []string { return awstest.Actions(b.Sim) }

// count returns how often an action was called.
func (b *fixture) count(action string) int { return awstest.Count(b.Sim, action) }

// expectGone fails the test if a user exists.
func (b *fixture) expectGone() {
	b.t.Helper()
	if users := b.Users(); len(users) > 0 {
		b.t.Errorf("these users exist: %+v", users)
	}
}

// expectWhole fails the test unless the user of [lease] is complete, with one key that
// works.
func (b *fixture) expectWhole(c messages.Credentials, attempt string) {
	b.t.Helper()
	u, ok := b.User(userName)
	want := lease()
	policy, err := definition.Compose(want.User.InlinePolicy, want.DenyAfter)
	switch {
	case err != nil:
		b.t.Error(err)
	case !ok:
		b.t.Error("there is no user")
	case u.Path != want.User.Path || u.Boundary != boundary:
		b.t.Errorf("the user has the path %s and the boundary %s", u.Path, u.Boundary)
	case u.Tags[definition.TagLease] != want.Owner.Lease || u.Tags[definition.TagInstallation] != "inst" || u.Tags[definition.TagAttempt] != attempt || u.Tags["team"] != "platform":
		b.t.Errorf("the tags are %v", u.Tags)
	case !slices.Equal(u.Groups, want.User.Groups) || !slices.Equal(u.AttachedPolicies, want.User.ManagedPolicies):
		b.t.Errorf("the user has the groups %v and the policies %v", u.Groups, u.AttachedPolicies)
	case len(u.InlinePolicies) != 1 || len(u.InlinePolicies[definition.PolicyName]) != len(policy):
		b.t.Errorf("the inline policies are %v", u.InlinePolicies)
	case len(u.AccessKeys) != 1 || u.AccessKeys[0].ID != c.AccessKeyID:
		b.t.Errorf("the keys are %v, not %s alone", u.AccessKeys, c.AccessKeyID)
	default:
		if err := b.account.Probe(b.t.Context(), c); err != nil {
			b.t.Errorf("the key does not work: %v", err)
		}
	}
}

// settle waits until every call has been answered: AWS also carries out the calls of a
// client that has disconnected.
func (b *fixture) settle() {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(b.Calls(), func(c iamsim.Call) bool { return c.Answered.IsZero() }) {
			return
		}
	}
	b.t.Fatal("a call is not answered")
}

// meet returns a hook that holds n calls until all of them have arrived. Calls of the
// action through are not held.
func meet(n int32, through string) func(context.Context, iamsim.Call) iamsim.Verdict {
	var arrived atomic.Int32
	all := make(chan struct{})
	return func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == through {
			return iamsim.Verdict{}
		}
		if arrived.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
		}
		return iamsim.Verdict{}
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	sort.Strings(s)
	return s
}

func expectError(t testing.TB, err error, kind provider.Kind, left provider.Left) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", kind)
	} else if e := provider.AsError(err); e.Kind != kind || e.Left != left {
		t.Errorf("the error is of kind %q and leaves %q, want %q and %q: %v", e.Kind, e.Left, kind, left, err)
	}
}

func static(id, secret string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(id, secret, "")
}

// createCalls are the actions of Create for [lease].
var createCalls = []string{"CreateUser", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "CreateAccessKey"}

// deleteCalls are the actions of Delete for [deletion].
var deleteCalls = []string{"DeleteAccessKey", "DetachUserPolicy", "RemoveUserFromGroup", "DeleteUserPolicy", "DeleteUser"}
